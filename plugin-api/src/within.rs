//! Plugin code that runs within the plugin's own runtime, whoever polls it.
//!
//! Owns the wrappers that enter the runtime around each poll and drop of what a plugin hands to the
//! host: a call, a body, a conversation. Knows nothing of how a runtime is made.
//! Invariant: nothing stays entered when control is back with the host. An enter guard that is held
//! over an await would be left on the host's thread, for whatever that polls next; tokio panics where
//! ours then goes before it, so each crossing is guarded as a whole.
#![expect(unsafe_code, reason = "wraps raw futures, streams and upgrades")]

use std::{
    future::Future,
    mem::ManuallyDrop,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;

use crate::{
    abi::{self, Done, Frame, Stream, StreamVt, Upgrade, poll},
    guard::guard,
    owned::OwnedStream,
    task,
    upgrade::OwnedUpgrade,
};

/// A future of this library that is polled and dropped within a runtime.
pub(crate) struct Within<F> {
    runtime: Handle,
    future: ManuallyDrop<F>,
}

impl<F: Future> Within<F> {
    pub(crate) fn new(runtime: Handle, future: F) -> Self {
        Self { runtime, future: ManuallyDrop::new(future) }
    }
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: nothing is moved out; the future is pinned whenever this is.
        let this = unsafe { self.get_unchecked_mut() };
        let _entered = this.runtime.enter();
        // SAFETY: as above.
        unsafe { Pin::new_unchecked(&mut *this.future) }.poll(cx)
    }
}

impl<F> Drop for Within<F> {
    fn drop(&mut self) {
        let _entered = self.runtime.enter();
        // SAFETY: dropped once, here.
        unsafe { ManuallyDrop::drop(&mut self.future) }
    }
}

struct Inside<T> {
    runtime: Handle,
    inner: T,
}

/// The same body, produced within `runtime`.
pub(crate) fn stream(runtime: Handle, stream: OwnedStream) -> OwnedStream {
    let inside = Box::new(Inside { runtime, inner: stream.into_abi() });
    OwnedStream(Stream { data: Box::into_raw(inside).cast(), vt: &raw const STREAM })
}

static STREAM: StreamVt = StreamVt {
    size: abi::size_of_u32::<StreamVt>(),
    poll_next: poll_stream,
    len: len_of_stream,
    drop: drop_stream,
};

unsafe extern "C" fn poll_stream(data: *mut (), waker: *const abi::Waker, out: *mut Frame) -> u32 {
    // SAFETY: the box made in `stream`, used by one thread at a time.
    let Inside { runtime, inner } = unsafe { &*data.cast::<Inside<Stream>>() };
    let poll = || {
        let _entered = runtime.enter();
        // SAFETY: a stream of this library with its own table; the rest is the caller's.
        unsafe { ((*inner.vt).poll_next)(inner.data, waker, out) }
    };
    guard(poll).unwrap_or(poll::PANICKED)
}

unsafe extern "C" fn len_of_stream(data: *const ()) -> u64 {
    // SAFETY: as in `poll_stream`.
    let Inside { runtime, inner } = unsafe { &*data.cast::<Inside<Stream>>() };
    let len = || {
        let _entered = runtime.enter();
        // SAFETY: as in `poll_stream`.
        unsafe { ((*inner.vt).len)(inner.data) }
    };
    guard(len).unwrap_or(abi::UNKNOWN_LEN)
}

unsafe extern "C" fn drop_stream(data: *mut ()) {
    // SAFETY: the box made in `stream`; the host frees a stream once.
    let inside = unsafe { Box::from_raw(data.cast::<Inside<Stream>>()) };
    let Inside { runtime, inner } = *inside;
    guard(|| {
        let _entered = runtime.enter();
        drop(OwnedStream(inner));
    });
}

/// The same conversation, begun, held and ended within `runtime`.
pub(crate) fn upgrade(runtime: Handle, upgrade: OwnedUpgrade) -> OwnedUpgrade {
    let inside = Box::new(Inside { runtime, inner: upgrade });
    OwnedUpgrade(Upgrade {
        data: Box::into_raw(inside).cast(),
        start: Some(start),
        drop: Some(drop_upgrade),
    })
}

unsafe extern "C" fn start(data: *mut (), io: abi::Io) -> abi::Future<Done> {
    // SAFETY: the box made in `upgrade`, consumed here.
    let inside = unsafe { Box::from_raw(data.cast::<Inside<OwnedUpgrade>>()) };
    let Inside { runtime, inner } = *inside;
    let begin = || {
        let _entered = runtime.enter();
        let Upgrade { data, start, drop: _ } = inner.into_abi();
        let begin = start.expect("an upgrade of this library can be started");
        // SAFETY: an upgrade of this library, started once.
        unsafe { begin(data, io) }
    };
    let Some(future) = guard(begin) else { return task::panicked() };
    let inside = Box::new(Inside { runtime, inner: future });
    abi::Future { data: Box::into_raw(inside).cast(), poll: poll_future, drop: drop_future }
}

unsafe extern "C" fn drop_upgrade(data: *mut ()) {
    // SAFETY: the box made in `upgrade`; the host frees what it does not start, once.
    let inside = unsafe { Box::from_raw(data.cast::<Inside<OwnedUpgrade>>()) };
    let Inside { runtime, inner } = *inside;
    guard(|| {
        let _entered = runtime.enter();
        drop(inner);
    });
}

unsafe extern "C" fn poll_future(data: *mut (), waker: *const abi::Waker, out: *mut Done) -> u32 {
    // SAFETY: the box made in `start`, used by one thread at a time.
    let Inside { runtime, inner } = unsafe { &*data.cast::<Inside<abi::Future<Done>>>() };
    let poll = || {
        let _entered = runtime.enter();
        // SAFETY: a future of this library; the rest is the caller's.
        unsafe { (inner.poll)(inner.data, waker, out) }
    };
    guard(poll).unwrap_or(poll::PANICKED)
}

unsafe extern "C" fn drop_future(data: *mut ()) {
    // SAFETY: the box made in `start`; the host drops a future once.
    let inside = unsafe { Box::from_raw(data.cast::<Inside<abi::Future<Done>>>()) };
    let Inside { runtime, inner } = *inside;
    guard(|| {
        let _entered = runtime.enter();
        // SAFETY: a future of this library, dropped once.
        unsafe { (inner.drop)(inner.data) }
    });
}
