//! One connection as everything on its core sees it, and its time limits.
//!
//! Owns no socket. Invariant: a limit costs nothing per request: one timer a connection, re-armed
//! only when it fires; whoever reads, writes or answers only notes when.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

use super::{body::Upgrade, clock::Moment};
use crate::config::Limits;

/// The coarse clock's step, rounded up.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// A connection as everything on its core sees it.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) peer: Rc<str>,
    /// Requests that have not reached their last byte.
    in_flight: Cell<usize>,
    /// Since when no request is in flight.
    idle_since: Cell<Moment>,
    /// When the first byte came of a head that is not complete.
    head_since: Cell<Option<Moment>>,
    /// Since when the peer takes nothing that we write.
    stuck_since: Cell<Option<Moment>>,
    /// HTTP/2: bytes between requests are frames, not the beginning of a head.
    h2: Cell<bool>,
    stopping: Cell<bool>,
    /// To be ended at once, whatever is in flight on it.
    aborted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// What a handler that answered 101 wants to do with the connection.
    upgrade: RefCell<Option<Upgrade>>,
}

/// Why a connection was ended by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    Head,
    Idle,
    Write,
}

impl Conn {
    pub(super) fn new(peer: Rc<str>) -> Rc<Self> {
        Rc::new(Self {
            peer,
            in_flight: Cell::new(0),
            idle_since: Cell::new(Moment::now()),
            head_since: Cell::new(None),
            stuck_since: Cell::new(None),
            h2: Cell::new(false),
            stopping: Cell::new(false),
            aborted: Cell::new(false),
            waker: RefCell::new(None),
            upgrade: RefCell::new(None),
        })
    }

    pub(super) fn has_read(&self, count: usize) {
        let between = self.in_flight.get() == 0 && !self.h2.get();
        if count > 0 && between && self.head_since.get().is_none() {
            self.head_since.set(Some(Moment::now()));
        }
    }

    pub(super) fn has_written(&self, progress: bool) {
        if progress {
            self.stuck_since.set(None);
        } else if self.stuck_since.get().is_none() {
            self.stuck_since.set(Some(Moment::now()));
        }
    }

    /// A request's head is complete, whoever answers it.
    pub(super) fn head_done(&self, now: Moment) {
        self.head_since.set(None);
        self.idle_since.set(now);
    }

    /// A plugin answers a request.
    pub(super) fn begin_request(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
    }

    pub(super) fn is_busy(&self) -> bool {
        self.in_flight.get() > 0
    }

    /// It is HTTP/2: what comes between requests is frames, not the beginning of a head.
    pub(super) fn is_h2(&self) {
        self.h2.set(true);
        self.head_since.set(None);
    }

    /// A request has reached its last byte.
    pub(super) fn end_request(&self, now: Moment) {
        self.in_flight.set(self.in_flight.get() - 1);
        self.idle_since.set(now);
    }

    pub(super) fn upgrade(&self, upgrade: Upgrade) {
        self.upgrade.replace(Some(upgrade));
    }

    /// What a handler that answered 101 wants, if one did.
    pub(super) fn take_upgrade(&self) -> Option<Upgrade> {
        self.upgrade.take()
    }

    /// Asks the connection to end after what is in flight.
    pub(super) fn stop(&self) {
        self.stopping.set(true);
        self.wake();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Asks the connection to end at once.
    pub(super) fn abort(&self) {
        self.aborted.set(true);
        self.wake();
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.aborted.get()
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Notes whom `stop` and `abort` must wake.
    pub(super) fn remember(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
    }

    /// Which limit has passed, else when to look again.
    fn check(&self, now: Moment, limits: &Limits) -> Result<Duration, Expired> {
        let rest = |since: Moment, limit: Duration, why: Expired| {
            limit.checked_sub(now.since(since)).filter(|rest| !rest.is_zero()).ok_or(why)
        };
        if let Some(since) = self.stuck_since.get() {
            return rest(since, limits.body_gap, Expired::Write);
        }
        if self.in_flight.get() > 0 {
            // The body's and the plugin's own limits rule.
            return Ok(limits.header_time.min(limits.idle_time));
        }
        match self.head_since.get() {
            Some(since) => rest(since, limits.header_time, Expired::Head),
            // A head that begins later has its own, shorter limit.
            None => rest(self.idle_since.get(), limits.idle_time, Expired::Idle)
                .map(|left| left.min(limits.header_time)),
        }
    }
}

/// The limits of one connection, as a future that ends when one has passed.
pub(super) struct Limit<'a> {
    conn: &'a Conn,
    limits: &'a Limits,
    timer: Pin<&'a mut Sleep>,
}

impl<'a> Limit<'a> {
    pub(super) fn new(conn: &'a Conn, limits: &'a Limits, timer: Pin<&'a mut Sleep>) -> Self {
        Self { conn, limits, timer }
    }

    /// Forgets how long the connection has been idle, after it was asked to go.
    pub(super) fn start_over(&mut self) {
        self.conn.idle_since.set(Moment::now());
        self.timer.as_mut().reset(Instant::now() + TICK);
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Expired> {
        while self.timer.as_mut().poll(cx).is_ready() {
            match self.conn.check(Moment::now(), self.limits) {
                Err(expired) => return Poll::Ready(expired),
                // The coarse clock may lag one tick behind the timer.
                Ok(rest) => self.timer.as_mut().reset(Instant::now() + rest.max(TICK)),
            }
        }
        Poll::Pending
    }
}
