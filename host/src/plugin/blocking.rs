//! The host's bounded pool for plugins' blocking work.
//!
//! Owns its threads, which all exist before the first library is loaded, and the queue. Knows
//! nothing of futures beyond waking one. Invariants: a job holds its library from the queue to its
//! end; each thread purges itself between two jobs when it is asked.
#![expect(unsafe_code, reason = "runs and drops plugins' jobs")]

use std::{
    collections::VecDeque,
    fmt, io,
    ops::ControlFlow,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Poll, Waker},
    thread,
    time::Instant,
};

use hotseat_plugin_api::abi;

use hotseat_unload::{
    LibraryLease, enter,
    purge::{PurgeRequest, register_thread},
};

use crate::thread::Inbox;

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
        let entered = enter(self.lease.library());
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
        let entered = enter(self.lease.library());
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn finish(end: &Mutex<End>, outcome: Result<(), String>) {
    let waker = {
        let mut end = lock(end);
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
        let mut end = lock(&self.end);
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

/// What one of the threads does next.
enum Work {
    Purges(Vec<PurgeRequest>),
    Task(Task),
}

impl Queue {
    /// `None`: the thread is to end.
    fn next(&mut self, thread: usize) -> ControlFlow<Option<Work>, Option<Instant>> {
        let purges = std::mem::take(&mut self.purges[thread]);
        ControlFlow::Break(if !purges.is_empty() {
            Some(Work::Purges(purges))
        } else if self.closed {
            None
        } else if let Some(task) = self.tasks.pop_front() {
            Some(Work::Task(task))
        } else {
            return ControlFlow::Continue(None);
        })
    }
}

struct Shared {
    limit: usize,
    queue: Inbox<Queue>,
}

impl Shared {
    fn post(&self, thread: usize, request: PurgeRequest) -> Result<(), PurgeRequest> {
        // All are told, because the one that is meant cannot be chosen.
        self.queue.tell(|queue| {
            if queue.closed {
                return Err(request);
            }
            queue.purges[thread].push(request);
            Ok(())
        })
    }

    fn work(self: &Arc<Self>, thread: usize) {
        let reach: Weak<Self> = Arc::downgrade(self);
        let _registration =
            register_thread(format!("blocking {thread}"), move |request| match reach.upgrade() {
                Some(shared) => shared.post(thread, request),
                None => Err(request),
            });
        self.queue.tell(|queue| queue.started += 1);
        while let Some(work) = self.queue.wait(|queue| queue.next(thread)) {
            match work {
                Work::Purges(purges) => purges.into_iter().for_each(PurgeRequest::run),
                Work::Task(task) => task.run(),
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
        let shared = Shared { limit: queue_count, queue: Inbox::new(queue) };
        let pool = Self { shared: Arc::new(shared) };
        for thread in 0..threads {
            let shared = Arc::clone(&pool.shared);
            let name = format!("blocking-{thread}");
            thread::Builder::new().name(name).spawn(move || shared.work(thread))?;
        }
        let all = |queue: &mut Queue| (queue.started == threads).then_some(());
        pool.shared.queue.wait_until(None, all);
        Ok(pool)
    }

    /// Drops a job that waits, whose end nobody will hear of. One that has begun goes on.
    pub(super) fn call_off(&self, end: &JobEnd) {
        if lock(&end.end).outcome.is_some() {
            return;
        }
        let task = {
            let mut queue = self.shared.queue.lock();
            let at = queue.tasks.iter().position(|task| Arc::ptr_eq(&task.end, &end.end));
            at.and_then(|at| queue.tasks.remove(at))
        };
        // By plugin code: outside the lock.
        drop(task);
    }

    /// How many jobs wait.
    #[must_use]
    pub fn waiting_count(&self) -> usize {
        self.shared.queue.lock().tasks.len()
    }

    pub(super) fn submit(&self, job: abi::Job, lease: LibraryLease) -> Result<JobEnd, QueueFull> {
        let end = Arc::new(Mutex::new(End::default()));
        let task = Task { job: Some(job), end: Arc::clone(&end), lease };
        let limit = self.shared.limit;
        let refused = self.shared.queue.tell_one(|queue| {
            if queue.closed || queue.tasks.len() >= limit {
                return Some(task);
            }
            queue.tasks.push_back(task);
            None
        });
        // Dropped by plugin code, which may come back here: outside the lock.
        if refused.is_some() {
            return Err(QueueFull { limit });
        }
        Ok(JobEnd { end })
    }
}

impl Drop for BlockingPool {
    fn drop(&mut self) {
        let waiting = self.shared.queue.tell(|queue| {
            queue.closed = true;
            std::mem::take(&mut queue.tasks)
        });
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
