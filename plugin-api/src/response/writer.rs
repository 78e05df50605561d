//! A body written by an `async` block.
//!
//! Owns the slot between the block and the host's polls. Knows nothing of the ABI.
//! Invariant: at most one piece waits; the block goes on only as the host takes pieces.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

use crate::{BodyError, Result};

/// The writing end of [`Response::streaming`](crate::Response::streaming).
#[derive(Debug)]
pub struct BodyWriter {
    slot: Rc<RefCell<Slot>>,
}

#[derive(Debug, Default)]
struct Slot {
    frame: Option<Frame<Bytes>>,
    /// Of a writer that waits for the slot to be taken.
    waiting: Option<Waker>,
}

impl BodyWriter {
    /// Sends one piece; ends when there is room for it.
    pub async fn send(&mut self, piece: impl Into<Bytes>) {
        let piece = piece.into();
        if !piece.is_empty() {
            self.put(Frame::data(piece)).await;
        }
    }

    /// Sends the trailers, with which the body ends.
    pub async fn trailers(mut self, trailers: HeaderMap) {
        self.put(Frame::trailers(trailers)).await;
    }

    async fn put(&mut self, frame: Frame<Bytes>) {
        let mut frame = Some(frame);
        poll_fn(|cx| {
            let mut slot = self.slot.borrow_mut();
            if slot.frame.is_some() {
                slot.waiting = Some(cx.waker().clone());
                return Poll::Pending;
            }
            slot.frame = frame.take();
            Poll::Ready(())
        })
        .await;
    }
}

/// The body that the future of `write` produces.
pub(super) fn written<F, W>(write: W) -> Written
where
    F: Future<Output = Result<()>> + 'static,
    W: FnOnce(BodyWriter) -> F,
{
    let slot = Rc::new(RefCell::new(Slot::default()));
    let future = Box::pin(write(BodyWriter { slot: Rc::clone(&slot) }));
    Written { future: Some(future), slot, fault: None }
}

pub(super) struct Written {
    /// `None` once it has ended.
    future: Option<Pin<Box<dyn Future<Output = Result<()>>>>>,
    slot: Rc<RefCell<Slot>>,
    /// Told after what was sent before it.
    fault: Option<BodyError>,
}

impl Written {
    fn take(&self) -> Option<Frame<Bytes>> {
        let (frame, waiting) = {
            let mut slot = self.slot.borrow_mut();
            (slot.frame.take(), slot.waiting.take())
        };
        if let Some(waker) = waiting {
            waker.wake();
        }
        frame
    }
}

impl http_body::Body for Written {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(future) = &mut self.future
            && let Poll::Ready(ended) = future.as_mut().poll(cx)
        {
            self.future = None;
            self.fault = ended.err().map(|error| BodyError::Broken(error.to_string()));
        }
        match self.take() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None if self.future.is_some() => Poll::Pending,
            None => Poll::Ready(self.fault.take().map(Err)),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.future.is_none() && self.fault.is_none() && self.slot.borrow().frame.is_none()
    }
}
