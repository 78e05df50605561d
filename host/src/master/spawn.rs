//! How a worker is started and told what it begins with, and what its end means.

use std::{
    os::fd::{AsFd as _, BorrowedFd},
    rc::Rc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, WaitOptions, WaitStatus, wait};

use super::{
    Led, Master, Plan, Role,
    child::describe,
    crash::{Decision, End, Rules},
    notify,
    sockets::{Bound, Sockets, descriptor},
};
use crate::{
    cells::CARGO,
    link::{Boot, Deed, Order, Place},
};

/// A worker that is killed sooner than that has hardly served: whoever kills may do so again at once.
const BRIEF_TIME: Duration = Duration::from_secs(2);

impl Master {
    /// Starts a worker by `plan`, with `added` beside the sockets that are bound, and tells it what
    /// it begins with. It comes up by itself and accepts nothing.
    ///
    /// # Errors
    /// The system cannot start a process.
    pub(super) fn spawn(&mut self, plan: &Rc<Plan>, added: &Sockets) -> std::io::Result<u64> {
        let number = self.next_number;
        let mut led = Led::spawn(number, plan)?;
        led.withdraws = self.withdraw.len();
        led.handed = Some(self.counters.clone().unwrap_or_default());
        let past = self.past();
        led.told = past.last;
        let numbers = self.next_numbers();
        let deeds = self.deeds_to_begin_with();
        self.make_cells();
        led.deeds = deeds.len();
        self.next_number += 1;
        let selected = self.sockets.selected(added, &plan.settings);
        let boot = Boot {
            number,
            first: !self.announced,
            file: plan.file.clone(),
            listen: selected
                .each_ref()
                .map(|plane| plane.iter().map(|it| it.listen.clone()).collect()),
            given: (0..).zip(&selected[0]).filter(|(_, it)| it.given).map(|(at, _)| at).collect(),
            withdraw: self.withdraw.clone(),
            contents: self.contents.clone(),
            counters: self.counters.clone(),
            lame_duck: self.lame_duck,
            past: Some(past),
            numbers: Some(numbers),
            deeds,
            place: Some(Place {
                working_dir: self.origin.workdir.clone(),
                state_dir: self.state.path().to_owned(),
                lock: self.state.lock_id(),
                token: self.state.token().map(str::to_owned),
            }),
            manifest: self.manifest.as_ref().map(|(digest, _)| digest.clone()),
            standing: plan.standing.borrow().clone(),
            cells: self.cells.as_ref().map(|_| CARGO.to_owned()),
        };
        let sockets = selected.iter().flatten().map(|bound: &&Bound| descriptor(&bound.socket));
        let page = led.page.try_clone()?;
        let stderr = std::io::stderr();
        let descriptors: Vec<BorrowedFd<'_>> =
            sockets.chain([page.as_fd(), stderr.as_fd()]).collect();
        led.try_tell(&Order::Boot(Box::new(boot)), &descriptors)?;
        led.carry(&self.cargo, self.manifest.as_ref())?;
        if let Some(cells) = &self.cells {
            let digests = vec![CARGO.to_owned()];
            led.try_tell(&Order::Carry { digests }, &[cells.as_fd()])?;
        }
        led.try_tell(&Order::Start, &[])?;
        // An upgrade looks at the clock itself; the first start of all is its starter's to bound.
        if self.upgrade.is_none() && self.announced {
            led.kill_at = Some(Instant::now() + plan.settings.limits.ready_time);
        }
        tracing::info!(
            worker = number,
            worker_pid = led.id(),
            version = plan.version,
            "a worker is started"
        );
        self.workers.push(led);
        Ok(number)
    }

    /// Takes the ends of children; all of them, also those that are not ours (as process 1).
    pub(super) fn reap(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if status.stopped() || status.continued() {
                continue;
            }
            if let Some(at) = self.workers.iter().position(|worker| worker.pid == pid) {
                // What it has said before its end is heard first.
                self.hear(self.workers[at].number);
                let worker = self.workers.remove(at);
                self.buried(worker, status);
            } else if !self.hook_ended(pid, status) {
                self.task_ended(pid, status);
            }
        }
    }

    /// A worker has ended.
    fn buried(&mut self, mut worker: Led, status: WaitStatus) {
        self.forgets = true;
        self.row.count(&worker);
        worker.complaints.relay();
        let how = describe(status);
        let blame = self.blame(&worker, status);
        let generation = blame.generation;
        let why = self.why(&worker, how.as_deref(), &blame);
        self.tell_end(&worker, generation, &why);
        if let Some(lost) = self.lost_load(&worker, &blame, &why) {
            self.note(lost);
        }
        if self.stop.is_some() && worker.served && status.terminating_signal().is_some() {
            // How many it had is not known, and nobody can say that there were none.
            self.aborted += 1;
        }
        let by_itself = !worker.dismissed;
        if by_itself && self.stop.is_none() && (worker.served || self.upgrade.is_none()) {
            self.crashes.total += 1;
        }
        let said = worker.complaints.tail();
        let lost = match &worker.trouble {
            None if !worker.served && !said.is_empty() => format!("{why}: {said}"),
            _ => why.clone(),
        };
        // A plugin that calls `exit` without a trace is as bad as one that faults.
        let end = End {
            generation,
            proven: blame.proven,
            served: blame.served,
            fault: blame.fault,
            exited: status.exit_status().is_some(),
            stuck: false,
            brief: worker.born.elapsed() < BRIEF_TIME,
        };
        if by_itself && self.stop.is_none() && self.mends_with(worker.number) {
            let rules = self.rules();
            let decision = self.crashes.note_of(worker.number, Instant::now(), end, rules);
            self.withdraw_for(&decision, end, &why);
        }
        if let Some(content) = generation.zip(blame.content) {
            self.contents.push(content);
        }
        self.bequeath_of(&worker);
        if self.upgrade_lost(&worker, by_itself, &lost) || !by_itself || self.stop.is_some() {
            return;
        }
        if !matches!(worker.role, Role::Serving | Role::Booting | Role::Soaking) {
            return;
        }
        if !self.announced && generation.is_none() && !blame.killed {
            // The host never came up, and it was neither a plugin nor somebody from outside: whoever
            // starts it hears why.
            let why = if why.is_empty() { "the worker has ended before it served" } else { &why };
            tracing::error!("{why}");
            self.exit = Some(1);
            return;
        }
        if worker.counted.is_some() {
            self.counters.clone_from(&worker.counted);
        }
        self.replace(worker.number, end, &why);
    }

    /// Writes a worker's end down.
    fn tell_end(&mut self, worker: &Led, generation: Option<u64>, text: &str) {
        let why = (!text.is_empty()).then_some(text);
        if worker.dismissed
            || self.stop.is_some()
            || matches!(worker.role, Role::Draining | Role::Parked)
        {
            tracing::info!(
                worker = worker.number,
                worker_pid = worker.id(),
                generation,
                why,
                "a worker has ended"
            );
        } else {
            tracing::error!(
                worker = worker.number,
                worker_pid = worker.id(),
                generation,
                why,
                "a worker has ended unasked"
            );
            let (number, pid) = (worker.number, worker.status().pid);
            let text = format!("worker {number} (pid {pid}) has ended unasked: {text}");
            self.note(Deed { generation, ..Deed::new("crash", "worker", "ended", text) });
        }
    }

    /// The worker `number` has ended unasked: sees to the next one, and to what has ended it.
    fn replace(&mut self, number: u64, end: End, why: &str) {
        let rules = self.rules();
        let decision = self.crashes.note_of(number, Instant::now(), end, rules);
        if decision.give_up {
            return self.give_up(why);
        }
        if decision.blame_binary
            && let Some(previous) = self.previous.take()
        {
            tracing::error!(
                binary = self.plan.binary.digest,
                back_to = previous.binary.digest,
                "the binary is to blame: going back to the one before"
            );
            self.go_back_to(previous);
            self.say_taken_back(why);
        }
        self.withdraw_for(&decision, end, why);
        self.try_again(decision.after, why);
    }

    /// Nobody may serve until then: whoever looks has to see why.
    fn try_again(&mut self, after: Duration, why: &str) {
        self.respawn = Some(Instant::now() + after);
        if !after.is_zero() {
            let why = if why.is_empty() { "a worker has ended" } else { why };
            let seconds = after.as_secs_f64();
            tracing::error!(seconds, "the next worker is started after a pause: {why}");
            notify::status(&format!("next worker in {after:?}: {why}"));
        }
    }

    /// As `crash_exit_after` says.
    fn give_up(&mut self, why: &str) {
        tracing::error!(why, "workers do not come up (`crash_exit_after`): giving up");
        self.exit = Some(1);
    }

    /// Has the next worker take out of traffic what is to blame.
    fn withdraw_for(&mut self, decision: &Decision, end: End, why: &str) {
        let Some(generation) = decision.withdraw else { return };
        if self.withdraw.iter().any(|(withdrawn, _)| *withdrawn == generation) {
            return;
        }
        let Rules { count, window, .. } = self.rules();
        let why = if end.served || !end.proven {
            let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
            format!("workers died {times} within {window:?} while they ran it ({why})")
        } else {
            format!("a worker died of it before it could serve ({why})")
        };
        self.withdraw.push((generation, why));
    }

    /// What counts as too many ends.
    pub(super) fn rules(&self) -> Rules {
        let limits = &self.plan.settings.limits;
        Rules {
            window: limits.crash_window,
            stuck_window: self.stuck_window(),
            count: limits.crash_count,
            exit_after: limits.crash_exit_after,
        }
    }

    /// Starts the next worker when its time has come.
    pub(super) fn tick_respawn(&mut self, now: Instant) {
        if self.stop.is_some() || self.respawn.is_none_or(|at| at > now) {
            return;
        }
        self.respawn = None;
        let plan = self.plan.clone();
        if let Err(error) = self.spawn(&plan, &Sockets::default()) {
            let why = format!("a worker cannot be started: {error}");
            match self.crashes.not_started(self.rules()) {
                Some(after) => self.try_again(after, &why),
                None => self.give_up(&why),
            }
        }
    }

    /// A child that is no worker and no hook has ended: one of an upgrade, or an orphan.
    fn task_ended(&mut self, pid: Pid, status: WaitStatus) {
        if let Some(upgrade) = &mut self.upgrade
            && let Some(ended) = upgrade.take_task(pid, status)
        {
            self.upgrade_task_ended(ended);
        }
    }
}
