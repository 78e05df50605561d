//! Workers that stand still: those with a data thread that does not turn, and those that are not
//! heard of any more.
//!
//! Owns when that is noticed and what follows. A worker that can still be talked to is replaced as
//! in an upgrade, from the pinned binary and with the same settings: what is whole moves over, and
//! the process ends at the drain limit. One that is silent can hand nothing over: it is killed, and
//! its end is that of a crash that blames nobody.

use std::time::{Duration, Instant};

use super::{Led, Master, Role, crash::End};
use crate::link::{StuckThread, wire::LOADER_HELD};

/// Beats that may be missing before a worker that is needed at once counts as silent.
const MISSED_MAX: u32 = 3;

/// Between two attempts to replace a worker.
const RETRY_TIME: Duration = Duration::from_secs(2);

/// How often a worker that is stuck may refuse to be frozen.
const REFUSALS_MAX: u32 = 3;

/// On top of `stuck_time`, for a generation to be met again by what makes it stand still: within
/// that many times `crash_count` its blames are counted together.
const RELAPSE_TIME: Duration = Duration::from_secs(10);

impl Master {
    /// How long a worker may be silent while something waits for it.
    pub(super) fn silence_max(&self) -> Duration {
        self.plan.settings.limits.beat_time * MISSED_MAX
    }

    /// Within which time blames of a generation that stands still are counted together.
    pub(super) fn stuck_window(&self) -> Duration {
        let limits = &self.plan.settings.limits;
        let count = u32::try_from(limits.crash_count).unwrap_or(u32::MAX);
        limits.crash_window.max((limits.stuck_time + RELAPSE_TIME).saturating_mul(count))
    }

    /// A worker tells which of its data threads are stuck.
    pub(super) fn told_stuck(&mut self, number: u64, threads: Vec<StuckThread>) {
        let stops = self.stop.is_some();
        let Some(worker) = self.worker(number) else { return };
        let known = !worker.stuck.is_empty();
        worker.stuck = threads;
        if worker.stuck.is_empty() || worker.role != Role::Serving || stops {
            return;
        }
        if !known {
            let what = worker.standstill();
            tracing::error!(worker = number, "a worker is stuck: {what}");
        }
        self.blame_stuck(number);
        self.replace_stuck(number);
    }

    /// Counts the standstill like a crash against each generation whose code holds a thread; once
    /// for each worker.
    fn blame_stuck(&mut self, number: u64) {
        let Some(worker) = self.worker(number) else { return };
        let mut blamed = Vec::new();
        for generation in worker.stuck.iter().filter_map(|thread| thread.generation) {
            if !worker.blamed.contains(&generation) {
                worker.blamed.push(generation);
                blamed.push(generation);
            }
        }
        for generation in blamed {
            let decision = self.crashes.note(Instant::now(), End::stuck(generation), self.rules());
            if decision.withdraw == Some(generation) {
                let count = self.plan.settings.limits.crash_count;
                let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
                let (time, window) = (self.plan.settings.limits.stuck_time, self.stuck_window());
                let why = format!("its code held a thread for {time:?}, {times} within {window:?}");
                tracing::error!(generation, why, "to be withdrawn");
                self.withdraw.push((generation, why));
            }
        }
    }

    /// Begins to replace a worker, unless something else replaces it already.
    fn replace_stuck(&mut self, number: u64) {
        let now = Instant::now();
        if self.upgrade.is_some() || self.stop.is_some() {
            return;
        }
        let Some(worker) = self.worker(number) else { return };
        if worker.retry_at.is_some_and(|at| now < at) {
            return;
        }
        worker.retry_at = Some(now + RETRY_TIME);
        let why = worker.standstill();
        self.make_room_to_drain();
        self.begin_mending(number, why);
    }

    /// One that is stuck does not give up what only one worker may have. Something of it may wait
    /// for what holds its threads: then it never will.
    pub(super) fn does_not_freeze(&mut self, number: u64) {
        let Some(worker) = self.worker(number) else { return };
        worker.refusals += 1;
        let hopeless = worker.refusals >= REFUSALS_MAX || worker.holds_the_loader();
        if hopeless && !worker.ending {
            tracing::error!(worker = number, "it cannot be replaced in good order: killed");
            worker.ending = true;
            worker.trouble = Some(format!("stuck: {}", worker.standstill()));
            worker.end();
            self.totals.stuck_workers += 1;
        }
    }

    /// One that is stuck must go, however many drain: the one that has drained for longest ends.
    fn make_room_to_drain(&mut self) {
        let limit = self.plan.settings.limits.draining_count;
        let drains = |it: &&mut Led| it.role == Role::Draining && !it.ending;
        let count = self.workers.iter_mut().filter(drains).count();
        for worker in self.workers.iter_mut().filter(drains).take((count + 1).saturating_sub(limit))
        {
            tracing::warn!(worker = worker.number, "ended before its time: too many drain");
            worker.kill();
        }
    }

    /// When a worker's silence has to be looked at.
    pub(super) fn silence_due(&self) -> Option<Instant> {
        let watched = self.workers.iter().filter(|worker| worker.is_heard());
        watched.map(|worker| worker.heard + self.patience_with(worker)).min()
    }

    /// How long this worker may be silent.
    fn patience_with(&self, worker: &Led) -> Duration {
        let stuck_time = self.plan.settings.limits.stuck_time;
        if self.waits_for(worker.number) { stuck_time.min(self.silence_max()) } else { stuck_time }
    }

    /// Gives up the workers that are not heard of any more.
    pub(super) fn tick_silence(&mut self, now: Instant) {
        let silent = |worker: &&Led| {
            worker.is_heard() && now.duration_since(worker.heard) >= self.patience_with(worker)
        };
        let silent: Vec<u64> = self.workers.iter().filter(silent).map(|it| it.number).collect();
        for number in silent {
            let Some(worker) = self.worker(number) else { continue };
            let silence = now.duration_since(worker.heard);
            let (worker_pid, seconds) = (worker.id(), silence.as_secs_f64());
            tracing::error!(worker = number, worker_pid, seconds, "a worker is silent: killed");
            worker.ending = true;
            if matches!(worker.role, Role::Serving | Role::Soaking) {
                worker.trouble = Some(format!("no sign of life for {silence:.1?}"));
                worker.end();
            } else {
                worker.kill();
            }
            self.totals.stuck_workers += 1;
        }
    }

    /// The master itself did not run: what workers would have said meanwhile cannot be missed.
    pub(super) fn overslept(&mut self, due: Instant) {
        let now = Instant::now();
        if now.duration_since(due) > self.plan.settings.limits.beat_time {
            self.workers.iter_mut().for_each(|worker| worker.heard = now);
        }
    }
}

impl Led {
    /// Whether it is to be heard of again and again.
    fn is_heard(&self) -> bool {
        // One that comes up, or ends its plugins, has limits of its own.
        self.role != Role::Booting && !self.dismissed && !self.closed && !self.ending
    }

    /// Nothing can be loaded into it any more, and each of its threads may come to wait for that.
    pub(super) fn holds_the_loader(&self) -> bool {
        self.stuck.iter().any(|it| it.doing == LOADER_HELD)
    }

    /// Which of its threads do not turn, for people.
    pub(super) fn standstill(&self) -> String {
        let thread = |it: &StuckThread| match it.generation {
            Some(generation) if it.doing == LOADER_HELD => {
                format!("{LOADER_HELD}, of generation {generation}")
            }
            Some(generation) => {
                format!("thread {} in generation {generation} ({})", it.core, it.doing)
            }
            None => format!("thread {} ({})", it.core, it.doing),
        };
        self.stuck.iter().map(thread).collect::<Vec<_>>().join(", ")
    }
}
