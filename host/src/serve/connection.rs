//! One connection from accept to close: which HTTP it speaks, and its end.
//!
//! Owns the task of a connection. Knows nothing of routes.
//! Invariant: a peer that has only ended its side still gets its answer; one that is gone ends the
//! call.

mod h1;
mod h2;

use std::{future::poll_fn, io, pin::pin, rc::Rc, task::Poll, time::Duration};

use bytes::{Bytes, BytesMut};
use hyper_util::rt::TokioIo;

use super::{
    conn::{Conn, Expired, Limit},
    core::Core,
    dispatch::Dispatch,
    io::{Io, Stream},
};

pub(super) use h1::builder as h1_builder;

/// The first bytes of HTTP/2 with prior knowledge. Source: RFC 9113, 3.4.
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Units: bytes read before it is clear which HTTP it is; a usual head fits.
const SNIFF_BYTES: usize = 4096;

/// How long a closed connection is still read, so that a reset does not overtake the answer.
const LINGER: Duration = Duration::from_secs(2);

/// Units: bytes thrown away while lingering.
const LINGER_BYTES_MAX: usize = 1 << 20;

/// Serves a connection to its end.
pub(super) async fn serve(core: Rc<Core>, stream: Stream, conn: Rc<Conn>) {
    let stream = Rc::new(stream);
    let timer = pin!(tokio::time::sleep(core.limits.header_time.min(core.limits.idle_time)));
    let mut limit = Limit::new(&conn, &core.limits, timer);
    let Some((h2, prefix)) = sniff(&stream, &conn, &mut limit).await else { return };
    let io = Io::new(stream.clone(), conn.clone(), prefix);
    let service = Dispatch::new(core.clone(), conn.clone(), h2);
    if h2 {
        conn.is_h2();
        h2::serve(&core, TokioIo::new(io), service, &mut limit).await;
    } else {
        h1::serve(&core, &stream, TokioIo::new(io), service, &mut limit).await;
    }
}

/// Reads until it is clear which HTTP it is. `None`: the peer or a limit has ended it.
async fn sniff(stream: &Stream, conn: &Conn, limit: &mut Limit<'_>) -> Option<(bool, Bytes)> {
    let mut read = BytesMut::zeroed(SNIFF_BYTES);
    let mut len = 0;
    loop {
        match stream.try_read(&mut read[len..]) {
            Ok(0) if len == 0 => return None,
            Ok(count) => {
                conn.has_read(count);
                len += count;
                let ended = count == 0;
                let compared = len.min(H2_PREFACE.len());
                let may_be_h2 = read[..compared] == H2_PREFACE[..compared];
                if ended || !may_be_h2 || compared == H2_PREFACE.len() {
                    read.truncate(len);
                    return Some((may_be_h2 && !ended, read.freeze()));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // A request that has arrived before the stop is served; an empty connection ends.
                if conn.is_stopping() && len == 0 || !wait(stream, conn, limit).await {
                    return None;
                }
            }
            Err(_) => return None,
        }
    }
}

/// Waits for more bytes. False: the connection is to end.
async fn wait(stream: &Stream, conn: &Conn, limit: &mut Limit<'_>) -> bool {
    let mut readable = pin!(stream.readable());
    let stopping = conn.is_stopping();
    poll_fn(|cx| {
        conn.remember(cx);
        if conn.is_aborted() {
            return Poll::Ready(false);
        }
        if conn.is_stopping() != stopping {
            // Told to stop meanwhile: look once more at what may have arrived.
            return Poll::Ready(true);
        }
        if let Poll::Ready(expired) = limit.poll(cx) {
            if expired == Expired::Head {
                say_timeout(stream);
            }
            return Poll::Ready(false);
        }
        readable.as_mut().poll(cx).map(|ready| ready.is_ok())
    })
    .await
}

/// A head did not come in time: says so, if the socket takes it at once.
fn say_timeout(stream: &Stream) {
    let _ = stream.try_write(
        b"HTTP/1.1 408 Request Timeout\r\nhotseat-error: header_timeout\r\n\
          connection: close\r\ncontent-length: 0\r\n\r\n",
    );
}

/// Ends our side and reads on for a moment: closing with unread bytes would reset the
/// connection, and a reset can overtake the answer. Source: nginx's `lingering_close`.
async fn linger(stream: &Stream) {
    if stream.end().is_err() {
        return;
    }
    let mut waste = [0; 4096];
    let drain = async {
        let mut left = LINGER_BYTES_MAX;
        while left > 0 && stream.readable().await.is_ok() {
            match stream.try_read(&mut waste) {
                Ok(0) => return,
                Ok(count) => left = left.saturating_sub(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, drain).await;
}
