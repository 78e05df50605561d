//! A closure on its way through the host's blocking pool.
//!
//! Owns the slot that closure and waiting future share. Knows nothing of the pool.
//! Invariant: the closure is run or dropped exactly once, and its panic stays in this library.
#![expect(unsafe_code, reason = "a job is raw data and functions")]

use std::{
    any::Any,
    fmt,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    abi::Job,
    guard::{guard, raise_again},
    host_future::FreeFuture,
};

/// Why blocking code gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockingError {
    /// The pool's queue is full, or the host is stopping: the code never ran. A client may try again.
    Full,
    /// The code panicked.
    Panicked,
}

impl fmt::Display for BlockingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the host's blocking pool has no room",
            Self::Panicked => "the blocking code panicked",
        })
    }
}

impl std::error::Error for BlockingError {}

enum Slot<T, F> {
    Waiting(F),
    /// Or dropped before it began.
    Running,
    Done(T),
    Panicked(Box<dyn Any + Send>),
}

type Shared<T, F> = Mutex<Slot<T, F>>;

/// Hands `f` to `submit` as a job and waits for its result.
pub(super) async fn run<T, F>(
    f: F,
    submit: impl FnOnce(Job) -> FreeFuture,
) -> Result<T, BlockingError>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let shared = Arc::new(Mutex::new(Slot::Waiting(f)));
    match end(&shared, submit).await? {
        Ok(value) => Ok(value),
        Err(payload) => {
            guard(|| drop(payload));
            Err(BlockingError::Panicked)
        }
    }
}

/// As [`run`], for nobody but who waits: `f` is dropped with the future, unless it has begun, and goes on
/// to panic there.
pub(super) async fn call<T, F>(
    f: F,
    submit: impl FnOnce(Job) -> FreeFuture,
) -> Result<T, BlockingError>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let called = CalledOff(Arc::new(Mutex::new(Slot::Waiting(f))));
    match end(&called.0, submit).await? {
        Ok(value) => Ok(value),
        Err(payload) => raise_again(payload),
    }
}

/// Nobody waits any more.
struct CalledOff<T, F>(Arc<Shared<T, F>>);

impl<T, F> Drop for CalledOff<T, F> {
    fn drop(&mut self) {
        drop(take(&self.0));
    }
}

async fn end<T, F>(
    shared: &Arc<Shared<T, F>>,
    submit: impl FnOnce(Job) -> FreeFuture,
) -> Result<Result<T, Box<dyn Any + Send>>, BlockingError>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let data = Arc::into_raw(Arc::clone(shared)).cast_mut().cast();
    let job = Job { data, run: run_job::<T, F>, drop: drop_job::<T, F> };
    // A host refuses for no other reason.
    submit(job).await.map_err(|_| BlockingError::Full)?;
    match take(shared) {
        Slot::Done(value) => Ok(Ok(value)),
        Slot::Panicked(payload) => Ok(Err(payload)),
        Slot::Waiting(_) | Slot::Running => Err(BlockingError::Full),
    }
}

/// Nothing of the author's runs under the lock: not the closure, not a destructor.
fn swap<T, F>(shared: &Shared<T, F>, new: Slot<T, F>) -> Slot<T, F> {
    let mut slot = shared.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::replace(&mut slot, new)
}

fn take<T, F>(shared: &Shared<T, F>) -> Slot<T, F> {
    swap(shared, Slot::Running)
}

unsafe extern "C" fn run_job<T, F: FnOnce() -> T>(data: *mut ()) {
    // SAFETY: the reference counted in `end`; the host gives it back once.
    let shared = unsafe { Arc::from_raw(data.cast_const().cast::<Shared<T, F>>()) };
    guard(|| {
        let Slot::Waiting(f) = take(&shared) else { return };
        let result = panic::catch_unwind(AssertUnwindSafe(f));
        // What nobody waits for goes with the slot.
        swap(&shared, result.map_or_else(Slot::Panicked, Slot::Done));
    });
    guard(|| drop(shared));
}

unsafe extern "C" fn drop_job<T, F>(data: *mut ()) {
    // SAFETY: as in `run_job`.
    let shared = unsafe { Arc::from_raw(data.cast_const().cast::<Shared<T, F>>()) };
    guard(|| drop(shared));
}
