//! One worker after another: frozen while its successor starts, parked while that is watched, and
//! then back in service or drained.
//!
//! Owns the order in which a worker lets go of what only one may have (state, folder, orders) and
//! takes it up again. Knows nothing of the successor.
//! Invariant: what a frozen worker says is in traffic stays so, in memory and on disk, until it is
//! thawed.

use std::{
    os::fd::OwnedFd,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::{InTraffic, Regained, Worker, lock, traffic};
use crate::{
    admin::{Door, Elsewhere},
    error::{Coded, Kind},
    ids::Generation,
    serve::{Drain, Socket},
    state::history::Entry,
    status::Stage,
};

/// What a worker is at, as whoever leads it sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Posture {
    /// Nothing is accepted yet.
    #[default]
    Starting,
    /// It is the one.
    Serving,
    /// It serves, and changes nothing.
    Frozen,
    /// It finishes what it has, and can come back.
    Parked,
    /// It is on its way out.
    Leaving,
}

/// The posture, changed by one caller at a time.
#[derive(Debug, Default)]
pub(super) struct Stance(Mutex<Posture>);

impl Stance {
    fn lock(&self) -> MutexGuard<'_, Posture> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes from one posture to another; false when it was in neither.
    pub(super) fn turn(&self, from: Posture, to: Posture) -> bool {
        let mut posture = self.lock();
        let fits = *posture == from;
        if fits {
            *posture = to;
        }
        fits
    }

    /// For good; what it was.
    pub(super) fn end(&self) -> Posture {
        std::mem::replace(&mut *self.lock(), Posture::Leaving)
    }
}

/// The worker was not frozen, and goes on as before.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum FreezeError {
    /// An order, or a look at the plugins folder, takes longer than an upgrade waits.
    #[error("a deploy is still running after {} s", .time.as_secs())]
    DeployRunning {
        /// The limit.
        time: Duration,
    },
    /// It is not the one that serves.
    #[error("the worker is starting, stopping or handing over already")]
    NotServing,
}

impl Coded for FreezeError {
    fn code(&self) -> &'static str {
        match self {
            Self::DeployRunning { .. } => "deploy_running",
            Self::NotServing => "not_serving",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::DeployRunning { .. } => Kind::Busy,
            Self::NotServing => Kind::Conflict,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::DeployRunning { .. } => {
                "`hotseat status` shows the order; try again when it is done, or raise `freeze_time`"
                    .to_owned()
            }
            Self::NotServing => "try again in a moment".to_owned(),
        })
    }
}

impl Worker {
    /// Changes nothing any more and writes nothing, while everything is served: orders that were
    /// taken in are carried out first, new ones wait in the backlog for whoever accepts next.
    /// Blocks, up to `freeze_time`. What is in traffic then.
    ///
    /// # Errors
    /// [`FreezeError`]; everything is as before then.
    pub fn freeze(&self) -> Result<InTraffic, FreezeError> {
        if !self.stance.turn(Posture::Serving, Posture::Frozen) {
            return Err(FreezeError::NotServing);
        }
        let time = self.config.limits.freeze_time;
        let until = Instant::now() + time;
        let left = || until.saturating_duration_since(Instant::now());
        // Health is still this worker's to tell.
        self.control.set(Door::Shut, Door::Open);
        self.relay.set(Elsewhere::Changes);
        let watcher = lock(&self.watcher);
        // Before the desk, so that what was found in the folder is still taken in.
        let looks = watcher.as_ref().is_some_and(|watcher| !watcher.pause(left()));
        drop(watcher);
        self.desk.freeze();
        let settled = !looks && self.desk.settle(left());
        // As long as this one may write it down: else the successor orders again what was refused.
        if !settled || !self.take_answers(left()) {
            self.thaw();
            return Err(FreezeError::DeployRunning { time });
        }
        self.settle_numbers();
        self.record.seal(true);
        Ok(traffic::of(&self.picture.routes.load(), &self.store, &self.record, &self.settings))
    }

    /// Has what became of the folder's orders remembered; false: it takes longer.
    fn take_answers(&self, patience: Duration) -> bool {
        lock(&self.watcher).as_ref().is_none_or(|watcher| watcher.take_answers(patience))
    }

    /// Undoes [`freeze`](Self::freeze): no successor was started.
    pub fn thaw(&self) {
        if self.stance.turn(Posture::Frozen, Posture::Serving) {
            self.take_up();
        }
    }

    /// Accepts no more and serves what is here: the successor has taken over and is watched. `keep`
    /// are sockets that it does not have; they are still accepted from.
    ///
    /// # Errors
    /// No descriptor is left to go on with `keep`.
    pub fn park(&self, keep: &[Socket]) -> anyhow::Result<()> {
        let turned = self.stance.turn(Posture::Frozen, Posture::Parked);
        anyhow::ensure!(turned, "the worker cannot be parked before it is frozen");
        if !self.plane.park() {
            tracing::warn!("a blocked data thread lets go of the listeners when it is free");
        }
        if !keep.is_empty() {
            self.plane.accept(keep).context("go on accepting")?;
        }
        self.relay.set(Elsewhere::Everything);
        self.control.set(Door::Shut, Door::Shut);
        Ok(())
    }

    /// Writes a line into the history.
    pub fn note(&self, entry: Entry) {
        self.record.append(entry);
    }

    /// Has the state folder say exactly which numbers come next.
    pub(super) fn settle_numbers(&self) {
        self.record.settle_numbers(self.desk.next_number(), self.events.last());
    }

    /// Takes over again, parked or only frozen: the successor is gone. What it has committed meanwhile is loaded first,
    /// for as long as one deploy may take. `regained` is what whoever leads this worker knows of it.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn resume(&self, regained: Regained) -> anyhow::Result<()> {
        let Regained { next, manifest, carried } = regained;
        let parked = self.stance.turn(Posture::Parked, Posture::Serving);
        if !parked && !self.stance.turn(Posture::Frozen, Posture::Serving) {
            return Ok(());
        }
        self.store.carry(carried);
        if let Err(error) = self.record.reload(manifest) {
            tracing::error!(
                %error, hint = error.hint(), code = error.code(),
                "going on with what was committed here"
            );
        }
        self.desk.remember(&self.record.recent());
        let next = next.unwrap_or_else(|| self.record.reserved());
        self.desk.skip_to(next.orders);
        self.record.skip_generations(Generation(next.generations));
        let limits = &self.config.limits;
        if !self.desk.reconcile(limits.preflight_time + limits.load_time) {
            tracing::warn!("serving again before everything is as it was committed");
        }
        let accepted = if parked { self.accept_again() } else { Ok(()) };
        self.take_up();
        accepted.context("accept connections again")
    }

    fn accept_again(&self) -> std::io::Result<()> {
        // Else what was kept would be accepted from twice.
        self.plane.park();
        match &*lock(&self.sockets) {
            Some(sockets) => self.plane.accept(&sockets.data),
            None => Ok(()),
        }
    }

    /// What only one worker may have is this one's again.
    fn take_up(&self) {
        self.record.seal(false);
        self.desk.thaw();
        self.relay.set(Elsewhere::Nothing);
        self.control.set(Door::Open, Door::Open);
        if let Some(watcher) = &*lock(&self.watcher) {
            watcher.go_on();
        }
    }

    /// Finishes what is here within `limit`, for good: idle connections go to `successor`, plugins
    /// are told to end their streams, and nothing is unloaded any more. Waits a moment at most. Of a
    /// worker that was not parked before, no other one is taken to be there: orders are refused.
    pub fn drain(&self, successor: Option<OwnedFd>, limit: Duration) {
        let handed_over = self.stance.end() == Posture::Parked;
        self.picture.stage.enter(Stage::Draining);
        // Another one may be writing.
        self.record.seal(true);
        if !handed_over {
            // Nobody else is there to answer.
            self.desk.thaw();
            self.relay.set(Elsewhere::Nothing);
            self.plane.park();
        }
        self.control.set(Door::Left, Door::Closed);
        lock(&self.sockets).take();
        self.reaper.hold();
        self.desk.close();
        drop(lock(&self.watcher).take());
        self.notify_plugins(limit);
        if let Err(error) = self.plane.drain(Drain { successor }) {
            tracing::error!(%error, "connections are closed instead of handed over");
            self.plane.close();
        }
    }
}
