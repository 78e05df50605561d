//! The thread that does with a worker whatever may take as long as a plugin likes: starting it,
//! freezing it, ending it. Signals and messages are heard meanwhile.
//!
//! Made before the first plugin is opened: one that hangs in the loader must not keep the process
//! from stopping.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::oneshot;

use crate::{thread::Jobs, worker::Worker};

/// Jobs that may wait: more than there are orders of a master in a row.
const JOBS_COUNT: usize = 64;

/// The handle of the thread, which ends when it is dropped.
#[derive(Debug)]
pub(super) struct Keeper(Jobs);

impl Keeper {
    pub(super) fn start() -> anyhow::Result<Self> {
        let jobs = Jobs::start("keeper", JOBS_COUNT);
        Ok(Self(jobs.context("start the thread that keeps the worker")?))
    }

    /// Has `job` done after those before it. The receiver fails when too many wait.
    pub(super) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        self.0.run(job).unwrap_or_else(|| {
            tracing::error!("the worker's keeper has too much to do");
            oneshot::channel().1
        })
    }

    /// Has the worker ended, which nobody else may hold any more.
    pub(super) fn end(&self, worker: Arc<Worker>) -> oneshot::Receiver<()> {
        self.run(move || match Arc::into_inner(worker) {
            Some(worker) => worker.end(),
            None => tracing::error!("the worker is still in use: its plugins are not stopped"),
        })
    }
}
