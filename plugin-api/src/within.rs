//! Plugin code that runs within surroundings of its own, whoever polls it: a runtime, a request.
//!
//! Owns the wrappers that enter them around each poll and drop of what a plugin hands to the
//! host: a call, a body, a conversation. Knows nothing of how they are made.
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

use crate::{
    Result,
    abi::{self, Done, Frame, Stream, StreamVt, Upgrade, poll},
    guard::guard,
    owned::OwnedStream,
    response::Response,
    task,
    upgrade::OwnedUpgrade,
};

/// What code can be run within.
pub(crate) trait Surrounding: Clone + 'static {
    /// Leaves it when it is dropped.
    type Entered<'a>;

    /// From now on the calling thread is within.
    fn enter(&self) -> Self::Entered<'_>;
}

#[cfg(feature = "runtime")]
impl Surrounding for tokio::runtime::Handle {
    type Entered<'a> = tokio::runtime::EnterGuard<'a>;

    fn enter(&self) -> Self::Entered<'_> {
        self.enter()
    }
}

/// A future of this library that is polled and dropped within `S`.
pub(crate) struct Within<S: Surrounding, F> {
    surrounding: S,
    future: ManuallyDrop<F>,
}

impl<S: Surrounding, F: Future> Within<S, F> {
    pub(crate) fn new(surrounding: S, future: F) -> Self {
        Self { surrounding, future: ManuallyDrop::new(future) }
    }
}

impl<S: Surrounding, F: Future> Future for Within<S, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: nothing is moved out; the future is pinned whenever this is.
        let this = unsafe { self.get_unchecked_mut() };
        let _entered = this.surrounding.enter();
        // SAFETY: as above.
        unsafe { Pin::new_unchecked(&mut *this.future) }.poll(cx)
    }
}

impl<S: Surrounding, F> Drop for Within<S, F> {
    fn drop(&mut self) {
        let _entered = self.surrounding.enter();
        // SAFETY: dropped once, here.
        unsafe { ManuallyDrop::drop(&mut self.future) }
    }
}

/// A call within `S`; and its answer, whose body or conversation runs there as well.
///
/// No `async` block: each one keeps what it awaits twice, and calls are nested and moved.
pub(crate) struct Call<S: Surrounding, F>(Within<S, F>);

impl<S: Surrounding, F: Future<Output = Result<Response>>> Call<S, F> {
    /// What `call` does before it makes its future is done within as well.
    pub(crate) fn begin(surrounding: S, call: impl FnOnce() -> F) -> Self {
        let future = {
            let _entered = surrounding.enter();
            call()
        };
        Self(Within::new(surrounding, future))
    }
}

impl<S: Surrounding, F: Future<Output = Result<Response>>> Future for Call<S, F> {
    type Output = Result<Response>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Response>> {
        // SAFETY: the future is pinned whenever this is.
        let mut within = unsafe { self.map_unchecked_mut(|call| &mut call.0) };
        let answer = within.as_mut().poll(cx);
        answer.map_ok(|response| response.within(&within.surrounding))
    }
}

impl Response {
    /// The same, whose body or conversation runs within `surrounding`.
    fn within<S: Surrounding>(self, surrounding: &S) -> Self {
        self.map_payload(
            |inner| stream(surrounding.clone(), inner),
            |inner| upgrade(surrounding.clone(), inner),
        )
    }
}

struct Inside<S, T> {
    surrounding: S,
    inner: T,
}

impl<S: Surrounding> Inside<S, Stream> {
    const VT: &'static StreamVt = &StreamVt {
        size: abi::size_of_u32::<StreamVt>(),
        poll_next: poll_stream::<S>,
        len: len_of_stream::<S>,
        drop: drop_stream::<S>,
    };
}

/// The same body, produced within `surrounding`.
fn stream<S: Surrounding>(surrounding: S, stream: OwnedStream) -> OwnedStream {
    let inside = Box::new(Inside { surrounding, inner: stream.into_abi() });
    OwnedStream(Stream {
        data: Box::into_raw(inside).cast(),
        vt: std::ptr::from_ref(Inside::<S, Stream>::VT),
    })
}

unsafe extern "C" fn poll_stream<S: Surrounding>(
    data: *mut (),
    waker: *const abi::Waker,
    out: *mut Frame,
) -> u32 {
    // SAFETY: the box made in `stream`, used by one thread at a time.
    let Inside { surrounding, inner } = unsafe { &*data.cast::<Inside<S, Stream>>() };
    let poll = || {
        let _entered = surrounding.enter();
        // SAFETY: a stream of this library with its own table; the rest is the caller's.
        unsafe { ((*inner.vt).poll_next)(inner.data, waker, out) }
    };
    guard(poll).unwrap_or(poll::PANICKED)
}

unsafe extern "C" fn len_of_stream<S: Surrounding>(data: *const ()) -> u64 {
    // SAFETY: as in `poll_stream`.
    let Inside { surrounding, inner } = unsafe { &*data.cast::<Inside<S, Stream>>() };
    let len = || {
        let _entered = surrounding.enter();
        // SAFETY: as in `poll_stream`.
        unsafe { ((*inner.vt).len)(inner.data) }
    };
    guard(len).unwrap_or(abi::UNKNOWN_LEN)
}

unsafe extern "C" fn drop_stream<S: Surrounding>(data: *mut ()) {
    // SAFETY: the box made in `stream`; the host frees a stream once.
    let inside = unsafe { Box::from_raw(data.cast::<Inside<S, Stream>>()) };
    let Inside { surrounding, inner } = *inside;
    guard(|| {
        let _entered = surrounding.enter();
        drop(OwnedStream(inner));
    });
}

/// The same conversation, begun, held and ended within `surrounding`.
fn upgrade<S: Surrounding>(surrounding: S, upgrade: OwnedUpgrade) -> OwnedUpgrade {
    let inside = Box::new(Inside { surrounding, inner: upgrade });
    OwnedUpgrade(Upgrade {
        data: Box::into_raw(inside).cast(),
        start: Some(start::<S>),
        drop: Some(drop_upgrade::<S>),
    })
}

unsafe extern "C" fn start<S: Surrounding>(data: *mut (), io: abi::Io) -> abi::Future<Done> {
    // SAFETY: the box made in `upgrade`, consumed here.
    let inside = unsafe { Box::from_raw(data.cast::<Inside<S, OwnedUpgrade>>()) };
    let Inside { surrounding, inner } = *inside;
    let begin = || {
        let _entered = surrounding.enter();
        let Upgrade { data, start, drop: _ } = inner.into_abi();
        let begin = start.expect("an upgrade of this library can be started");
        // SAFETY: an upgrade of this library, started once.
        unsafe { begin(data, io) }
    };
    let Some(future) = guard(begin) else { return task::panicked() };
    let inside = Box::new(Inside { surrounding, inner: future });
    abi::Future {
        data: Box::into_raw(inside).cast(),
        poll: poll_future::<S>,
        drop: drop_future::<S>,
    }
}

unsafe extern "C" fn drop_upgrade<S: Surrounding>(data: *mut ()) {
    // SAFETY: the box made in `upgrade`; the host frees what it does not start, once.
    let inside = unsafe { Box::from_raw(data.cast::<Inside<S, OwnedUpgrade>>()) };
    let Inside { surrounding, inner } = *inside;
    guard(|| {
        let _entered = surrounding.enter();
        drop(inner);
    });
}

unsafe extern "C" fn poll_future<S: Surrounding>(
    data: *mut (),
    waker: *const abi::Waker,
    out: *mut Done,
) -> u32 {
    // SAFETY: the box made in `start`, used by one thread at a time.
    let Inside { surrounding, inner } = unsafe { &*data.cast::<Inside<S, abi::Future<Done>>>() };
    let poll = || {
        let _entered = surrounding.enter();
        // SAFETY: a future of this library; the rest is the caller's.
        unsafe { (inner.poll)(inner.data, waker, out) }
    };
    guard(poll).unwrap_or(poll::PANICKED)
}

unsafe extern "C" fn drop_future<S: Surrounding>(data: *mut ()) {
    // SAFETY: the box made in `start`; the host drops a future once.
    let inside = unsafe { Box::from_raw(data.cast::<Inside<S, abi::Future<Done>>>()) };
    let Inside { surrounding, inner } = *inside;
    guard(|| {
        let _entered = surrounding.enter();
        // SAFETY: a future of this library, dropped once.
        unsafe { (inner.drop)(inner.data) }
    });
}
