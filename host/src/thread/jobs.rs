//! A thread that does one job after the other, for those who must not wait themselves.
//!
//! It is there from the start, because a new one may have to wait for a library that hangs in the
//! loader. Invariant: handing a job in never waits; more than a bound of them are not taken.

use std::{
    fmt, io,
    sync::mpsc::{SyncSender, sync_channel},
    thread,
};

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// The handle of the thread, which ends when the last clone is dropped.
#[derive(Clone)]
pub struct Jobs {
    line: SyncSender<Job>,
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Jobs")
    }
}

impl Jobs {
    /// Starts the thread; at most `limit` jobs wait.
    ///
    /// # Errors
    /// The system's own, when the thread cannot be started.
    pub fn start(name: &str, limit: usize) -> io::Result<Self> {
        let (line, given) = sync_channel::<Job>(limit);
        let work = move || given.into_iter().for_each(|job| job());
        thread::Builder::new().name(name.to_owned()).spawn(work)?;
        Ok(Self { line })
    }

    /// Has `job` done after those before it. `None`: too many wait already.
    pub fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Option<oneshot::Receiver<T>> {
        let (say, done) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Whoever asked may have lost patience.
            let _ = say.send(job());
        });
        self.line.try_send(job).ok().map(|()| done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 3;

    #[test]
    fn more_than_may_wait_are_not_taken() {
        let jobs = Jobs::start("test", LIMIT).unwrap();
        let (release, held) = sync_channel::<()>(0);
        let (begun, begins) = sync_channel(1);
        let first = jobs.run(move || {
            begun.send(()).unwrap();
            held.recv().unwrap();
        });
        begins.recv().unwrap();
        let waiting: Vec<_> = (0..LIMIT).map(|number| jobs.run(move || number)).collect();
        assert!(jobs.run(|| ()).is_none());
        release.send(()).unwrap();
        first.unwrap().blocking_recv().unwrap();
        for (number, done) in waiting.into_iter().enumerate() {
            assert_eq!(done.unwrap().blocking_recv(), Ok(number));
        }
    }
}
