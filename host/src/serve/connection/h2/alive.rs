//! Whether an HTTP/2 client is still there: a ping now and then.
//!
//! Invariant: a client that answers pings is there, whatever else it does; limits are others'.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep};

/// How long a ping may take. Source: what hyper and gRPC allow.
const ANSWER_TIME: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct Alive<'a> {
    pings: Option<PingPong>,
    interval: Duration,
    timer: Pin<&'a mut Sleep>,
    asked: bool,
}

impl<'a> Alive<'a> {
    pub(super) fn new(
        pings: Option<PingPong>,
        interval: Duration,
        mut timer: Pin<&'a mut Sleep>,
    ) -> Self {
        timer.as_mut().reset(Instant::now() + interval);
        Self { pings, interval, timer, asked: false }
    }

    /// Ready when the client has not answered in time. Call it before the connection is polled,
    /// which writes the ping.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(pings) = &mut self.pings else { return Poll::Pending };
        loop {
            if self.asked && pings.poll_pong(cx).is_ready() {
                self.asked = false;
                self.timer.as_mut().reset(Instant::now() + self.interval);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if self.asked || pings.send_ping(Ping::opaque()).is_err() {
                return Poll::Ready(());
            }
            self.asked = true;
            self.timer.as_mut().reset(Instant::now() + ANSWER_TIME);
        }
    }
}
