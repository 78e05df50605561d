//! The body of a service's request, which may be read on any thread.
//!
//! Owns the promise that it can be sent. On its own thread it is the host's stream, polled directly;
//! elsewhere the host brings the pieces over, where it knows how to.
//! Invariant: a stream of a host that does not is touched on its own thread alone, or leaked.
#![expect(unsafe_code, reason = "says that a stream of the host may be sent")]

use std::{
    cell::Cell,
    fmt,
    mem::ManuallyDrop,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::{Body, BodyError};

thread_local! {
    // 0: it has none yet.
    static HERE: Cell<u64> = const { Cell::new(0) };
}

/// The calling thread by a number that no other one has ever had.
fn here() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    HERE.with(|here| {
        if here.get() == 0 {
            here.set(LAST.fetch_add(1, Ordering::Relaxed) + 1);
        }
        here.get()
    })
}

/// The body of a request to a [`tower_service::Service`]: an [`http_body::Body`] that can be sent to
/// other threads and outlives the call.
///
/// # Threads
/// Read it where you like, one piece at a time. On the thread that the request came in on it costs
/// nothing; elsewhere each piece is brought over. On a host of binary interface 1.3 or before it can
/// be read on its own thread only, and says so anywhere else.
pub struct ServiceBody {
    body: ManuallyDrop<Body>,
    home: u64,
    is_free: bool,
    /// It was said that it cannot be read here.
    is_told: bool,
}

// SAFETY: what is inside is touched on its own thread, or the host says that it need not be
// (`may_touch`).
unsafe impl Send for ServiceBody {}

impl ServiceBody {
    pub(super) fn new(body: Body) -> Self {
        let is_free = body.is_free();
        Self { body: ManuallyDrop::new(body), home: here(), is_free, is_told: false }
    }

    fn may_touch(&self) -> bool {
        self.is_free || self.home == here()
    }
}

impl http_body::Body for ServiceBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.may_touch() {
            if std::mem::replace(&mut self.is_told, true) {
                return Poll::Ready(None);
            }
            let text = "this host cannot bring a body to another thread: read it where the request \
                        came in, or upgrade the host";
            return Poll::Ready(Some(Err(BodyError::Broken(text.to_owned()))));
        }
        Pin::new(&mut *self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.may_touch() { self.body.size_hint() } else { SizeHint::default() }
    }
}

impl Drop for ServiceBody {
    fn drop(&mut self) {
        if self.may_touch() {
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.body) }
        }
    }
}

impl fmt::Debug for ServiceBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceBody").finish_non_exhaustive()
    }
}
