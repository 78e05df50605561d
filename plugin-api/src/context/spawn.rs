//! Tasks: futures that run beside requests.
//!
//! Owns their author's side: what a task is wrapped in, the handle, periodic work. Knows nothing of
//! where a task runs.
//! Invariant: nothing of the author's runs under the lock that a task and its handle share.
#![expect(unsafe_code, reason = "calls the host's table of services")]

use std::{
    fmt,
    future::Future,
    hash::{BuildHasher as _, RandomState},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{self, Poll, Waker},
    time::{Duration, Instant},
};

use super::{Context, Host};
use crate::{Error, Result, abi::spawn, entry, task::export};

/// What a task may end with: nothing, or a `Result` whose error goes to the host's log.
pub trait Outcome {
    /// The end as a result.
    ///
    /// # Errors
    /// The task's own.
    fn into_result(self) -> Result<()>;
}

impl Outcome for () {
    fn into_result(self) -> Result<()> {
        Ok(())
    }
}

/// The type that nothing is of, which has no name yet: a future that goes on for ever ends with it, as
/// does one that always panics.
type Never = <fn() -> ! as Returns>::Of;

/// What a function returns. As public as what it names.
pub trait Returns {
    /// That.
    type Of;
}

impl<T> Returns for fn() -> T {
    type Of = T;
}

impl Outcome for Never {
    fn into_result(self) -> Result<()> {
        self
    }
}

impl<E: Into<Error>> Outcome for Result<(), E> {
    fn into_result(self) -> Result<()> {
        self.map_err(Into::into)
    }
}

/// Why a task was not begun; its future was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpawnError {
    /// The version has as many tasks as it may: the host's setting `tasks_count`.
    Full,
    /// The version is at its end.
    Ended,
    /// The host is older than tasks.
    Unsupported,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "there are as many tasks as the host's `tasks_count` allows",
            Self::Ended => "the version is at its end and begins no more tasks",
            Self::Unsupported => "tasks need a host of binary interface 1.4 or later",
        })
    }
}

impl std::error::Error for SpawnError {}

/// Why a task did not end well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskError {
    /// It ended with an error, which is in the host's log.
    Failed,
    /// It panicked.
    Panicked,
    /// It was dropped before its end: by [`Task::abort`], or with its version.
    Aborted,
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed => "the task ended with an error",
            Self::Panicked => "the task panicked",
            Self::Aborted => "the task was dropped before its end",
        })
    }
}

impl std::error::Error for TaskError {}

/// A task that was begun: await it for its end. When the handle is dropped, the task goes on.
#[must_use = "dropping it does not end the task; say `let _ =` where that is meant, or `drop`"]
pub struct Task {
    shared: Arc<Shared>,
}

type Shared = Mutex<State>;

#[derive(Default)]
struct State {
    aborted: bool,
    end: Option<Result<(), TaskError>>,
    /// Of the task.
    task: Option<Waker>,
    /// Of who awaits its end.
    waiting: Option<Waker>,
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Task {
    /// Has the task's future dropped, on its thread and soon; nothing where it has ended.
    pub fn abort(&self) {
        let waker = {
            let mut state = lock(&self.shared);
            state.aborted = true;
            state.task.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        lock(&self.shared).end.is_some()
    }
}

impl Future for Task {
    type Output = Result<(), TaskError>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let waker = cx.waker().clone();
        let mut state = lock(&self.shared);
        let (polled, _unused) = match state.end {
            Some(end) => (Poll::Ready(end), Some(waker)),
            None => (Poll::Pending, state.waiting.replace(waker)),
        };
        drop(state);
        polled
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("is_finished", &self.is_finished()).finish()
    }
}

type Work = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// The author's future, as the host has it.
struct Spawned {
    /// Until it has ended.
    work: Option<Work>,
    /// While it is polled: what is dropped then has panicked.
    polled: bool,
    shared: Arc<Shared>,
}

impl Spawned {
    /// Drops the future first, so that whoever hears of the end finds nothing of it.
    fn end(&mut self, end: Result<(), TaskError>) {
        /// Tells of the end, also where the future's drop panics.
        struct Told<'a>(&'a Shared, Result<(), TaskError>);
        impl Drop for Told<'_> {
            fn drop(&mut self) {
                let (task, waiting) = {
                    let mut state = lock(self.0);
                    state.end.get_or_insert(self.1);
                    (state.task.take(), state.waiting.take())
                };
                drop(task);
                if let Some(waiting) = waiting {
                    waiting.wake();
                }
            }
        }
        let mut told = Told(&self.shared, Err(TaskError::Panicked));
        drop(self.work.take());
        told.1 = end;
    }
}

impl Future for Spawned {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Result<()>> {
        let waker = cx.waker().clone();
        let (aborted, _before) = {
            let mut state = lock(&self.shared);
            (state.aborted, state.task.replace(waker))
        };
        if aborted {
            self.end(Err(TaskError::Aborted));
            return Poll::Ready(Ok(()));
        }
        self.polled = true;
        let work = self.work.as_mut().expect("what has ended is not polled");
        let polled = work.as_mut().poll(cx);
        self.polled = false;
        if let Poll::Ready(result) = &polled {
            let end = result.as_ref().copied().map_err(|_| TaskError::Failed);
            self.end(end);
        }
        polled
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if self.work.is_some() {
            let end = if self.polled { TaskError::Panicked } else { TaskError::Aborted };
            self.end(Err(end));
        }
    }
}

/// How often something is done: each `Duration`, or with a [`jitter`](Self::jitter).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    every: Duration,
    jitter: Duration,
}

impl Period {
    /// At least a millisecond.
    #[must_use]
    pub fn of(every: Duration) -> Self {
        Self { every: every.max(Duration::from_millis(1)), jitter: Duration::ZERO }
    }

    /// Each time up to `most` later, by chance: so that many hosts do not ask one server at one moment.
    #[must_use]
    pub fn jitter(self, most: Duration) -> Self {
        Self { jitter: most, ..self }
    }

    /// By chance, from 0 up to the jitter.
    fn delay(self) -> Duration {
        // Seeded anew for each one, from the system's random numbers.
        let random = RandomState::new().hash_one(0);
        let share = f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX);
        Duration::try_from_secs_f64(self.jitter.as_secs_f64() * share).unwrap_or(self.jitter)
    }
}

impl From<Duration> for Period {
    fn from(every: Duration) -> Self {
        Self::of(every)
    }
}

/// When the next run is due.
struct Ticks {
    period: Period,
    due: Instant,
}

impl Ticks {
    fn new(period: Period, now: Instant) -> Self {
        Self { period, due: now }
    }

    /// From `now` to the next tick; those that have passed are left out.
    fn wait(&mut self, now: Instant) -> Duration {
        let every = self.period.every;
        // One that is beyond all time never comes.
        let Some(due) = self.due.checked_add(every) else { return Duration::MAX };
        self.due = due;
        let late = now.saturating_duration_since(self.due);
        if !late.is_zero() {
            let rest = late.as_nanos() % every.as_nanos();
            let rest = Duration::from_nanos(u64::try_from(rest).unwrap_or(0));
            self.due = now + (every - rest);
        }
        self.due.saturating_duration_since(now).saturating_add(self.period.delay())
    }
}

/// A run that ends with the periodic work that it belongs to, unless that has let it go.
struct Run(Option<Task>);

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(run) = &self.0 {
            run.abort();
        }
    }
}

impl Context {
    /// Runs `future` beside requests, on the data thread that calls, or on one of the host's choice
    /// where another thread does. It may end with nothing or with a `Result`, whose error is logged. It
    /// must not block its thread, as a handler must not.
    ///
    /// # Life
    /// It begins when the version serves: what [`Handler::new`](crate::Handler::new) spawns waits until
    /// then, and never runs in a preflight. It goes on beside a new version, and is dropped where it
    /// waits after the last request of its own version, before [`Handler::stop`](crate::Handler::stop).
    /// To end earlier, wait for [`draining`](Self::draining) too. It keeps no version in memory.
    ///
    /// A panic ends this task alone. With `runtime = "tokio"` it runs within the plugin's runtime.
    ///
    /// ```
    /// # use hotseat_plugin_api::{Context, Result};
    /// # use std::time::Duration;
    /// # fn f(context: &Context) -> Result<()> {
    /// let later = context.clone();
    /// drop(context.spawn(async move {
    ///     later.sleep(Duration::from_secs(1)).await;
    ///     later.info("a second later", &[]);
    /// })?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SpawnError`]; `future` is dropped.
    pub fn spawn<F>(&self, future: F) -> Result<Task, SpawnError>
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        let work = async move { future.await.into_result() };
        #[cfg(feature = "runtime")]
        let work: Work = match self.runtime() {
            Some(runtime) => Box::pin(crate::within::Within::new(runtime, work)),
            None => Box::pin(work),
        };
        #[cfg(not(feature = "runtime"))]
        let work: Work = Box::pin(work);
        let shared = Arc::<Shared>::default();
        let spawned = Spawned { work: Some(work), polled: false, shared: shared.clone() };
        self.hand_over(spawned)?;
        Ok(Task { shared })
    }

    fn hand_over(&self, spawned: Spawned) -> Result<(), SpawnError> {
        let Host { data, vt } = self.host();
        let begin = entry!(vt => HostVt.spawn).flatten().ok_or(SpawnError::Unsupported)?;
        // None runs there, and whoever awaits it hears that at once.
        if self.is_preflight() {
            return Ok(());
        }
        let task = export(spawned);
        let (raw, free) = (task.data, task.drop);
        // SAFETY: `data` belongs to the table; the task is `Send`, as the ABI asks.
        let refused = match unsafe { begin(data, task, spawn::HERE) } {
            spawn::ACCEPTED => return Ok(()),
            spawn::FULL => SpawnError::Full,
            _ => SpawnError::Ended,
        };
        // SAFETY: refused, so it is still ours; dropped once.
        unsafe { free(raw) };
        Err(refused)
    }

    /// Does `work` again and again: the first time after one `period`, never twice at one time, and a
    /// tick that comes while it runs is left out. A run that fails or panics is logged, and the next
    /// one comes all the same. It ends when [`Task::abort`] is called, and by itself at the drain notice:
    /// the version that has taken the seat does its own. The run that is under way then goes on to its
    /// end, or to that of the version.
    ///
    /// ```
    /// # use hotseat_plugin_api::{Context, Result};
    /// # use std::time::Duration;
    /// # fn f(context: &Context) -> Result<()> {
    /// let log = context.clone();
    /// drop(context.every(Duration::from_secs(60), move || {
    ///     let log = log.clone();
    ///     async move { log.info("a minute has passed", &[]) }
    /// })?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    pub fn every<W, F>(&self, period: impl Into<Period>, work: W) -> Result<Task, SpawnError>
    where
        W: Fn() -> F + Send + Sync + 'static,
        F: Future<Output: Outcome> + Send + 'static,
    {
        let (context, work, period) = (self.clone(), Arc::new(work), period.into());
        self.spawn(async move {
            let mut ticks = Ticks::new(period, context.now());
            loop {
                let wait = context.sleep(ticks.wait(context.now()));
                if context.until_drain(wait).await.is_none() {
                    return;
                }
                let work = work.clone();
                // A task of its own, so that the host sees how it ends.
                match context.spawn(async move { work().await }) {
                    Ok(run) => {
                        let mut run = Run(Some(run));
                        if let Some(task) = &mut run.0
                            && context.until_drain(task).await.is_none()
                        {
                            // It goes on without us.
                            run.0 = None;
                            return;
                        }
                    }
                    Err(SpawnError::Ended) => return,
                    Err(error) => context.warn("a run was left out", &[("why", &error)]),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests;
