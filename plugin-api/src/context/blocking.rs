//! A closure on its way through the host's blocking pool.
//!
//! Owns the slot that closure and waiting future share. Knows nothing of the pool.
//! Invariant: the closure is run or dropped exactly once, and its panic stays in this library.
#![expect(unsafe_code, reason = "a job is raw data and functions")]

use std::sync::{Arc, Mutex, PoisonError};

use crate::{Error, Result, abi::Job, guard::guard, host_future::HostFuture};

enum Slot<T, F> {
    Waiting(F),
    Running,
    Done(T),
    Panicked,
}

type Shared<T, F> = Mutex<Slot<T, F>>;

/// Hands `f` to `submit` as a job and waits for its result.
pub(super) async fn run<T, F>(f: F, submit: impl FnOnce(Job) -> HostFuture) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let shared = Arc::new(Mutex::new(Slot::Waiting(f)));
    let data = Arc::into_raw(Arc::clone(&shared)).cast_mut().cast();
    submit(Job { data, run: run_job::<T, F>, drop: drop_job::<T, F> }).await?;
    match swap(&shared, Slot::Running) {
        Slot::Done(value) => Ok(value),
        Slot::Panicked => Err(Error::new("the blocking code panicked")),
        Slot::Waiting(_) | Slot::Running => Err(Error::new("the host did not run the code")),
    }
}

/// Nothing of the author's runs under the lock: not the closure, not a destructor.
fn swap<T, F>(shared: &Shared<T, F>, new: Slot<T, F>) -> Slot<T, F> {
    let mut slot = shared.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::replace(&mut slot, new)
}

unsafe extern "C" fn run_job<T, F: FnOnce() -> T>(data: *mut ()) {
    // SAFETY: the reference counted in `run`; the host gives it back once.
    let shared = unsafe { Arc::from_raw(data.cast_const().cast::<Shared<T, F>>()) };
    guard(|| {
        let Slot::Waiting(f) = swap(&shared, Slot::Running) else { return };
        let result = guard(f).map_or(Slot::Panicked, Slot::Done);
        swap(&shared, result);
    });
    guard(|| drop(shared));
}

unsafe extern "C" fn drop_job<T, F>(data: *mut ()) {
    // SAFETY: as in `run_job`.
    let shared = unsafe { Arc::from_raw(data.cast_const().cast::<Shared<T, F>>()) };
    guard(|| drop(shared));
}
