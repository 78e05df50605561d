//! Who wants an upgrade, who may have one, and what everybody is told of its end.

use std::time::{Duration, SystemTime};

use super::{BINARIES, Failure, Pending, Upgrade, failed};
use crate::{
    link::{Deed, Order},
    master::{Master, Role, binary::tidy, notify},
    sys::clock::since_boot,
    upgrade::{Outcome, Verdict, Wait},
};

impl Master {
    /// Takes a request, or says why not.
    pub(in crate::master) fn ask(&mut self, pending: Pending) {
        let comes = self.stop.is_none() && self.upgrade.is_none() && self.serving().is_none();
        if comes && pending.asker.is_none() {
            tracing::info!("the upgrade waits for a worker that serves");
            self.latched.get_or_insert(pending);
            return;
        }
        if let Err((verdict, text, hint)) = self.may_begin(&pending) {
            tracing::warn!(verdict = verdict.as_str(), "no upgrade: {text}");
            if pending.asker.is_none() {
                notify::not_reloading(&text);
            }
            self.note(pending.deed(verdict.as_str(), text.clone()));
            let outcome = self.outcome(&pending, verdict, text, hint, (None, None, None));
            self.answer(&pending, &outcome);
            return;
        }
        if pending.request.wait == Wait::No {
            let text = if self.upgrade.is_some() {
                "an upgrade is running; this one follows it"
            } else {
                "the upgrade has begun"
            };
            let outcome = self.outcome(
                &pending,
                Verdict::Accepted,
                text.to_owned(),
                None,
                (None, None, None),
            );
            self.answer(&pending, &outcome);
        }
        if self.upgrade.is_some() {
            // One that waits already does for a signal too.
            self.latched.get_or_insert(pending);
        } else {
            self.begin(pending);
        }
    }

    pub(super) fn may_begin(&mut self, pending: &Pending) -> Result<(), Failure> {
        if self.stop.is_some() {
            return Err(failed(Verdict::Refused, "the host is stopping"));
        }
        if self.upgrade.is_some() {
            return match &self.latched {
                None => Ok(()),
                // Another signal asks for what will be done anyway: what is on disk is read then.
                Some(_) if pending.asker.is_none() => Ok(()),
                Some(_) => Err((
                    Verdict::Busy,
                    "an upgrade is running, and another one waits".to_owned(),
                    Some("try again when `hotseat status` shows them ended".to_owned()),
                )),
            };
        }
        if self.serving().is_none() {
            return Err(failed(Verdict::Busy, "no worker serves at the moment"));
        }
        let limit = self.plan.settings.limits.draining_count;
        let draining: Vec<_> = self.workers.iter().filter(|it| it.role == Role::Draining).collect();
        if draining.len() >= limit {
            let now = since_boot();
            let age = |from: Duration| now.saturating_sub(from).as_secs();
            let list: Vec<String> = draining
                .iter()
                .map(|it| format!("pid {} ({} s old)", it.status().pid, age(it.up_from)))
                .collect();
            return Err((
                Verdict::Busy,
                format!("{} workers are draining already: {}", draining.len(), list.join(", ")),
                Some("wait, or end them with `kill -USR2` to the master".to_owned()),
            ));
        }
        Ok(())
    }

    /// Begins the upgrade that waits, unless another one was quicker; then it goes on waiting.
    pub(in crate::master) fn begin_latched(&mut self) {
        if self.upgrade.is_some() || self.serving().is_none() {
            return;
        }
        let Some(latched) = self.latched.take() else { return };
        match self.may_begin(&latched) {
            Ok(()) => self.begin(latched),
            Err((verdict, text, hint)) => {
                tracing::warn!(verdict = verdict.as_str(), "no upgrade: {text}");
                if latched.asker.is_none() {
                    notify::not_reloading(&text);
                }
                self.note(latched.deed(verdict.as_str(), text.clone()));
                let outcome = self.outcome(&latched, verdict, text, hint, (None, None, None));
                if latched.request.wait != Wait::No {
                    self.answer(&latched, &outcome);
                }
            }
        }
    }

    /// Says how an upgrade ended, to everybody who wants to know. The commands after it run, then
    /// the one that waits begins.
    pub(super) fn finish(
        &mut self,
        upgrade: &Upgrade,
        verdict: Verdict,
        text: String,
        hint: Option<String>,
    ) {
        if upgrade.mends {
            return self.mended(upgrade, verdict, &text);
        }
        let outcome = self.outcome(&upgrade.pending, verdict, text, hint, upgrade.pids());
        if verdict.is_good() {
            let seconds = outcome.took.as_secs_f64();
            tracing::info!(verdict = verdict.as_str(), seconds, "{}", outcome.text);
        } else {
            tracing::error!(verdict = verdict.as_str(), hint = outcome.hint, "{}", outcome.text);
        }
        if !upgrade.answered && upgrade.pending.request.wait != Wait::No {
            self.answer(&upgrade.pending, &outcome);
        }
        notify::ready(&outcome.text);
        self.note(upgrade.pending.deed(verdict.as_str(), outcome.text.clone()));
        self.forgets = true;
        *self.totals.upgrades.entry(verdict).or_default() += 1;
        self.last = Some(outcome);
        let processes = self.processes();
        self.told.clone_from(&processes);
        self.tell_processes(processes);
        let folder = self.state.path().join(BINARIES);
        let previous = self.previous.as_ref().and_then(|plan| plan.binary.digest.as_deref());
        let needed: Vec<&str> =
            self.plan.binary.digest.as_deref().into_iter().chain(previous).collect();
        tidy(&folder, self.plan.settings.limits.binaries_count, &needed);
        self.after_upgrade();
    }

    pub(super) fn outcome(
        &self,
        pending: &Pending,
        verdict: Verdict,
        text: String,
        hint: Option<String>,
        (old_pid, new_pid, binary): (Option<u32>, Option<u32>, Option<String>),
    ) -> Outcome {
        let (took, at) = (pending.began.elapsed(), SystemTime::now());
        Outcome { verdict, text, hint, old_pid, new_pid, binary, took, at }
    }

    pub(super) fn answer(&mut self, pending: &Pending, outcome: &Outcome) {
        let Some((number, id)) = pending.asker else { return };
        if let Some(worker) = self.worker(number) {
            worker.tell(&Order::Answer { id, outcome: outcome.clone() }, &[]);
        }
    }

    /// The last upgrade was taken back after all, because workers of its binary kept ending.
    pub(in crate::master) fn say_taken_back(&mut self, why: &str) {
        let digest = self.plan.binary.digest.clone();
        let text = format!("the binary before serves again: workers of the new one ended ({why})");
        notify::status(&text);
        self.note(Deed::new("crash", "upgrade", Verdict::RolledBack.as_str(), text.clone()));
        *self.totals.upgrades.entry(Verdict::RolledBack).or_default() += 1;
        self.last = Some(Outcome {
            verdict: Verdict::RolledBack,
            text,
            hint: Some("what they logged says more".to_owned()),
            old_pid: None,
            new_pid: None,
            binary: digest,
            took: Duration::ZERO,
            at: SystemTime::now(),
        });
    }
}
