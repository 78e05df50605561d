//! The thread that does with a worker whatever may take as long as a plugin likes: starting it,
//! freezing it, ending it. Signals and messages are heard meanwhile.
//!
//! Made before the first plugin is opened: one that hangs in the loader must not keep the process
//! from stopping.

use std::{
    fmt,
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
};

use anyhow::Context as _;
use tokio::sync::oneshot;

use crate::worker::Worker;

type Job = Box<dyn FnOnce() + Send>;

/// Jobs that may wait: more than there are orders of a master in a row.
const JOBS_COUNT: usize = 64;

/// The handle of the thread, which ends when it is dropped.
pub(super) struct Keeper {
    jobs: SyncSender<Job>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keeper")
    }
}

impl Keeper {
    pub(super) fn start() -> anyhow::Result<Self> {
        let (jobs, given) = sync_channel::<Job>(JOBS_COUNT);
        let thread = std::thread::Builder::new().name("keeper".to_owned());
        thread
            .spawn(move || given.into_iter().for_each(|job| job()))
            .context("start the thread that keeps the worker")?;
        Ok(Self { jobs })
    }

    /// Has `job` done after those before it. The receiver fails when too many wait.
    pub(super) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (say, done) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Nobody waits any more when the operator has lost patience.
            let _ = say.send(job());
        });
        if self.jobs.try_send(job).is_err() {
            tracing::error!("the worker's keeper has too much to do");
        }
        done
    }

    /// Has the worker ended, which nobody else may hold any more.
    pub(super) fn end(&self, worker: Arc<Worker>) -> oneshot::Receiver<()> {
        self.run(move || match Arc::into_inner(worker) {
            Some(worker) => worker.end(),
            None => tracing::error!("the worker is still in use: its plugins are not stopped"),
        })
    }
}
