//! A connection without system calls, and what serving it costs.
//!
//! Owns the requests that come in and the clock. Knows nothing of who serves.

use std::{
    io,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

use crate::REQUESTS;

/// Gives the same request over and over, then the end; counts what is written.
pub(crate) struct Tape {
    request: &'static [u8],
    left: usize,
    written: usize,
}

impl Tape {
    /// A server that refuses is fast, and no peer.
    fn note(&mut self, begin: &[u8], count: usize) {
        assert!(self.written > 0 || begin.starts_with(b"HTTP/1.1 200 "), "the request is refused");
        self.written += count;
    }
}

impl hyper::rt::Read for Tape {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buf: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left > 0 {
            self.left -= 1;
            buf.put_slice(self.request);
        }
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Tape {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.note(buf, buf.len());
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = bufs.iter().map(|buf| buf.len()).sum();
        self.note(bufs.first().map_or(&[], |buf| &**buf), count);
        Poll::Ready(Ok(count))
    }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Runs a connection to its end; it never waits for anything but its own wake-ups.
pub(crate) fn spin(connection: impl Future<Output = ()>) {
    let mut connection = pin!(connection);
    let mut cx = Context::from_waker(Waker::noop());
    while connection.as_mut().poll(&mut cx).is_pending() {}
}

/// Units: nanoseconds of this thread's CPU time a request.
pub(crate) fn measure(request: &'static str, serve: impl FnOnce(Tape)) -> f64 {
    let tape = Tape { request: request.as_bytes(), left: REQUESTS, written: 0 };
    let before = cpu_time();
    serve(tape);
    let spent = cpu_time().saturating_sub(before);
    spent.as_secs_f64() * 1e9 / f64::from(u32::try_from(REQUESTS).unwrap_or(u32::MAX))
}
