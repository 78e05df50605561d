//! A worker that is stuck, or worn out, is replaced: an upgrade to what runs already.
//!
//! No operator has asked for it and nothing has to be checked, so it begins with the freeze and ends
//! without a soak. One that is worn out is whole: its successor has to serve all that it serves.
//! Invariant: as in every upgrade, the worker before is left alone until its successor accepts.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use super::{Pending, STEP_TIME, Step, Upgrade};
use crate::{
    link::{Deed, Order},
    master::{Master, Plan, Role, Sockets, notify},
    upgrade::{Request, Verdict},
};

/// How long a worker whose loader is held may take to give up what only one worker may have.
const HELD_TIME: Duration = Duration::from_secs(1);

impl Master {
    /// Begins to replace `old`, which is stuck: `why`.
    pub(in crate::master) fn begin_mending(&mut self, old: u64, why: String) {
        let plan = self.plan.clone();
        let Some(worker) = self.worker(old) else { return };
        let patience = if worker.holds_the_loader() {
            // It has no deploy that could hold it up, and every moment another thread may wait.
            HELD_TIME
        } else {
            plan.settings.limits.freeze_time + STEP_TIME
        };
        let now = Instant::now();
        worker.tell(&Order::Freeze, &[]);
        let old_pid = worker.status().pid;
        tracing::warn!(worker = old, why, "the worker is being replaced");
        notify::status(&format!("worker {old} is stuck and being replaced"));
        self.replace_by_same(plan, old, (old_pid, now + patience, false));
    }

    /// A worker wants to be replaced. It says so again as long as it waits for that, so nothing is
    /// remembered where it cannot be done now.
    pub(in crate::master) fn told_worn(&mut self, number: u64, why: String) {
        let plan = self.plan.clone();
        let limits = &plan.settings.limits;
        let draining = self.workers.iter().filter(|it| it.role == Role::Draining).count();
        if self.upgrade.is_some() || self.stop.is_some() || draining >= limits.draining_count {
            return;
        }
        let Some(worker) = self.worker(number) else { return };
        if worker.role != Role::Serving || worker.ending {
            return;
        }
        worker.tell(&Order::Freeze, &[]);
        let old_pid = worker.status().pid;
        tracing::info!(worker = number, why, "the worker is worn out and being replaced");
        notify::status(&format!("worker {number} is being renewed"));
        let due = Instant::now() + limits.freeze_time + STEP_TIME;
        self.replace_by_same(plan, number, (old_pid, due, true));
    }

    /// Begins with the freeze, which `old` was told to do.
    fn replace_by_same(
        &mut self,
        plan: Rc<Plan>,
        old: u64,
        (old_pid, due, renews): (u32, Instant, bool),
    ) {
        let began = Instant::now();
        self.upgrade = Some(Upgrade {
            pending: Pending { request: Request::default(), asker: None, began },
            answered: true,
            mends: true,
            renews,
            step: Step::Freezing,
            due,
            source: plan.binary.source.clone(),
            stamp: plan.binary.stamp,
            binary: Some(plan.binary.clone()),
            workdir: None,
            plan: Some(plan),
            added: Sockets::default(),
            takes_memory: true,
            old,
            old_pid,
            new: None,
            new_pid: None,
        });
    }

    pub(super) fn mends(&self) -> bool {
        self.upgrade.as_ref().is_some_and(|upgrade| upgrade.mends)
    }

    /// Whether what is replaced is whole.
    pub(super) fn renews(&self) -> bool {
        self.upgrade.as_ref().is_some_and(|upgrade| upgrade.renews)
    }

    /// Whether `number` is to replace a worker that is stuck, or worn out.
    pub(in crate::master) fn mends_with(&self, number: u64) -> bool {
        self.mends() && self.upgrade.as_ref().is_some_and(|upgrade| upgrade.new == Some(number))
    }

    /// Says how it ended. No command of the operator runs: nobody sent a signal.
    pub(super) fn mended(&mut self, upgrade: &Upgrade, verdict: Verdict, text: &str) {
        let seconds = upgrade.pending.began.elapsed().as_secs_f64();
        if upgrade.renews {
            if verdict.is_good() {
                tracing::info!(seconds, "a worker that was worn out is replaced: {text}");
                self.totals.renewed_workers += 1;
            } else {
                tracing::error!(seconds, "a worn out worker could not be replaced: {text}");
            }
        } else if verdict.is_good() {
            tracing::warn!(seconds, "a worker that was stuck is replaced: {text}");
            self.totals.stuck_workers += 1;
        } else {
            tracing::error!(seconds, "a worker that is stuck could not be replaced: {text}");
            if verdict == Verdict::Busy {
                self.does_not_freeze(upgrade.old);
            }
        }
        notify::ready(text);
        let outcome = if verdict.is_good() { "replaced" } else { "not_replaced" };
        let took = upgrade.pending.began.elapsed();
        let verb = if upgrade.renews { "renew" } else { "stuck" };
        self.note(Deed { took, ..Deed::new(verb, "worker", outcome, text) });
        self.forgets = true;
        let processes = self.processes();
        self.told.clone_from(&processes);
        self.tell_processes(processes);
        self.begin_latched();
    }

    /// Whether the running upgrade waits for `number`, or will, before it can be replaced.
    pub(in crate::master) fn waits_for(&self, number: u64) -> bool {
        self.upgrade.as_ref().is_some_and(|upgrade| upgrade.old == number && upgrade.is_early())
    }

    /// The worker before does not answer and was killed for it: the upgrade begins anew as soon as
    /// another one of the plan before serves, since nothing can be taken over from a process that
    /// does not say what it has. False: nothing can be put off.
    pub(super) fn put_off(&mut self) -> bool {
        let early = self.upgrade.as_ref().is_some_and(Upgrade::is_early);
        if !early || self.latched.is_some() {
            return false;
        }
        let Some(upgrade) = self.upgrade.take() else { return false };
        self.cancel_hooks_before_upgrade();
        if let Some(task) = upgrade.task() {
            task.kill();
        }
        upgrade.added.remove_files();
        if !upgrade.mends {
            tracing::warn!("the upgrade is put off: the worker that it replaces does not answer");
            self.latched = Some(upgrade.pending);
        }
        true
    }
}

impl Upgrade {
    /// Whether no successor is started yet.
    fn is_early(&self) -> bool {
        let early = |step: &Step| {
            matches!(step, Step::Hooks | Step::Staging(_) | Step::Checking(..) | Step::Freezing)
        };
        early(&self.step)
    }
}
