//! One upgrade from its request to its end, as a row of steps.
//!
//! Owns what an upgrade has gathered so far. Who may have one and what they are told is in [`ask`],
//! the steps before a worker hears of it in [`check`], those in which workers take turns in
//! [`turn`], and the way back from them in [`back`]. [`mend`] is one that nobody has asked for.
//!
//! ```text
//! pre-hook > stage > check > bind > freeze > boot > probe > overlap > park > soak > commit
//! └─────────── check ────────────┘ └──────────────────────── turn ─────────────────────────┘
//! ```

mod ask;
mod back;
mod check;
mod mend;
mod turn;

pub(super) use self::turn::KILL_MARGIN;

use std::{
    os::fd::OwnedFd,
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use rustix::{
    event::PollFlags,
    process::{Pid, WaitStatus},
};

use super::{
    Master, Plan,
    binary::{Pinned, Stamp},
    child::{Ended, Task},
    notify,
    probe::Probe,
    sockets::Sockets,
};
use crate::{
    link::{Deed, Order},
    upgrade::{Request, Verdict},
};

/// Where kept binaries are, in the state folder.
pub(super) const BINARIES: &str = "bin";

/// For steps that a healthy worker takes at once; generous, for a machine that is busy.
pub(super) const STEP_TIME: Duration = Duration::from_secs(5);

/// Somebody wants an upgrade.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) request: Request,
    /// The worker and the number of its question; `None`: a signal.
    pub(super) asker: Option<(u64, u64)>,
    pub(super) began: Instant,
}

impl Pending {
    /// A line of the history about it.
    fn deed(&self, outcome: &str, text: impl Into<String>) -> Deed {
        let source = if self.asker.is_some() { "control" } else { "signal" };
        Deed {
            by: self.request.by,
            took: self.began.elapsed(),
            ..Deed::new(source, "upgrade", outcome, text)
        }
    }
}

/// Where an upgrade is.
#[derive(Debug)]
enum Step {
    /// Commands of the operator run first.
    Hooks,
    Staging(Task),
    Checking(Task, String),
    Freezing,
    Booting {
        began: Instant,
    },
    Probing(Probe),
    Overlapping,
    Parking,
    Soaking,
    /// The way back: the candidate stops accepting.
    Returning {
        why: String,
    },
    /// The way back: the worker before accepts again.
    Resuming {
        why: String,
    },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Upgrade {
    pending: Pending,
    /// The caller has its answer already.
    answered: bool,
    /// Nobody has asked: a worker that is stuck is replaced.
    mends: bool,
    /// What it replaces is whole but worn out: nothing may be missing afterwards.
    renews: bool,
    step: Step,
    due: Instant,
    /// Where the candidate's binary is looked for, and what was found there.
    source: PathBuf,
    stamp: Option<Stamp>,
    binary: Option<Rc<Pinned>>,
    /// Where the settings are checked.
    workdir: Option<Rc<OwnedFd>>,
    plan: Option<Rc<Plan>>,
    added: Sockets,
    /// The candidate understands what this master would leave it.
    takes_memory: bool,
    old: u64,
    old_pid: u32,
    new: Option<u64>,
    new_pid: Option<u32>,
}

impl Upgrade {
    /// What the candidate is started by, once that is known.
    pub(super) fn plan(&self) -> Option<&Rc<Plan>> {
        self.plan.as_ref()
    }

    pub(super) fn task(&self) -> Option<&Task> {
        match &self.step {
            Step::Staging(task) | Step::Checking(task, _) => Some(task),
            _ => None,
        }
    }

    fn task_mut(&mut self) -> Option<&mut Task> {
        match &mut self.step {
            Step::Staging(task) | Step::Checking(task, _) => Some(task),
            _ => None,
        }
    }

    /// The ended child, if it is this upgrade's.
    pub(super) fn take_task(
        &mut self,
        pid: Pid,
        status: WaitStatus,
    ) -> Option<(Ended, Option<String>)> {
        if self.task()?.pid() != pid {
            return None;
        }
        match std::mem::replace(&mut self.step, Step::Hooks) {
            Step::Staging(task) => Some((task.end(status), None)),
            Step::Checking(task, token) => Some((task.end(status), Some(token))),
            step => {
                self.step = step;
                None
            }
        }
    }

    pub(super) fn due(&self) -> Instant {
        self.task().map_or(self.due, Task::deadline)
    }

    pub(super) fn probe_wait(&self) -> Option<(rustix::fd::BorrowedFd<'_>, PollFlags)> {
        match &self.step {
            Step::Probing(probe) => Some(probe.wait()),
            _ => None,
        }
    }
}

/// How an upgrade is refused or fails.
type Failure = (Verdict, String, Option<String>);

fn failed(verdict: Verdict, text: impl Into<String>) -> Failure {
    (verdict, text.into(), None)
}

impl Master {
    /// Begins; the operator's commands come first.
    fn begin(&mut self, pending: Pending) {
        let Some(serving) = self.serving() else { return };
        let (old, old_pid) = (serving.number, serving.status().pid);
        let (binary, config) = pending.request.paths();
        tracing::info!(binary, config, worker = old, "an upgrade begins");
        notify::reloading("upgrading");
        let deed = pending.deed("begun", format!("worker {old} is to be replaced"));
        self.note(deed);
        let source = pending.request.binary.clone().unwrap_or_else(|| self.origin.binary.clone());
        self.upgrade = Some(Upgrade {
            pending,
            answered: false,
            mends: false,
            renews: false,
            step: Step::Hooks,
            due: Instant::now() + Duration::from_secs(3600),
            source,
            stamp: None,
            binary: None,
            workdir: None,
            plan: None,
            added: Sockets::default(),
            takes_memory: false,
            old,
            old_pid,
            new: None,
            new_pid: None,
        });
        self.before_upgrade();
    }

    /// Ends the running upgrade without effect: everything is as it was.
    fn fail(&mut self, (verdict, text, hint): Failure) {
        let Some(upgrade) = self.upgrade.take() else { return };
        self.cancel_hooks_before_upgrade();
        if let Some(task) = upgrade.task() {
            task.kill();
        }
        if let Some(worker) = upgrade.new.and_then(|new| self.worker(new)) {
            worker.kill();
        }
        if matches!(upgrade.step, Step::Hooks | Step::Staging(_) | Step::Checking(..)) {
            // The worker before has heard of nothing.
        } else if upgrade.new.is_some() {
            // A candidate writes before it serves: its numbers, and what it takes out of traffic.
            self.tell_to_resume(upgrade.old);
        } else if let Some(worker) = self.worker(upgrade.old) {
            worker.tell(&Order::Thaw, &[]);
        }
        upgrade.added.remove_files();
        self.finish(&upgrade, verdict, text, hint);
    }

    /// Looks at the clock for the running upgrade.
    pub(super) fn tick_upgrade(&mut self, now: Instant) {
        let Some(upgrade) = &mut self.upgrade else { return };
        if let Some(task) = upgrade.task_mut() {
            task.listen();
            task.tick(now);
            return;
        }
        self.tick_turn(now);
    }

    /// The host stops: whatever an upgrade has begun is given up, or, once the new worker serves,
    /// kept.
    pub(super) fn abandon_upgrade(&mut self) {
        if let Some(latched) = self.latched.take() {
            let text = "the host is stopping".to_owned();
            let outcome = self.outcome(&latched, Verdict::Refused, text, None, (None, None, None));
            self.answer(&latched, &outcome);
        }
        match self.upgrade.as_ref().map(|upgrade| &upgrade.step) {
            None => {}
            // Both have connections by then, and finish them.
            Some(
                Step::Soaking
                | Step::Parking
                | Step::Overlapping
                | Step::Returning { .. }
                | Step::Resuming { .. },
            ) => self.keep_new(),
            Some(_) => self.fail(failed(Verdict::Refused, "the host is stopping")),
        }
    }
}

impl Upgrade {
    /// The worker that writes what is done to the host; `None`: which one that is, is being settled.
    pub(super) fn writer(&self) -> Option<u64> {
        match self.step {
            Step::Hooks | Step::Staging(_) | Step::Checking(..) => Some(self.old),
            Step::Parking | Step::Soaking => self.new,
            Step::Freezing
            | Step::Booting { .. }
            | Step::Probing(_)
            | Step::Overlapping
            | Step::Returning { .. }
            | Step::Resuming { .. } => None,
        }
    }

    fn pids(&self) -> (Option<u32>, Option<u32>, Option<String>) {
        let binary = self.binary.as_ref().and_then(|binary| binary.digest.clone());
        (Some(self.old_pid), self.new_pid, binary)
    }
}
