//! What nobody reads of an HTTP/2 request's body.
//!
//! The stream may be ended and reset as soon as its answer is whole, but there are clients (curl among
//! them) that take an end in the middle of their body for a failure. So the rest is read away as long
//! as it keeps coming, bounded in bytes and time; then the stream is reset, which harms no other.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

use super::stream::Stopped;
use crate::{config::Limits, serve::inbound::Leftover};

/// How long nothing may come of it. A client that sends on comes well within it.
const GAP: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Unread {
    leftover: Rc<Leftover>,
    /// Units: bytes that may still come.
    left: u64,
    time: Duration,
    /// Since the first look, and the timer of the gap.
    began: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Unread {
    pub(super) fn new(leftover: Rc<Leftover>, limits: &Limits) -> Self {
        Self { leftover, left: limits.unread_bytes, time: limits.unread_time, began: None }
    }

    /// Whether there is a body that nobody reads.
    pub(super) fn is_there(&self) -> bool {
        !self.leftover.is_empty()
    }

    /// Ready when there is no body that nobody reads, or the stream is to be `stopped`.
    pub(super) fn poll_over(
        &mut self,
        stopped: Poll<Stopped>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Stopped>> {
        if let Poll::Ready(stopped) = stopped {
            return Poll::Ready(Err(stopped));
        }
        if self.is_there() && self.poll(cx).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads away what has come. Ready when there is no more, or it is to be reset; pending also
    /// where somebody still reads.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Not held while it is polled: h2 may wake whom it likes.
        let Some(mut stream) = self.leftover.take(cx) else { return Poll::Pending };
        let gap = || (Instant::now(), Box::pin(tokio::time::sleep(GAP)));
        let (began, timer) = self.began.get_or_insert_with(gap);
        let until = *began + self.time;
        while let Poll::Ready(data) = stream.poll_data(cx) {
            let Some(Ok(data)) = data else { return Poll::Ready(()) };
            let rest = self.left.checked_sub(data.len() as u64);
            let (Some(left), Ok(())) = (rest, stream.flow_control().release_capacity(data.len()))
            else {
                return Poll::Ready(());
            };
            self.left = left;
            timer.as_mut().reset(until.min(Instant::now() + GAP));
        }
        let over = timer.as_mut().poll(cx);
        if over.is_pending() {
            self.leftover.put_back(stream);
        }
        ready!(over);
        Poll::Ready(())
    }
}
