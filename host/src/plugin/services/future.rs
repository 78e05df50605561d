//! Futures of the host that plugins poll: a timer, the end of a blocking job.
//!
//! Each is a box that the plugin drops through our own function. The context outlives them, but a
//! future keeps what it needs itself, so that dropping it touches nothing of the plugin's.
#![expect(unsafe_code, reason = "polled by plugins through raw pointers")]

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll, Waker},
    time::Duration,
};

use hotseat_plugin_api::abi;
use tokio::{runtime::Handle, time::Sleep};

use hotseat_unload::{Holding, LibraryLease, Record};

use super::{Context, owned};
use crate::plugin::{
    blocking::{BlockingPool, JobEnd, QueueFull},
    release,
    shield::shield,
    waker,
};

/// What a boxed future of the host ends with: nothing, or an error's text.
type Outcome = Result<(), String>;

/// A future behind an `abi::Future`.
struct Boxed<F> {
    record: Arc<Record>,
    future: F,
}

fn boxed<F: Future<Output = Outcome> + Unpin>(
    context: &Context,
    future: F,
) -> abi::Future<abi::Done> {
    let boxed = Box::new(Boxed { record: Arc::clone(&context.record), future });
    abi::Future { data: Box::into_raw(boxed).cast(), poll: poll::<F>, drop: free::<F> }
}

unsafe extern "C" fn poll<F: Future<Output = Outcome> + Unpin>(
    data: *mut (),
    waker: *const abi::Waker,
    out: *mut abi::Done,
) -> u32 {
    // SAFETY: the box that `boxed` made; polled on one thread at a time and not after its end.
    let boxed = unsafe { &mut *data.cast::<Boxed<F>>() };
    let lease = || {
        // Its own code polls.
        let lease = LibraryLease::new(Arc::clone(&boxed.record), Holding::Waker);
        lease.expect("the library is open")
    };
    let poll = || {
        // SAFETY: the waker is alive for the call and comes from the record's library.
        let waker = unsafe { waker::to_std(waker, lease) };
        poll_with(&mut boxed.future, &waker)
    };
    let outcome = shield(|| release::scope(poll));
    let (code, error) = match outcome {
        Some(Poll::Pending) => return abi::poll::PENDING,
        Some(Poll::Ready(Ok(()))) => (abi::poll::READY, String::new()),
        Some(Poll::Ready(Err(text))) => (abi::poll::FAILED, text),
        None => return abi::poll::PANICKED,
    };
    let done = abi::Done { error: owned(error.into_bytes()) };
    // SAFETY: the caller's out value has room for it.
    unsafe { out.write(done) };
    code
}

/// What a service that panicked before it had a future answers with.
fn panicked() -> abi::Future<abi::Done> {
    unsafe extern "C" fn poll(_: *mut (), _: *const abi::Waker, _: *mut abi::Done) -> u32 {
        abi::poll::PANICKED
    }
    unsafe extern "C" fn free(_: *mut ()) {}
    abi::Future { data: std::ptr::null_mut(), poll, drop: free }
}

fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut TaskContext::from_waker(waker))
}

unsafe extern "C" fn free<F>(data: *mut ()) {
    // SAFETY: the box that `boxed` made; called once.
    let boxed = unsafe { Box::from_raw(data.cast::<Boxed<F>>()) };
    // A timer's end drops its waker inside the runtime's lock.
    shield(|| release::scope(|| drop(boxed)));
}

/// A timer that is made at its first poll, where the runtime is known.
struct Timer {
    fallback: Handle,
    duration: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Future for Timer {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Outcome> {
        let Self { fallback, duration, sleep } = &mut *self;
        let sleep = sleep.get_or_insert_with(|| {
            let here = Handle::try_current();
            let _inside = here.is_err().then(|| fallback.enter());
            Box::pin(tokio::time::sleep(*duration))
        });
        sleep.as_mut().poll(cx).map(Ok)
    }
}

pub(super) fn sleep(context: &Context, duration: Duration) -> abi::Future<abi::Done> {
    let timer = || {
        let fallback = context.services.timer.clone();
        boxed(context, Timer { fallback, duration, sleep: None })
    };
    shield(timer).unwrap_or_else(panicked)
}

/// Ends well.
struct Ending<F>(F);

impl<F: Future<Output = ()> + Unpin> Future for Ending<F> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Outcome> {
        Pin::new(&mut self.0).poll(cx).map(Ok)
    }
}

/// A future of another part of the host.
pub(super) fn lend<F>(context: &Context, make: impl FnOnce() -> F) -> abi::Future<abi::Done>
where
    F: Future<Output = ()> + Unpin,
{
    shield(|| boxed(context, Ending(make()))).unwrap_or_else(panicked)
}

/// The end of a job, or that there is no room for it.
struct Blocking(Result<JobEnd, QueueFull>);

impl Future for Blocking {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Outcome> {
        match &mut self.0 {
            Ok(end) => end.poll_end(cx.waker()),
            Err(full) => Poll::Ready(Err(full.to_string())),
        }
    }
}

/// Hands `job` to the pool; it is counted where there is no room.
fn submit(context: &Context, job: abi::Job) -> Result<JobEnd, QueueFull> {
    let end = context.services.blocking.submit(job, context.lease(Holding::Job));
    context.beside.blocking_rejected.add(u64::from(end.is_err()));
    end
}

pub(super) fn blocking(context: &Context, job: abi::Job) -> abi::Future<abi::Done> {
    let submit = || boxed(context, Blocking(submit(context, job)));
    shield(submit).unwrap_or_else(panicked)
}

/// As [`Blocking`]; a job that waits goes with it.
struct Call {
    job: Blocking,
    pool: Arc<BlockingPool>,
}

impl Future for Call {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Outcome> {
        Pin::new(&mut self.job).poll(cx)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Ok(end) = &self.job.0 {
            self.pool.call_off(end);
        }
    }
}

pub(super) fn blocking_call(context: &Context, job: abi::Job) -> abi::Future<abi::Done> {
    let submit = || {
        let pool = context.services.blocking.clone();
        boxed(context, Call { job: Blocking(submit(context, job)), pool })
    };
    shield(submit).unwrap_or_else(panicked)
}
