//! The half of an upgrade in which workers take turns in the seat.
//!
//! Invariant: at every moment one worker accepts from each listener, or what comes waits in its
//! queue; the worker before is kept until the candidate has stood the soak.

use std::{
    os::fd::AsFd as _,
    rc::Rc,
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::{STEP_TIME, Step, failed};
use crate::{
    link::{Order, Version},
    master::{
        Led, Master, Plan, Role, notify,
        probe::{Look, Probe, Question},
    },
    upgrade::{Verdict, Wait},
};

/// On top of a drain's limit, before a worker that does not end is killed.
pub(in crate::master) const KILL_MARGIN: Duration = Duration::from_secs(5);

impl Master {
    pub(super) fn step(&mut self, step: Step, within: Duration) {
        if let Some(upgrade) = &mut self.upgrade {
            upgrade.step = step;
            upgrade.due = Instant::now() + within;
        }
    }

    pub(super) fn is_at(&self, number: u64, at: impl Fn(&Step) -> bool, new: bool) -> bool {
        self.upgrade.as_ref().is_some_and(|upgrade| {
            let whose = if new { upgrade.new } else { Some(upgrade.old) };
            whose == Some(number) && at(&upgrade.step)
        })
    }

    /// A worker has finished what it was deploying and begins nothing more.
    pub(in crate::master) fn frozen(&mut self, number: u64) {
        if !self.is_at(number, |step| matches!(step, Step::Freezing), false) {
            return;
        }
        let Some(upgrade) = &mut self.upgrade else { return };
        let Some(plan) = upgrade.plan.clone() else { return };
        let added = std::mem::take(&mut upgrade.added);
        let spawned = self.spawn(&plan, &added);
        let Some(upgrade) = &mut self.upgrade else { return };
        upgrade.added = added;
        match spawned {
            Ok(new) => {
                upgrade.new = Some(new);
                let pid = self.workers.last().map(|worker| worker.status().pid);
                if let Some(upgrade) = &mut self.upgrade {
                    upgrade.new_pid = pid;
                }
                let within = plan.settings.limits.ready_time;
                self.step(Step::Booting { began: Instant::now() }, within);
            }
            Err(error) => {
                self.fail(failed(Verdict::Boot, format!("a worker cannot be started: {error}")));
            }
        }
    }

    /// A candidate on its way back says what it has counted: that is the next one's.
    pub(in crate::master) fn returns_counters(&mut self, number: u64, counters: &str) {
        if self.is_at(number, |step| matches!(step, Step::Returning { .. }), true)
            && let Some(old) = self.upgrade.as_ref().map(|upgrade| upgrade.old)
            && let Some(handed) = self.worker(number).and_then(|worker| worker.handed.clone())
        {
            self.bequeath(counters, &handed, old);
        }
    }

    /// A worker has ended: what it has told of and said no last word about goes to whoever serves
    /// on, or is about to. One that is replaced is nobody's: its successor begins with it.
    pub(in crate::master) fn bequeath_of(&mut self, worker: &Led) {
        let told = worker.counted.as_deref().zip(worker.handed.as_deref());
        let Some((counters, handed)) = told.filter(|_| worker.role != Role::Booting) else {
            return;
        };
        let upgrade = self.upgrade.as_ref().filter(|it| it.new == Some(worker.number));
        let old = upgrade.map(|it| it.old);
        if let Some(heir) = old.or_else(|| self.front().map(|it| it.number)) {
            self.bequeath(counters, handed, heir);
        }
    }

    /// A worker cannot freeze now.
    pub(in crate::master) fn not_frozen(&mut self, number: u64, why: &str) -> bool {
        let mine = self.is_at(number, |step| matches!(step, Step::Freezing), false);
        if mine {
            self.fail(failed(Verdict::Busy, why));
        }
        mine
    }

    /// A worker that comes up says that it gets on.
    pub(in crate::master) fn progressed(&mut self, number: u64) {
        let (ready, boot) = {
            let limits = &self.plan.settings.limits;
            (limits.ready_time, limits.boot_time)
        };
        if let Some(worker) = self.worker(number)
            && worker.role == Role::Booting
            && worker.kill_at.is_some()
        {
            worker.kill_at = Some((Instant::now() + ready).min(worker.born + boot));
        }
        let Some(upgrade) = &mut self.upgrade else { return };
        if upgrade.new == Some(number)
            && let Step::Booting { began } = upgrade.step
        {
            let limits = &self.plan.settings.limits;
            upgrade.due = (Instant::now() + limits.ready_time).min(began + limits.boot_time);
        }
    }

    /// A worker could serve. False: it is no candidate.
    pub(in crate::master) fn candidate_ready(&mut self, number: u64) -> bool {
        if !self.is_at(number, |step| matches!(step, Step::Booting { .. }), true) {
            return false;
        }
        if self.mends() && !self.renews() {
            // It comes up as after a crash, and nothing but what is stuck is to be gone back to.
            self.probed();
            return true;
        }
        let mut want: Vec<&Version> = self.cargo.iter().map(|(version, _)| version).collect();
        want.sort();
        let worker = self.workers.iter().find(|worker| worker.number == number);
        let have = worker.map(Led::manifest);
        if have.as_ref() != Some(&want) {
            let told = |it: &Version| {
                let said = worker.and_then(|worker| worker.said_of(&it.plugin));
                let said = said.map_or_else(String::new, |said| format!(": {said}"));
                format!("{} (generation {}){said}", it.plugin, it.generation)
            };
            let mut missing: Vec<String> = want
                .iter()
                .filter(|version| have.as_ref().is_none_or(|have| !have.contains(version)))
                .map(|version| told(version))
                .collect();
            let more = have.iter().flatten().filter(|version| !want.contains(version));
            missing.extend(more.map(|it| {
                format!("{} (generation {}) would serve anew", it.plugin, it.generation)
            }));
            if missing.is_empty() {
                missing.push("the new worker has not said what it serves".to_owned());
            }
            let text = format!("the upgrade would change what serves: {}", missing.join(", "));
            self.fail(failed(Verdict::Boot, text));
            return true;
        }
        let Some(plan) = self.upgrade.as_ref().and_then(|it| it.plan.clone()) else { return true };
        self.probe(Probe::list(&plan.settings.probes));
        true
    }

    /// Asks the candidate the next question, over a connection that nobody else has.
    pub(super) fn probe(&mut self, mut left: Vec<Question>) {
        let Some(question) = left.pop() else { return self.probed() };
        let Some(new) = self.upgrade.as_ref().and_then(|upgrade| upgrade.new) else { return };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None) {
            Ok((ours, theirs)) => {
                if let Some(worker) = self.worker(new) {
                    worker.tell(&Order::Serve, &[theirs.as_fd()]);
                }
                let time = self.plan.settings.limits.probe_time;
                self.step(Step::Probing(Probe::new(ours, question, left)), time);
            }
            Err(error) => self.fail(failed(Verdict::Probe, error.to_string())),
        }
    }

    pub(super) fn probed(&mut self) {
        let Some(new) = self.upgrade.as_ref().and_then(|upgrade| upgrade.new) else { return };
        if let Some(worker) = self.worker(new) {
            // From here on it may have connections.
            worker.role = Role::Soaking;
            worker.tell(&Order::Accept, &[]);
        }
        self.step(Step::Overlapping, STEP_TIME);
    }

    /// A worker accepts. False: it is no candidate.
    pub(in crate::master) fn candidate_accepts(&mut self, number: u64) -> bool {
        if !self.is_at(number, |step| matches!(step, Step::Overlapping), true) {
            return false;
        }
        let Some(upgrade) = &self.upgrade else { return true };
        let (old, plan) = (upgrade.old, upgrade.plan.clone());
        if let Some(worker) = self.worker(number) {
            worker.role = Role::Soaking;
            worker.served = true;
        }
        let keep = plan.map(|plan| surplus(&self.plan, &plan)).unwrap_or_default();
        let Some(worker) = self.worker(old) else {
            self.soak();
            return true;
        };
        worker.role = Role::Parked;
        worker.tell(&Order::Park { keep }, &[]);
        self.step(Step::Parking, STEP_TIME);
        true
    }

    /// The worker before accepts no more, or the candidate on its way back.
    pub(in crate::master) fn parked(&mut self, number: u64) {
        if self.is_at(number, |step| matches!(step, Step::Parking), false) {
            self.soak();
        } else if self.is_at(number, |step| matches!(step, Step::Returning { .. }), true) {
            self.resume_old();
        }
    }

    pub(super) fn soak(&mut self) {
        if self.mends() {
            return self.commit();
        }
        let time = self.plan.settings.limits.soak_time;
        self.step(Step::Soaking, time);
        let Some(upgrade) = &mut self.upgrade else { return };
        let new = upgrade.new.unwrap_or_default();
        let text = format!("worker {new} serves and is watched for {time:?}");
        notify::ready(&text);
        if upgrade.pending.request.wait == Wait::Ready {
            upgrade.answered = true;
            let upgrade = self.upgrade.take();
            if let Some(upgrade) = upgrade {
                let pids = upgrade.pids();
                let outcome = self.outcome(&upgrade.pending, Verdict::Ready, text, None, pids);
                self.answer(&upgrade.pending, &outcome);
                self.upgrade = Some(upgrade);
            }
        }
    }

    pub(super) fn tick_turn(&mut self, now: Instant) {
        let Some(upgrade) = &mut self.upgrade else { return };
        let over = now >= upgrade.due;
        match &mut upgrade.step {
            Step::Hooks | Step::Staging(_) | Step::Checking(..) => {}
            Step::Probing(probe) => match probe.look(over) {
                Look::Next(left) => self.probe(left),
                Look::Bad(why) => {
                    self.fail(failed(Verdict::Probe, format!("the new worker {why}")));
                }
                Look::Wait => {}
            },
            Step::Soaking => {
                if let Some(why) = self.gone_bad(now) {
                    self.return_to_old(why);
                } else if over {
                    self.commit();
                }
            }
            _ if !over => {}
            Step::Freezing => self.fail(failed(Verdict::Busy, "a deploy is still running")),
            Step::Booting { began } => {
                let took = now.duration_since(*began);
                let text = format!("the new worker was not ready within {took:.1?}");
                self.fail(failed(Verdict::Boot, text));
            }
            Step::Overlapping => {
                self.fail(failed(Verdict::Probe, "the new worker does not accept"))
            }
            // It does not listen to us any more: its successor does not need it.
            Step::Parking => self.soak(),
            Step::Returning { .. } => {
                // Two workers must never write: one that does not stop is ended.
                if let Some(worker) = upgrade.new.and_then(|new| self.worker(new)) {
                    worker.kill();
                }
                self.resume_old();
            }
            Step::Resuming { .. } => self.resumed_late(),
        }
    }

    /// The candidate has stood the soak.
    pub(super) fn commit(&mut self) {
        let Some(mut upgrade) = self.upgrade.take() else { return };
        let Some(plan) = upgrade.plan.take() else { return };
        let binary_changed = !Rc::ptr_eq(&plan.binary, &self.plan.binary)
            && (plan.binary.digest.is_none() || plan.binary.digest != self.plan.binary.digest);
        if let Some(binary) = &upgrade.pending.request.binary {
            self.origin.binary.clone_from(binary);
        }
        self.origin.args.clone_from(&plan.args);
        if !Rc::ptr_eq(&plan, &self.plan) {
            self.previous = Some(std::mem::replace(&mut self.plan, plan));
        }
        self.sockets.join(std::mem::take(&mut upgrade.added));
        // The worker before still has them, and empties their queues.
        let surplus = self.sockets.take_surplus(&self.plan.settings);
        surplus.remove_files();
        self.follow_pid_file();
        let new = upgrade.new.unwrap_or_default();
        if let Some(worker) = self.worker(new) {
            worker.role = Role::Serving;
        }
        if upgrade.mends {
            // Not before: until here the worker before may go on, which knows only what the disk does.
            self.told_withdrawals(new);
        }
        self.adopt_cargo(new);
        let limit = self.plan.settings.limits.upgrade_drain;
        self.drain(upgrade.old, Some(new), limit);
        let text = format!(
            "worker {new} (pid {}) serves, version {}; worker {} (pid {}) is draining",
            upgrade.new_pid.unwrap_or_default(),
            self.plan.version,
            upgrade.old,
            upgrade.old_pid,
        );
        let follows = binary_changed && self.plan.settings.master_reexec;
        if follows && !upgrade.takes_memory {
            tracing::warn!("the master keeps its image: the new binary could not go on from it");
        }
        self.wants_image |= follows && upgrade.takes_memory;
        self.finish(&upgrade, Verdict::Committed, text, None);
    }

    /// The host stops while the candidate is watched: it is good enough to finish what it has.
    pub(super) fn keep_new(&mut self) {
        let Some(upgrade) = self.upgrade.take() else { return };
        let text = "the host is stopping".to_owned();
        self.note(upgrade.pending.deed(Verdict::Refused.as_str(), text.clone()));
        if !upgrade.answered && upgrade.pending.request.wait != Wait::No {
            let outcome =
                self.outcome(&upgrade.pending, Verdict::Refused, text, None, upgrade.pids());
            self.answer(&upgrade.pending, &outcome);
        }
        self.sockets.join(upgrade.added);
    }

    /// Has a worker finish what it has and end; idle connections go on with `heir`.
    pub(in crate::master) fn drain(&mut self, number: u64, heir: Option<u64>, limit: Duration) {
        let pair = crate::link::Channel::pair();
        let margin = limit + KILL_MARGIN;
        let Some(worker) = self.worker(number) else { return };
        worker.role = Role::Draining;
        worker.kill_at = Some(Instant::now() + margin);
        match (heir, pair) {
            (Some(heir), Ok((from, to))) => {
                if let Err(error) = worker.try_tell(&Order::Drain, &[from.as_fd()]) {
                    tracing::warn!(%error, "idle connections cannot be handed over");
                    return worker.tell(&Order::Drain, &[]);
                }
                if let Some(heir) = self.worker(heir) {
                    heir.tell(&Order::TakeOver, &[to.as_fd()]);
                }
            }
            (_, pair) => {
                if let Err(error) = pair {
                    tracing::warn!(%error, "idle connections cannot be handed over");
                }
                worker.tell(&Order::Drain, &[]);
            }
        }
    }
}

/// The places of those data addresses of `old` that `new` does not have.
pub(super) fn surplus(old: &Plan, new: &Plan) -> Vec<usize> {
    let mut want: Vec<_> = new.settings.listen.iter().collect();
    let keeps = |listen| {
        let at = want.iter().position(|it| *it == listen);
        at.map(|at| want.swap_remove(at)).is_some()
    };
    let stays: Vec<bool> = old.settings.listen.iter().map(keeps).collect();
    stays.iter().enumerate().filter(|(_, stays)| !**stays).map(|(place, _)| place).collect()
}
