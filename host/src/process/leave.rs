//! How a worker leaves: in stages, each with a limit, and each to be skipped by an impatient
//! operator.
//!
//! ```text
//! stop:  lame duck > closing > listeners emptied and closed ┐
//! drain: (another worker accepts) ──────────────────────────┴> drain > cut > end
//! ```

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::keeper::Keeper;
use crate::{config::Limits, serve::Socket, worker::Worker};

/// For how long no new connection may have come before the listeners of a stopping host are closed.
const QUIET: Duration = Duration::from_secs(1);

/// Between two looks at the connections that are left.
const LOOK: Duration = Duration::from_millis(5);

/// Whether waiting is skipped: what is in flight is cut.
pub(super) type Haste = bool;

/// Who leaves, and why.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) worker: Arc<Worker>,
    pub(super) limits: Limits,
    /// The host stops, and these are its data listeners; `None`: somebody else accepts, or nobody.
    pub(super) stop: Option<Vec<Socket>>,
    /// Data listeners that nobody else has any more, although others go on.
    pub(super) kept: Vec<Socket>,
    /// How long what is in flight may take.
    pub(super) drain: Duration,
    /// Connections of threads that are stuck are not waited for.
    pub(super) forsakes: bool,
    pub(super) haste: watch::Receiver<Haste>,
}

impl Leaving {
    /// Finishes what is in flight, within limits; how many requests were cut. `shut` is called once
    /// the listeners of a stop are closed. The worker itself is still to be ended.
    pub(super) async fn leave(mut self, keeper: &Keeper, shut: impl FnOnce()) -> usize {
        let cut = self.worker.cut_count();
        let until = match self.stop.take() {
            Some(sockets) => {
                let until = self.stop_accepting(keeper, sockets).await;
                shut();
                until
            }
            None => {
                let until = Instant::now() + self.drain;
                self.shut(keeper).await;
                until
            }
        };
        let told = self.finish(until).await;
        // Plugins' own limits cut too, and may be quicker.
        let before = self.worker.cut_count().saturating_sub(cut);
        if told { before + self.worker.cut_all() } else { before }
    }

    /// The first half of a stop; when the second is over at the latest.
    async fn stop_accepting(&mut self, keeper: &Keeper, sockets: Vec<Socket>) -> Instant {
        let lame_duck = self.limits.lame_duck;
        if !lame_duck.is_zero() && self.worker.lame_duck(true) {
            tracing::info!(
                seconds = lame_duck.as_secs_f64(),
                "lame duck: serving on while `/readyz` says no"
            );
            self.patiently(tokio::time::sleep(lame_duck)).await;
        }
        self.worker.begin_stop();
        let until = Instant::now() + self.drain;
        let (worker, linger) = (self.worker.clone(), self.limits.idle_linger);
        self.patiently(nobody_comes(&worker, linger.min(self.drain))).await;
        drop(worker);
        let worker = self.worker.clone();
        let shut = keeper.run(move || {
            worker.shut(&sockets);
        });
        // It has a limit of its own.
        let _ = shut.await;
        until
    }

    /// Empties and closes what nobody else has.
    async fn shut(&mut self, keeper: &Keeper) {
        let (worker, kept) = (self.worker.clone(), std::mem::take(&mut self.kept));
        if !kept.is_empty() {
            // It has a limit of its own.
            let _ = keeper.run(move || worker.shut(&kept)).await;
        }
    }

    /// How many are waited for.
    fn left(&self) -> usize {
        if self.forsakes {
            self.worker.whole_connection_count()
        } else {
            self.worker.connection_count()
        }
    }

    /// Waits until nobody is left; whether what is left has to be cut.
    async fn finish(&mut self, until: Instant) -> bool {
        while self.left() > 0 {
            if *self.haste.borrow() {
                tracing::warn!(connections = self.worker.connection_count(), "told again: cutting");
                return true;
            }
            if Instant::now() >= until {
                tracing::warn!(
                    connections = self.worker.connection_count(),
                    "the limit has passed"
                );
                return true;
            }
            tokio::time::sleep(LOOK).await;
        }
        false
    }

    /// Waits for `time`, unless somebody is in a hurry.
    async fn patiently(&mut self, time: impl Future<Output = ()>) {
        tokio::select! {
            () = time => {}
            _ = self.haste.wait_for(|haste| *haste) => {}
        }
    }
}

/// Waits until the clients have heard that the host stops: nobody has come for a while, or `time`
/// has passed, or nobody is there who could hear it.
async fn nobody_comes(worker: &Worker, time: Duration) {
    let (mut come, mut last) = (worker.come_count(), Instant::now());
    let until = last + time;
    while worker.connection_count() > 0 && last.elapsed() < QUIET && Instant::now() < until {
        tokio::time::sleep(LOOK).await;
        if worker.come_count() != come {
            (come, last) = (worker.come_count(), Instant::now());
        }
    }
}
