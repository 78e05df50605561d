//! The way back: a candidate that turns bad, and workers that end in the middle of an upgrade.
//!
//! A candidate's binary is not remembered as bad: the next upgrade may be asked for because the
//! cause was mended elsewhere, and costs another soak but no request.
//! Invariant: of two workers at most one takes orders; the worker before resumes only after the
//! candidate has stopped, one way or the other.

use std::time::Instant;

use super::{STEP_TIME, Step, failed, turn::surplus};
use crate::{
    link::Order,
    master::{Led, Master, Role},
    upgrade::Verdict,
};

impl Master {
    /// The candidate does not stop accepting as it should: it is ended.
    pub(in crate::master) fn not_parked(&mut self, number: u64) {
        if !self.is_at(number, |step| matches!(step, Step::Returning { .. }), true) {
            return;
        }
        if let Some(worker) = self.worker(number) {
            worker.kill();
        }
        self.resume_old();
    }

    /// Why the candidate must not stay, if so.
    pub(super) fn gone_bad(&self, now: Instant) -> Option<String> {
        let upgrade = self.upgrade.as_ref()?;
        let find = |number| self.workers.iter().find(|worker| worker.number == number);
        let worker = find(upgrade.new?)?;
        let silence = now.duration_since(worker.heard);
        if silence > self.silence_max() {
            return Some(format!("no sign of life for {silence:.1?}"));
        }
        if !worker.stuck.is_empty() {
            return Some(format!("it is stuck: {}", worker.standstill()));
        }
        let limits = &self.plan.settings.limits;
        let (requests, is) = worker.answered();
        let was = find(upgrade.old).map_or(0, |before| before.answered().1);
        let enough = requests >= limits.soak_requests_count as u64;
        (enough && is > was + limits.soak_errors_percent as u64)
            .then(|| format!("{is} % of its {requests} answers were errors, {was} % before"))
    }

    /// The way back begins: the candidate is to accept no more.
    pub(super) fn return_to_old(&mut self, why: String) {
        let Some(upgrade) = &self.upgrade else { return };
        tracing::error!(worker = upgrade.new, why, "the new worker has turned bad: going back");
        let (old, new) = (upgrade.old, upgrade.new);
        // Nobody else has what was added for it: it empties that on its way out.
        let keep = upgrade.plan.as_ref().map(|plan| surplus(plan, &self.plan));
        let keep = keep.unwrap_or_default();
        if self.worker(old).is_none() {
            // There is nobody to go back to: a new worker of the plan before is started.
            if let Some(worker) = new.and_then(|new| self.worker(new)) {
                worker.role = Role::Serving;
                worker.end();
            }
            return self.returned_nowhere(&why);
        }
        let within = self.plan.settings.limits.freeze_time + STEP_TIME;
        self.step(Step::Returning { why }, within);
        let (now, patience) = (Instant::now(), self.silence_max());
        match new.and_then(|new| self.worker(new)) {
            Some(worker) if now.duration_since(worker.heard) <= patience => {
                worker.tell(&Order::Freeze, &[]);
                worker.tell(&Order::Park { keep }, &[]);
            }
            Some(worker) => {
                worker.kill();
                self.resume_old();
            }
            None => self.resume_old(),
        }
    }

    pub(super) fn resume_old(&mut self) {
        let Some(upgrade) = &mut self.upgrade else { return };
        let Step::Returning { why } = &mut upgrade.step else { return };
        let (old, why) = (upgrade.old, std::mem::take(why));
        let limits = &self.plan.settings.limits;
        let within = limits.preflight_time + limits.load_time + STEP_TIME;
        self.step(Step::Resuming { why }, within);
        self.tell_to_resume(old);
    }

    /// Has the worker before go on, with what was heard of the candidate: what that has committed may
    /// be nowhere else by now.
    pub(super) fn tell_to_resume(&mut self, number: u64) {
        let numbers = Some(self.next_numbers());
        let Self { workers, cargo, manifest, .. } = self;
        let Some(worker) = workers.iter_mut().find(|it| it.number == number) else { return };
        // A worker of the release before does not know that it may be handed something here.
        let manifest = manifest.as_ref().filter(|_| worker.hears);
        let carried = match manifest {
            Some(_) => worker.carry(cargo, manifest),
            None => Ok(()),
        };
        if let Err(error) = &carried {
            tracing::error!(%error, worker = number, "it goes on with what its folder has");
        }
        let manifest = manifest.filter(|_| carried.is_ok()).map(|(digest, _)| digest.clone());
        worker.tell(&Order::Resume { numbers, manifest }, &[]);
    }

    /// The worker before accepts again.
    pub(in crate::master) fn resumed(&mut self, number: u64) {
        if self.is_at(number, |step| matches!(step, Step::Resuming { .. }), false) {
            self.returned(true);
        }
    }

    pub(super) fn resumed_late(&mut self) {
        tracing::error!("the worker before does not resume: it is replaced");
        if let Some(worker) =
            self.upgrade.as_ref().map(|it| it.old).and_then(|old| self.worker(old))
        {
            worker.role = Role::Serving;
            // Another one is started.
            worker.end();
        }
        self.returned(false);
    }

    pub(super) fn returned(&mut self, resumed: bool) {
        let Some(upgrade) = self.upgrade.take() else { return };
        let Step::Resuming { why } = &upgrade.step else { return };
        let on = self.lame_duck;
        if let Some(worker) = self.worker(upgrade.old) {
            worker.role = Role::Serving;
            // It may have been switched while the other one was asked.
            worker.tell(&Order::LameDuck { on }, &[]);
        }
        self.adopt_cargo(upgrade.old);
        if let Some(new) = upgrade.new {
            let from_it = self.plan.settings.limits.upgrade_drain;
            self.drain(new, resumed.then_some(upgrade.old), from_it);
        }
        upgrade.added.remove_files();
        let text = format!("the new worker was taken back: {why}");
        let hint = "what it logged says more; the worker before serves again".to_owned();
        self.finish(&upgrade, Verdict::RolledBack, text, Some(hint));
    }

    /// A worker of the running upgrade has ended. True: that is dealt with.
    pub(in crate::master) fn upgrade_lost(
        &mut self,
        worker: &Led,
        by_itself: bool,
        why: &str,
    ) -> bool {
        let Some(upgrade) = &self.upgrade else { return false };
        if upgrade.new == Some(worker.number) {
            if !by_itself {
                return true;
            }
            let text = if why.is_empty() { "it has ended" } else { why };
            let late = format!("the new worker has ended: {text}");
            match &upgrade.step {
                Step::Booting { .. } => self.fail(failed(Verdict::Boot, late)),
                Step::Probing(_) | Step::Overlapping => self.fail(failed(Verdict::Probe, late)),
                Step::Parking | Step::Soaking => {
                    if upgrade_old_lives(self, upgrade.old) {
                        self.return_to_old(late);
                    } else {
                        self.returned_nowhere(&late);
                        return false;
                    }
                }
                Step::Returning { .. } => self.resume_old(),
                _ => {}
            }
            return true;
        }
        if upgrade.old != worker.number {
            return false;
        }
        if worker.ending && self.put_off() {
            return false;
        }
        let Some(upgrade) = &self.upgrade else { return false };
        match &upgrade.step {
            Step::Overlapping | Step::Parking | Step::Soaking => {
                tracing::warn!(worker = worker.number, why, "the worker before has ended early");
                if matches!(upgrade.step, Step::Parking) {
                    self.soak();
                }
                true
            }
            Step::Returning { .. } | Step::Resuming { .. } => {
                self.returned_nowhere(why);
                false
            }
            _ => {
                self.fail(failed(Verdict::Boot, format!("the serving worker has ended: {why}")));
                false
            }
        }
    }

    /// Both workers of an upgrade are of no use: the crash of the one before is dealt with as usual.
    pub(super) fn returned_nowhere(&mut self, why: &str) {
        let Some(upgrade) = self.upgrade.take() else { return };
        if let Some(worker) = upgrade.new.and_then(|new| self.worker(new))
            && worker.role != Role::Serving
        {
            worker.kill();
        }
        upgrade.added.remove_files();
        let text = format!("both workers have ended: {why}");
        self.finish(&upgrade, Verdict::RolledBack, text, None);
    }
}

fn upgrade_old_lives(master: &Master, old: u64) -> bool {
    master.workers.iter().any(|worker| worker.number == old)
}
