//! The end of an HTTP/2 connection, said twice.
//!
//! A client is told a GOAWAY that allows every stream, and later one that names the last which is
//! answered. h2 sends the second as soon as a ping is answered; but clients answer pings before they
//! send the streams that wait in their own queue, and those would be lost. So the first word is said
//! here, [`FAREWELL_TIME`] before h2 is told.

use std::{
    io::IoSlice,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

use crate::serve::{
    conn::{Conn, Course},
    io::Stream,
};

/// Between the first word and the last. Source: RFC 9113, 6.8, which asks for a round trip at
/// least; Envoy and gRPC wait about as long.
pub(super) const FAREWELL_TIME: Duration = Duration::from_secs(1);

/// A GOAWAY whose last stream is the greatest there can be, without an error. Source: RFC 9113, 6.8.
const FAREWELL: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// The first word to a client, and the time until the last.
pub(super) struct Farewell<'a> {
    stream: &'a Stream,
    written: usize,
    until: Option<Instant>,
    timer: Pin<&'a mut Sleep>,
}

impl<'a> Farewell<'a> {
    /// `timer` is armed when it begins.
    pub(super) fn new(stream: &'a Stream, timer: Pin<&'a mut Sleep>) -> Self {
        Self { stream, written: 0, until: None, timer }
    }

    /// Whether a part of it is written: nobody else may write then.
    pub(super) fn is_partial(&self) -> bool {
        (1..FAREWELL.len()).contains(&self.written)
    }

    /// Writes what is left of it; call it between two frames only.
    pub(super) fn write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.written < FAREWELL.len() {
            let left = IoSlice::new(&FAREWELL[self.written..]);
            match ready!(self.stream.poll_write(cx, &[left])) {
                Ok(count) => self.written += count,
                // Whoever writes next finds out.
                Err(_) => self.written = FAREWELL.len(),
            }
        }
        Poll::Ready(())
    }

    /// Ready when the last word may follow. Call it right after hyper was polled: unless it is
    /// stuck, everything it had to write is written, frame by frame.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, conn: &Conn) -> Poll<()> {
        let wait = match conn.course() {
            Course::Close { linger, .. } => linger.min(FAREWELL_TIME),
            Course::Stay | Course::Move => FAREWELL_TIME,
        };
        if wait.is_zero() {
            return Poll::Ready(());
        }
        // Our settings must be the first frame.
        if conn.writes() > 0 && !conn.is_stuck() && self.write(cx).is_pending() {
            return Poll::Pending;
        }
        let until = *self.until.get_or_insert_with(|| Instant::now() + wait);
        if self.timer.deadline() != until {
            self.timer.as_mut().reset(until);
        }
        self.timer.as_mut().poll(cx)
    }
}
