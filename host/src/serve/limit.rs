//! The time limits of one connection.
//!
//! Invariant: a limit costs nothing per request: one timer a connection, re-armed only when it fires,
//! or when a limit has become nearer than it is set.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::{Instant, Sleep};

use super::{
    clock::Moment,
    conn::{Conn, Course, Expired, TICK},
};
use crate::config::Limits;

/// The limits of one connection, as a future that ends when one has passed.
pub(super) struct Limit<'a> {
    conn: &'a Conn,
    limits: &'a Limits,
    timer: Pin<&'a mut Sleep>,
    /// For which idle time of a closing connection the timer was set.
    armed: Option<(Course, Moment)>,
    /// For which standstill of writing it was.
    stuck: Option<Moment>,
}

impl<'a> Limit<'a> {
    pub(super) fn new(conn: &'a Conn, limits: &'a Limits, timer: Pin<&'a mut Sleep>) -> Self {
        Self { conn, limits, timer, armed: None, stuck: None }
    }

    /// Forgets how long the connection has been idle, after it was asked to go.
    pub(super) fn start_over(&mut self) {
        self.conn.idles_anew();
        self.timer.as_mut().reset(Instant::now() + TICK);
    }

    /// Looks again in a moment, at a connection that was found not to be idle after all.
    pub(super) fn look_again(&mut self) {
        self.timer.as_mut().reset(Instant::now() + TICK);
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Expired> {
        // Closing shortens the limit of an idle connection: the timer may be set to much later.
        let closing = self.conn.closing_idle();
        if closing.is_some() && closing != self.armed {
            self.armed = closing;
            match self.conn.check(Moment::now(), self.limits) {
                Err(expired) => return Poll::Ready(expired),
                Ok(rest) => self.timer.as_mut().reset(Instant::now() + rest.max(TICK)),
            }
        }
        // So does writing that stands still; it may do so for the first time.
        let stuck = self.conn.stuck_since();
        if stuck.is_some() && stuck != self.stuck {
            let due = Instant::now() + self.limits.body_gap;
            if due < self.timer.deadline() {
                self.timer.as_mut().reset(due);
            }
        }
        self.stuck = stuck;
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
