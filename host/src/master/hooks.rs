//! Commands of the operator around signals, and the plugins' own callback.
//!
//! Each runs as a child with a time limit; the commands of one signal and phase run one after the
//! other. Only a failure before an upgrade has an effect: it vetoes.

use std::process::{Command, Stdio};

use rustix::process::{Pid, WaitStatus};

use super::{Led, Master, Role, child::Task};
use crate::{config::HookPhase, link::Order, sys::signals::unblock_in_child};

/// What follows the last command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing.
    Rest,
    /// The commands after it.
    Post,
    /// What drains is ended.
    Hammer,
    /// The upgrade goes on, unless one has failed.
    Upgrade,
    /// The upgrade that waits begins.
    Next,
    /// The stop begins.
    Stop,
    /// The process ends.
    Exit,
}

/// The commands of one signal and phase, one of which runs.
#[derive(Debug)]
pub(super) struct HookRun {
    signal: String,
    phase: HookPhase,
    task: Task,
    shown: String,
    left: Vec<Vec<String>>,
    trouble: Option<String>,
    then: Then,
}

impl HookRun {
    pub(super) fn task(&self) -> &Task {
        &self.task
    }
}

impl Master {
    /// Tells the plugins, runs the commands, and goes on with `then`.
    pub(super) fn run_hooks(&mut self, signal: &str, phase: HookPhase, then: Then) {
        if let Some(worker) = self.front() {
            worker.tell(&Order::Signal { name: signal.to_owned(), phase }, &[]);
        }
        let hooks = self.plan.settings.hooks.iter();
        let mine = hooks.filter(|hook| hook.signal == signal && hook.phase == phase);
        let left: Vec<_> = mine.rev().map(|hook| hook.command.clone()).collect();
        self.run_next(signal.to_owned(), phase, left, None, then);
    }

    fn run_next(
        &mut self,
        signal: String,
        phase: HookPhase,
        mut left: Vec<Vec<String>>,
        mut trouble: Option<String>,
        then: Then,
    ) {
        while let Some(words) = left.pop() {
            let shown = words.join(" ");
            match self.start_hook(&signal, phase, &words) {
                Ok(task) => {
                    let run = HookRun { signal, phase, task, shown, left, trouble, then };
                    self.hooks.push(run);
                    return;
                }
                Err(error) => {
                    tracing::error!(signal, command = shown, %error, "a hook cannot be started");
                    trouble.get_or_insert(format!("`{shown}`: {error}"));
                }
            }
        }
        self.go_on(&signal, then, trouble);
    }

    fn start_hook(
        &self,
        signal: &str,
        phase: HookPhase,
        words: &[String],
    ) -> std::io::Result<Task> {
        let (program, args) = words.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
        let accepts = |it: &&Led| matches!(it.role, Role::Serving | Role::Soaking);
        let worker = self.workers.iter().rev().find(accepts);
        let phase = if phase == HookPhase::Pre { "pre" } else { "post" };
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null());
        command.env("HOTSEAT_SIGNAL", signal).env("HOTSEAT_PHASE", phase);
        command.env("HOTSEAT_MASTER_PID", std::process::id().to_string());
        if let Some(worker) = worker {
            command.env("HOTSEAT_WORKER_PID", worker.status().pid.to_string());
            command.env("HOTSEAT_WORKER_NUMBER", worker.number.to_string());
        }
        for name in super::binary::PRIVATE {
            command.env_remove(name);
        }
        unblock_in_child(&mut command);
        Task::start(command, self.plan.settings.limits.hook_time)
    }

    /// A child has ended; whether it was a hook.
    pub(super) fn hook_ended(&mut self, pid: Pid, status: WaitStatus) -> bool {
        let Some(at) = self.hooks.iter().position(|run| run.task.pid() == pid) else {
            return false;
        };
        let HookRun { signal, phase, task, shown, left, mut trouble, then } = self.hooks.remove(at);
        let ended = task.end(status);
        if ended.trouble.is_empty() {
            tracing::info!(signal, command = shown, "a hook has run");
        } else {
            tracing::error!(signal, command = shown, why = ended.trouble, "a hook has failed");
            trouble.get_or_insert(format!("`{shown}`: {}", ended.trouble));
        }
        self.run_next(signal, phase, left, trouble, then);
        true
    }

    pub(super) fn tick_hooks(&mut self, now: std::time::Instant) {
        for run in &mut self.hooks {
            run.task.listen();
            run.task.tick(now);
        }
    }

    fn go_on(&mut self, signal: &str, then: Then, trouble: Option<String>) {
        match then {
            Then::Rest => {}
            Then::Post => self.run_hooks(signal, HookPhase::Post, Then::Rest),
            Then::Hammer => {
                self.hammer();
                self.run_hooks(signal, HookPhase::Post, Then::Rest);
            }
            Then::Upgrade => self.hooks_before_upgrade_ended(trouble),
            Then::Next => self.begin_latched(),
            Then::Stop => self.begin_stop(),
            Then::Exit => self.end(),
        }
    }

    /// The upgrade that they come before is not to be.
    pub(super) fn cancel_hooks_before_upgrade(&mut self) {
        for run in self.hooks.iter_mut().filter(|run| run.then == Then::Upgrade) {
            run.then = Then::Rest;
            run.left.clear();
            run.task.kill();
        }
    }

    pub(super) fn before_upgrade(&mut self) {
        // Those of an upgrade that has failed meanwhile have no say in this one.
        for run in self.hooks.iter_mut().filter(|run| run.then == Then::Upgrade) {
            run.then = Then::Rest;
        }
        self.run_hooks("HUP", HookPhase::Pre, Then::Upgrade);
    }

    pub(super) fn after_upgrade(&mut self) {
        self.run_hooks("HUP", HookPhase::Post, Then::Next);
    }
}
