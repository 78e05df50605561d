//! One connection from accept to close: which HTTP it speaks, and its end.
//!
//! Owns the task of a connection. Knows nothing of routes.
//! Invariant: a peer that has only ended its side still gets its answer; one that is gone ends the
//! call. Gone is who has reset the connection or the stream: a FIN comes from a socket that was
//! closed as from one that was half-closed, and nothing on the wire tells them apart
//! (`half_close`).

mod h1;
mod h2;

use std::{future::poll_fn, io, pin::pin, rc::Rc, task::Poll};

use bytes::{Bytes, BytesMut};

use super::{
    aside::Aside,
    conn::{Conn, Expired},
    core::Core,
    dispatch::Dispatch,
    ended::{QUICK, expired, leaves, linger, say_timeout},
    io::{Io, Stream},
    limit::Limit,
    passing,
    pulse::Doing,
    socket::Accepted,
    task, thin,
};
use crate::plugin::exchange::Client;

pub(super) use self::h1::builder as h1_builder;

/// The first bytes of HTTP/2 with prior knowledge. Source: RFC 9113, 3.4.
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Units: bytes read before it is clear which HTTP it is; a usual head fits.
const SNIFF_BYTES: usize = 4096;

/// Serves one connection, on this thread.
pub(super) fn open(core: &Rc<Core>, accepted: Accepted) {
    let Accepted { socket, peer, prefix } = accepted;
    let stream = match socket.into_stream() {
        Ok(stream) => stream,
        Err(error) => {
            tracing::warn!(%error, "a connection could not be registered");
            core.balance.left(core.index);
            return;
        }
    };
    let theirs = core.clone();
    task::spawn(&core.pulse, Doing::Connection, async move {
        let listed = theirs.list(Client::new(peer.into()));
        serve(theirs, stream, listed.conn.clone(), prefix).await;
    });
}

/// Serves a connection to its end, or until another process has it. `prefix` was read from it
/// before.
async fn serve(core: Rc<Core>, stream: Stream, conn: Rc<Conn>, prefix: Bytes) {
    let stream = Rc::new(stream);
    let timer = pin!(tokio::time::sleep(core.limits.header_time.min(core.limits.idle_time)));
    let mut limit = Limit::new(&conn, &core.limits, timer);
    conn.has_read(prefix.len());
    let mut prefix = prefix;
    let _told = Told(&conn);
    loop {
        let left = match sniff(&stream, &conn, &mut limit, prefix).await {
            Sniffed::Http { h2, read } => {
                if h2 {
                    conn.is_h2();
                    let io = Io::new(stream.clone(), conn.clone(), read);
                    let dispatch = Dispatch::h2(core.clone(), conn.clone());
                    // Large, and not every connection's: it does not lie in the task itself.
                    return Box::pin(h2::serve(&core, &stream, io, dispatch, &mut limit)).await;
                }
                plain(&core, &stream, &conn, read, &mut limit).await
            }
            Sniffed::Moving(read) => Some(read),
            Sniffed::Ended => None,
        };
        let Some(left) = left else { return };
        if let Some(successor) = core.successor()
            && Box::pin(passing::pass_on(&successor, &conn, stream.as_fd(), &left)).await
        {
            // The socket lives on over there: no shutdown, only our descriptor is closed.
            return;
        }
        conn.set_course(core.closing());
        prefix = left;
    }
}

/// Serves HTTP/1. `Some`: the connection has not ended, but goes to another process, and this was read
/// already.
async fn plain(
    core: &Rc<Core>,
    stream: &Rc<Stream>,
    conn: &Rc<Conn>,
    mut read: Bytes,
    limit: &mut Limit<'_>,
) -> Option<Bytes> {
    loop {
        if core.thin {
            match thin::serve(core, stream, conn, read, limit).await {
                thin::Left::Odd(rest) => read = rest,
                thin::Left::Moving(rest) => return Some(rest),
                thin::Left::Ended => return None,
            }
        }
        let io = Io::new(stream.clone(), conn.clone(), read);
        let aside = Aside::new(conn, &core.limits);
        let dispatch = Dispatch::h1(core.clone(), conn.clone(), aside.clone());
        match Box::pin(h1::serve(core, stream, io, (dispatch, &aside), limit)).await {
            h1::Left::Plain(rest) => read = rest,
            h1::Left::Moving(rest) => return Some(rest),
            h1::Left::Ended => return None,
        }
    }
}

/// A connection whose end is told to those who wait for its client's.
struct Told<'a>(&'a Conn);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if let Some(watchers) = self.0.watchers() {
            watchers.tell();
        }
    }
}

/// What the first bytes of a connection say.
enum Sniffed {
    /// Which HTTP it is, and what was read to know.
    Http { h2: bool, read: Bytes },
    /// Another process is to find out; what was read so far.
    Moving(Bytes),
    /// The peer or a limit has ended it.
    Ended,
}

/// Reads until it is clear which HTTP it is.
async fn sniff(stream: &Stream, conn: &Conn, limit: &mut Limit<'_>, prefix: Bytes) -> Sniffed {
    let mut read = BytesMut::zeroed(prefix.len().max(SNIFF_BYTES));
    let mut len = prefix.len();
    read[..len].copy_from_slice(&prefix);
    drop(prefix);
    let until = |mut read: BytesMut, len| {
        read.truncate(len);
        read.freeze()
    };
    loop {
        let compared = len.min(H2_PREFACE.len());
        let may_be_h2 = read[..compared] == H2_PREFACE[..compared];
        if !may_be_h2 || compared == H2_PREFACE.len() {
            return Sniffed::Http { h2: may_be_h2, read: until(read, len) };
        }
        if conn.is_moving() {
            // What has arrived meanwhile goes with the socket.
            return Sniffed::Moving(until(read, len));
        }
        match stream.try_read(&mut read[len..]) {
            Ok(0) if len == 0 => return Sniffed::Ended,
            Ok(0) => return Sniffed::Http { h2: false, read: until(read, len) },
            Ok(count) => {
                conn.has_read(count);
                len += count;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !wait(stream, conn, limit).await {
                    if conn.is_closing() && len == 0 {
                        linger(stream, QUICK).await;
                    }
                    return Sniffed::Ended;
                }
            }
            Err(_) => return Sniffed::Ended,
        }
    }
}

/// Waits for more bytes, or for another course. False: the connection is to end.
async fn wait(stream: &Stream, conn: &Conn, limit: &mut Limit<'_>) -> bool {
    let mut readable = pin!(stream.readable());
    let course = conn.course();
    poll_fn(|cx| {
        conn.remember(cx);
        if conn.is_aborted() || leaves(stream, conn) {
            return Poll::Ready(false);
        }
        if conn.course() != course {
            return Poll::Ready(true);
        }
        if let Poll::Ready(expired) = expired(stream, limit, cx) {
            if expired == Expired::Head {
                say_timeout(stream, conn);
            }
            return Poll::Ready(false);
        }
        readable.as_mut().poll(cx).map(|ready| ready.is_ok())
    })
    .await
}
