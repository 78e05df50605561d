//! The end of the host, in stages that an impatient operator can skip.

use std::time::Instant;

use super::{
    Master, Role,
    hooks::Then,
    notify,
    signals::COPY_TIME,
    upgrade::{KILL_MARGIN, STEP_TIME},
};
use crate::{
    config::HookPhase,
    ids::Peer,
    link::{Deed, Order},
};

/// A stop that has begun.
#[derive(Debug)]
pub(super) struct Stopping {
    /// When the last signal that counts came.
    last: Instant,
    signal: String,
    level: u8,
    /// The commands before it still run.
    waits: bool,
    /// The commands after it run.
    leaving: bool,
}

impl Master {
    /// TERM, INT or QUIT. The first stops gracefully, the second skips waiting and cuts, the third
    /// is the end: who asks again means it, and nobody would remember a stage in between. A copy
    /// (forwarded by a worker, or sooner than a second) never counts as another one.
    pub(super) fn told_to_stop(&mut self, signal: &str, direct: bool, by: Option<Peer>) {
        let now = Instant::now();
        let Some(stop) = &mut self.stop else {
            tracing::info!(signal, "stopping: finishing what is in flight");
            let text = format!("{signal}: the host finishes what is in flight");
            self.note(Deed { by, ..Deed::new("signal", "stop", "stopping", text) });
            self.stop = Some(Stopping {
                last: now,
                signal: signal.to_owned(),
                level: 0,
                waits: true,
                leaving: false,
            });
            self.run_hooks(signal, HookPhase::Pre, Then::Stop);
            return;
        };
        if !direct || now.duration_since(stop.last) < COPY_TIME {
            tracing::info!(signal, "counts as a copy of the one before");
            return;
        }
        stop.last = now;
        stop.level += 1;
        if stop.level == 1 {
            tracing::warn!("told again: cutting");
            let waits = stop.waits;
            if waits {
                self.begin_stop();
            }
            for worker in &mut self.workers {
                worker.kill_at = Some(now + KILL_MARGIN);
                worker.tell(&Order::Hurry, &[]);
            }
        } else {
            tracing::error!("told a third time: ending at once");
            self.workers.iter_mut().for_each(super::Led::kill);
            self.exit = Some(1);
        }
    }

    /// Has every worker finish what it has.
    pub(super) fn begin_stop(&mut self) {
        match &mut self.stop {
            Some(stop) if stop.waits => stop.waits = false,
            _ => return,
        }
        self.abandon_upgrade();
        self.respawn = None;
        let limits = &self.plan.settings.limits;
        let waits = limits.lame_duck + limits.idle_linger;
        let limit = waits + limits.stop_time + STEP_TIME;
        let drain = limits.stop_time;
        notify::stopping(limit + KILL_MARGIN);
        let now = Instant::now();
        for worker in &mut self.workers {
            match worker.role {
                Role::Booting => worker.kill(),
                Role::Soaking | Role::Serving => {
                    worker.role = Role::Stopping;
                    worker.kill_at = Some(now + limit + KILL_MARGIN);
                    worker.tell(&Order::Stop, &[]);
                }
                Role::Parked => {
                    worker.role = Role::Draining;
                    worker.kill_at = Some(now + drain + KILL_MARGIN);
                    worker.tell(&Order::Stop, &[]);
                }
                Role::Draining => {
                    let sooner = now + drain + KILL_MARGIN;
                    worker.kill_at = Some(worker.kill_at.map_or(sooner, |at| at.min(sooner)));
                    worker.tell(&Order::Stop, &[]);
                }
                Role::Stopping => {}
            }
        }
    }

    /// Leaves once the last worker has.
    pub(super) fn tick_stop(&mut self) {
        let Some(stop) = &mut self.stop else { return };
        // Commands have a limit of their own.
        let busy = !self.workers.is_empty() || !self.hooks.is_empty();
        if stop.waits || stop.leaving || busy {
            return;
        }
        stop.leaving = true;
        let signal = stop.signal.clone();
        self.run_hooks(&signal, HookPhase::Post, Then::Exit);
    }

    /// The last thing.
    pub(super) fn end(&mut self) {
        let cut = self.aborted;
        if cut > 0 {
            tracing::warn!(requests = cut, "requests were cut by the stop");
        }
        self.settle_numbers();
        tracing::info!("stopped");
        let strict = self.plan.settings.strict_exit && cut > 0;
        self.exit = Some(if strict { 3 } else { 0 });
    }
}
