//! A thread for answers that may take a while: who is in flight, old history.
//!
//! Owns the thread, so that the control plane's own never waits for a data thread or a disk. It
//! runs no code of a plugin. Made at the start, because a new thread has to wait for a library
//! that hangs in the loader.

use std::{
    fmt, io,
    sync::mpsc::{SyncSender, sync_channel},
};

use tokio::sync::oneshot;

use crate::admin::Later;

type Job = Box<dyn FnOnce() + Send>;

/// Questions that may wait; more of them are not asked.
const JOBS_COUNT: usize = 32;

/// The handle of the thread, which ends when the last clone is dropped.
#[derive(Clone)]
pub(super) struct Asker {
    jobs: SyncSender<Job>,
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker").finish_non_exhaustive()
    }
}

impl Asker {
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, given) = sync_channel::<Job>(JOBS_COUNT);
        std::thread::Builder::new()
            .name("asker".to_owned())
            .spawn(move || given.into_iter().for_each(|job| job()))?;
        Ok(Self { jobs })
    }

    /// Has `question` answered over there. `None`: too many wait already.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce() -> T + Send + 'static,
    ) -> Later<Option<T>> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Whoever asked may have gone.
            let _ = answer.send(question());
        });
        // A job that is not taken is dropped, and its sender with it.
        let _ = self.jobs.try_send(job);
        Box::pin(async move { answered.await.ok() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_may_wait_are_not_asked() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let asker = Asker::start().unwrap();
        let (release, held) = sync_channel::<()>(0);
        let (begun, begins) = sync_channel(1);
        let first = asker.ask(move || {
            begun.send(()).unwrap();
            held.recv().unwrap();
        });
        begins.recv().unwrap();
        let waiting: Vec<_> = (0..JOBS_COUNT).map(|number| asker.ask(move || number)).collect();
        assert_eq!(runtime.block_on(asker.ask(|| ())), None);
        release.send(()).unwrap();
        assert_eq!(runtime.block_on(first), Some(()));
        for (number, answer) in waiting.into_iter().enumerate() {
            assert_eq!(runtime.block_on(answer), Some(number));
        }
    }
}
