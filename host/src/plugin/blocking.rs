//! The host's bounded pool for plugins' blocking work.
//!
//! Owns its threads, which all exist before the first library is loaded, and the queue. Knows
//! nothing of futures beyond waking one. Invariants: a job holds its library from the queue to its
//! end; each thread purges itself between two jobs when it is asked.
#![expect(unsafe_code, reason = "runs and drops plugins' jobs")]

use std::{
    collections::VecDeque,
    fmt, io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    task::{Poll, Waker},
    thread,
};

use hotseat_plugin_api::abi;

use super::{
    hooks,
    lease::LibraryLease,
    purge::{PurgeRequest, register_thread},
};

/// The pool's queue has no room; the job was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{limit} jobs wait for the blocking pool already")]
pub struct QueueFull {
    /// Units: jobs.
    pub limit: usize,
}

struct Task {
    job: Option<abi::Job>,
    end: Arc<Mutex<End>>,
    lease: LibraryLease,
}

impl Task {
    fn run(mut self) {
        let Some(job) = self.job.take() else { return };
        let entered = hooks::enter(self.lease.library());
        // SAFETY: consumes the job's data, once; the lease keeps its library loaded. By the ABI
        // it never unwinds.
        unsafe { (job.run)(job.data) };
        drop(entered);
        finish(&self.end, Ok(()));
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let Some(job) = self.job.take() else { return };
        let entered = hooks::enter(self.lease.library());
        // SAFETY: never run, so the data is still there; the lease keeps the library loaded.
        unsafe { (job.drop)(job.data) };
        drop(entered);
        finish(&self.end, Err("the blocking pool has stopped".to_owned()));
    }
}

#[derive(Default)]
struct End {
    outcome: Option<Result<(), String>>,
    waker: Option<Waker>,
}

fn finish(end: &Mutex<End>, outcome: Result<(), String>) {
    let waker = {
        let mut end = end.lock().unwrap_or_else(PoisonError::into_inner);
        end.outcome = Some(outcome);
        end.waker.take()
    };
    // Outside the lock: waking may run plugin code.
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Where a job's end will be told.
pub(super) struct JobEnd {
    end: Arc<Mutex<End>>,
}

impl JobEnd {
    pub(super) fn poll_end(&mut self, waker: &Waker) -> Poll<Result<(), String>> {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = end.outcome.take() {
            return Poll::Ready(outcome);
        }
        let replaced = end.waker.replace(waker.clone());
        drop(end);
        drop(replaced);
        Poll::Pending
    }
}

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Task>,
    /// Requests to each thread, by its index.
    purges: Vec<Vec<PurgeRequest>>,
    started: usize,
    closed: bool,
}

struct Shared {
    limit: usize,
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post(&self, thread: usize, request: PurgeRequest) -> Result<(), PurgeRequest> {
        let mut queue = self.lock();
        if queue.closed {
            return Err(request);
        }
        queue.purges[thread].push(request);
        drop(queue);
        // All, because the one that is meant cannot be chosen.
        self.changed.notify_all();
        Ok(())
    }

    fn work(self: &Arc<Self>, thread: usize) {
        let reach: Weak<Self> = Arc::downgrade(self);
        let _registration =
            register_thread(format!("blocking {thread}"), move |request| match reach.upgrade() {
                Some(shared) => shared.post(thread, request),
                None => Err(request),
            });
        let mut queue = self.lock();
        queue.started += 1;
        self.changed.notify_all();
        loop {
            let purges = std::mem::take(&mut queue.purges[thread]);
            if !purges.is_empty() {
                drop(queue);
                purges.into_iter().for_each(PurgeRequest::run);
                queue = self.lock();
            } else if queue.closed {
                return;
            } else if let Some(task) = queue.tasks.pop_front() {
                drop(queue);
                task.run();
                queue = self.lock();
            } else {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

/// The pool. Dropping it ends its threads after the jobs that run; jobs that wait are dropped.
pub struct BlockingPool {
    shared: Arc<Shared>,
}

impl BlockingPool {
    /// Starts `threads` threads and returns once all of them are there. At most `queue_count` jobs
    /// wait.
    ///
    /// # Errors
    /// The system's own, when a thread cannot be started.
    pub fn start(threads: usize, queue_count: usize) -> io::Result<Self> {
        let queue =
            Queue { purges: (0..threads).map(|_| Vec::new()).collect(), ..Queue::default() };
        let shared =
            Shared { limit: queue_count, queue: Mutex::new(queue), changed: Condvar::new() };
        let pool = Self { shared: Arc::new(shared) };
        for thread in 0..threads {
            let shared = Arc::clone(&pool.shared);
            let name = format!("blocking-{thread}");
            thread::Builder::new().name(name).spawn(move || shared.work(thread))?;
        }
        let mut queue = pool.shared.lock();
        while queue.started < threads {
            queue = pool.shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        drop(queue);
        Ok(pool)
    }

    /// How many jobs wait.
    #[must_use]
    pub fn waiting_count(&self) -> usize {
        self.shared.lock().tasks.len()
    }

    pub(super) fn submit(&self, job: abi::Job, lease: LibraryLease) -> Result<JobEnd, QueueFull> {
        let end = Arc::new(Mutex::new(End::default()));
        let task = Task { job: Some(job), end: Arc::clone(&end), lease };
        let mut queue = self.shared.lock();
        if queue.closed || queue.tasks.len() >= self.shared.limit {
            // The job is dropped by plugin code, which may come back here.
            drop(queue);
            drop(task);
            return Err(QueueFull { limit: self.shared.limit });
        }
        queue.tasks.push_back(task);
        drop(queue);
        self.shared.changed.notify_one();
        Ok(JobEnd { end })
    }
}

impl Drop for BlockingPool {
    fn drop(&mut self) {
        let waiting = {
            let mut queue = self.shared.lock();
            queue.closed = true;
            std::mem::take(&mut queue.tasks)
        };
        self.shared.changed.notify_all();
        drop(waiting);
    }
}

impl fmt::Debug for BlockingPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingPool").field("limit", &self.shared.limit).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
