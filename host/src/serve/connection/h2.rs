//! HTTP/2 with prior knowledge: drives hyper, whose streams run on the connection's own core.
//!
//! # The end
//! A client is told twice: a GOAWAY that allows every stream, and later one that names the last
//! which is answered. hyper sends the second as soon as a ping is answered; but clients answer pings
//! before they send the streams that wait in their own queue, and those would be lost. So the first
//! word is said here, [`FAREWELL_TIME`] before hyper is told.

use std::{
    future::poll_fn,
    io::IoSlice,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{Instant, Sleep};

use crate::serve::{
    conn::{Conn, Course, Expired, Limit},
    core::Core,
    dispatch::Dispatch,
    io::{Io, Stream},
    pulse::{Doing, PulseWriter},
    task,
};

/// Between the first word and the last. Source: RFC 9113, 6.8, which asks for a round trip at
/// least; Envoy and gRPC wait about as long.
const FAREWELL_TIME: Duration = Duration::from_secs(1);

/// A GOAWAY whose last stream is the greatest there can be, without an error. Source: RFC 9113, 6.8.
const FAREWELL: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// Runs hyper's streams on the connection's own core.
#[derive(Clone, Debug)]
struct OnThisCore(Rc<PulseWriter>);

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for OnThisCore {
    fn execute(&self, future: F) {
        task::spawn(&self.0, Doing::Connection, future);
    }
}

/// The first word to a client, and the time until the last.
struct Farewell<'a> {
    stream: &'a Stream,
    written: usize,
    until: Option<Instant>,
    timer: Pin<&'a mut Sleep>,
}

impl Farewell<'_> {
    /// Whether a part of it is written: nobody else may write then.
    fn is_partial(&self) -> bool {
        (1..FAREWELL.len()).contains(&self.written)
    }

    /// Writes what is left of it; call it between two frames only.
    fn write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
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
    fn poll(&mut self, cx: &mut Context<'_>, conn: &Conn) -> Poll<()> {
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

pub(super) async fn serve(
    core: &Core,
    stream: &Stream,
    io: TokioIo<Io>,
    service: Dispatch,
    limit: &mut Limit<'_>,
) {
    let conn = service.conn().clone();
    let head_bytes = u32::try_from(core.limits.head_bytes).unwrap_or(u32::MAX);
    let http = http2::Builder::new(OnThisCore(core.pulse.clone()))
        .timer(TokioTimer::new())
        .max_concurrent_streams(core.limits.h2_streams_count)
        .max_header_list_size(head_bytes)
        // A dead peer with streams in flight is found by a ping.
        .keep_alive_interval(core.limits.body_gap)
        .serve_connection(io, service);
    let mut http = pin!(http);
    let timer = pin!(tokio::time::sleep(FAREWELL_TIME));
    let mut farewell = Farewell { stream, written: 0, until: None, timer };
    let (mut leaves, mut told) = (false, false);
    poll_fn(|cx| {
        conn.remember(cx);
        loop {
            if conn.is_aborted() {
                return Poll::Ready(());
            }
            if farewell.is_partial() {
                ready!(farewell.write(cx));
            }
            if http.as_mut().poll(cx).is_ready() || conn.is_aborted() {
                return Poll::Ready(());
            }
            if told {
                break;
            }
            match limit.poll(cx) {
                Poll::Pending => {}
                Poll::Ready(Expired::Idle) => leaves = true,
                Poll::Ready(_) => return Poll::Ready(()),
            }
            leaves |= conn.course() != Course::Stay;
            if !leaves {
                return Poll::Pending;
            }
            // A request may be on its way.
            ready!(farewell.poll(cx, &conn));
            told = true;
            limit.start_over();
            http.as_mut().graceful_shutdown();
        }
        limit.poll(cx).map(|_| ())
    })
    .await;
}
