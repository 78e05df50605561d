//! What nobody reads of an HTTP/1 request's body.
//!
//! A body that a handler leaves unread stands between its request and the next one. It is read away
//! while the answer goes out and afterwards, bounded in bytes and time, and the connection goes on;
//! what is not read away makes the connection close. A body is not refused right away, because
//! clients that never retry would find a connection that was reset (nginx reads away, too). Owns
//! that decision. Knows nothing of answers.
//!
//! Invariant: what is left of a body is never taken for a request. hyper parses the next head only
//! after it has handed out the whole body; when that is given up, it closes its reading side.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::conn::Conn;
use crate::config::Limits;

/// The place for it, one a connection: requests come one after the other.
#[derive(Debug)]
pub(super) struct Rest {
    conn: Rc<Conn>,
    limits: Arc<Limits>,
    reading: RefCell<Option<Reading>>,
    given_up: Cell<bool>,
    /// An answer waits for its end: then hyper says when that has come.
    awaited: Cell<bool>,
}

#[derive(Debug)]
struct Reading {
    incoming: Incoming,
    /// Units: bytes that may still come.
    left: u64,
    until: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

/// How reading away ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With the end of the body.
    Whole,
    /// Nothing more has come. hyper says only at the next request that a chunked body has ended, so
    /// nobody knows but hyper itself, which closes the connection if it has not.
    Silent,
    GivenUp,
}

/// How long a body of unknown length may be silent. Source: nginx's `lingering_timeout`.
const GAP: Duration = Duration::from_secs(5);

impl Rest {
    pub(super) fn new(conn: Rc<Conn>, limits: Arc<Limits>) -> Rc<Self> {
        Rc::new(Self {
            conn,
            limits,
            reading: RefCell::default(),
            given_up: Cell::new(false),
            awaited: Cell::new(false),
        })
    }

    /// The request whose head has just come, for [`put`](Self::put).
    pub(super) fn request(&self) -> u32 {
        // hyper has read on: whatever was given up had come all the same.
        self.given_up.set(false);
        self.awaited.set(false);
        self.conn.heads()
    }

    /// The body of `request` was read to its end: what comes now is the next head.
    pub(super) fn has_whole(&self, request: u32) {
        if request == self.conn.heads() {
            self.conn.body_ends();
        }
    }

    /// Takes what is left of the body of `request` that nobody reads any more. `asked`: the client
    /// was told to send it, or did not wait to be told.
    pub(super) fn put(&self, incoming: Incoming, request: u32, asked: bool) {
        // Once there is another head, the body before it has come whole, whoever has it.
        if incoming.is_end_stream() || request != self.conn.heads() {
            return;
        }
        let left = self.limits.unread_bytes;
        let promised = incoming.size_hint().exact();
        if !asked || left == 0 || promised.is_some_and(|promised| promised > left) {
            self.given_up.set(true);
            return;
        }
        self.conn.set_resting(true);
        let until = Instant::now() + self.limits.unread_time;
        self.reading.replace(Some(Reading { incoming, left, until, timer: None }));
        self.conn.wake();
    }

    /// Reads no more: the connection ends with this answer, and its close reads on for a while.
    pub(super) fn give_up(&self) {
        if self.reading.take().is_some() {
            self.given_up.set(true);
            self.conn.set_resting(false);
        }
    }

    /// The connection must end after its answer: a body on it was not read to its end.
    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.get()
    }

    /// An answer waits for the end of what is being read away.
    pub(super) fn is_awaited(&self) {
        self.awaited.set(true);
    }

    /// Whether something is being read away.
    pub(super) fn is_reading(&self) -> bool {
        self.reading.borrow().is_some()
    }

    /// Reads away what has come. Ready when that was the last of it; pending also where there is
    /// nothing to read away. Call it between two polls of hyper, which hands the body out.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(mut reading) = self.reading.take() else { return Poll::Pending };
        let Poll::Ready(end) = reading.poll(cx) else {
            self.reading.replace(Some(reading));
            return Poll::Pending;
        };
        // Given up or not: hyper is told by the drop.
        drop(reading);
        let missed = end == End::Silent && self.awaited.take();
        self.given_up.set(end == End::GivenUp || missed);
        self.conn.set_resting(false);
        Poll::Ready(())
    }
}

impl Reading {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(End::Whole),
                Poll::Ready(Some(Err(_))) => return Poll::Ready(End::GivenUp),
                Poll::Ready(Some(Ok(frame))) => {
                    let len = frame.data_ref().map_or(0, |data| data.len() as u64);
                    let Some(left) = self.left.checked_sub(len) else {
                        return Poll::Ready(End::GivenUp);
                    };
                    self.left = left;
                    self.timer = None;
                    if self.incoming.is_end_stream() {
                        return Poll::Ready(End::Whole);
                    }
                }
                Poll::Pending => break,
            }
        }
        let silent = self.incoming.size_hint().exact().is_none();
        let due = if silent { self.until.min(Instant::now() + GAP) } else { self.until };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(if Instant::now() < self.until { End::Silent } else { End::GivenUp })
    }
}
