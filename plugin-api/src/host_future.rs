//! A future of the host, as Rust code awaits it.
//!
//! Owns the adapter around `abi::Future<Done>`. Knows nothing of what the host does meanwhile.
//! Invariant: polled no more once it has ended; dropped exactly once.
#![expect(unsafe_code, reason = "polls a raw future of the host")]

use std::{
    future::Future,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{
    Error, Result,
    abi::{self, Done, poll},
    owned::OwnedBytes,
    waker,
};

/// Ends when the host says so.
#[derive(Debug)]
pub(crate) struct HostFuture {
    raw: abi::Future<Done>,
}

impl HostFuture {
    /// # Safety
    /// `raw` was just made by the host and belongs to the caller alone.
    pub(crate) unsafe fn new(raw: abi::Future<Done>) -> Self {
        Self { raw }
    }
}

/// One of the host's services, which is bound to no thread: a timer, the end of a job.
#[derive(Debug)]
pub(crate) struct FreeFuture(HostFuture);

// SAFETY: by the ABI a future of the table of services may go to another thread between two calls.
unsafe impl Send for FreeFuture {}

impl FreeFuture {
    /// # Safety
    /// `raw` was just made by a function of the host's table of services and belongs to the caller
    /// alone.
    pub(crate) unsafe fn new(raw: abi::Future<Done>) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { HostFuture::new(raw) })
    }
}

impl Future for FreeFuture {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl Future for HostFuture {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut out = MaybeUninit::<Done>::uninit();
        let code = waker::with_abi(cx.waker(), |waker| {
            // SAFETY: the future is alive and has not ended; `out` has room for the result.
            unsafe { (self.raw.poll)(self.raw.data, waker, out.as_mut_ptr()) }
        });
        if code == poll::PENDING {
            return Poll::Pending;
        }
        if code != poll::READY && code != poll::FAILED {
            return Poll::Ready(Err(Error::new("the host could not do it")));
        }
        // SAFETY: filled on READY and on FAILED.
        let done = unsafe { out.assume_init() };
        // SAFETY: the text of a finished future is the receiver's.
        let text = unsafe { OwnedBytes::from_abi(done.error) };
        let ended = if code == poll::READY { Ok(()) } else { Err(Error::new(text.to_text())) };
        Poll::Ready(ended)
    }
}

impl Drop for HostFuture {
    fn drop(&mut self) {
        // SAFETY: called once.
        unsafe { (self.raw.drop)(self.raw.data) }
    }
}
