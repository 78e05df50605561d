//! HTTP/1: drives hyper until the connection ends, becomes something else or goes elsewhere.
//!
//! # When a connection may be handed over
//! Whoever goes on with it must begin at the first byte of a request, and nothing may be left to
//! write. hyper says so in one way only: told to end, a connection that is idle ends at once, with
//! what it has read untouched. But it also ends one whose last request has a body that nobody wants
//! to read any more, and the rest of that body would be taken for a request. So it is told only
//! after a poll that began and ended with the same request done: by then it has heard that nobody
//! reads the body, and has either read all of it or ended by itself. Before the first request hyper
//! does not call itself idle; all that was read then is the beginning of a head, and hyper keeps it
//! whole until it has all of it.

use std::{
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::Sleep;

use super::{
    expired, leaves,
    linger::{self, Lingering, linger},
    say_timeout,
};
use crate::{
    config::Limits,
    serve::{
        aside::Aside,
        conn::{Conn, Expired},
        converse::converse,
        core::Core,
        dispatch::Dispatch,
        io::{Io, Stream},
        limit::Limit,
        own::{self, Own},
    },
};

/// How HTTP/1 is served. hyper's own header timer is not used: it also runs on idle connections.
/// Nor is its pipeline flush: it takes a response into memory as fast as the plugin makes it, so
/// that back-pressure never reaches the plugin (measured: a body of 128 MiB went whole into the
/// host).
pub(in crate::serve) fn builder(half_close: bool, limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .half_close(half_close)
        .max_headers(limits.headers_count)
        .max_header_size(limits.head_bytes)
        // hyper wants room for at least this much, whatever the head's limit.
        .max_buf_size(limits.head_bytes.max(16 << 10) + 8192);
    builder
}

/// How a connection left hyper's hands.
enum Left {
    /// With its last answer written.
    Answered,
    /// Without a request in time.
    Idle,
    /// Between two requests, to be served elsewhere.
    Moving,
    /// By an error or a limit.
    Broken,
}

/// hyper, driven on one connection.
type Http = http1::Connection<TokioIo<Io>, Dispatch>;

/// Serves requests until the connection ends. `Some`: it does not, but goes to another process, and
/// this was read already.
pub(super) async fn serve(
    core: &Rc<Core>,
    stream: &Rc<Stream>,
    io: Io,
    (dispatch, aside): (Dispatch, &Aside),
    limit: &mut Limit<'_>,
) -> Option<Bytes> {
    let conn = dispatch.conn().clone();
    let io = TokioIo::new(io);
    let mut http = builder(core.half_close, &core.limits).serve_connection(io, dispatch);
    let mut driven = Driven { core, stream, conn: &conn, aside, waits: Waits::default() };
    match poll_fn(|cx| driven.poll(&mut http, limit, cx)).await {
        Left::Broken => {
            if let Some(own) = conn.broken_off() {
                break_off(stream, &conn, own, core.limits.unread_time).await;
            }
            return None;
        }
        Left::Moving => {
            let parts = http.into_parts();
            return Some(joined(parts.read_buf, parts.io.into_inner().into_prefix()));
        }
        Left::Idle => {}
        Left::Answered => {
            let parts = http.into_parts();
            if let Some(upgrade) = aside.take_upgrade() {
                let io = parts.io.into_inner().rewind(parts.read_buf);
                Box::pin(converse(upgrade, io, stream, limit)).await;
            }
        }
    }
    let lingering = match aside.rest.is_given_up() {
        true => Lingering::over_a_body(core.limits.unread_time),
        false => linger::QUICK,
    };
    Box::pin(linger(stream, lingering)).await;
    None
}

/// A connection that is driven.
struct Driven<'a> {
    core: &'a Core,
    stream: &'a Rc<Stream>,
    conn: &'a Conn,
    aside: &'a Aside,
    waits: Waits,
}

/// What is waited for beside hyper; made when it is needed first.
#[derive(Default)]
struct Waits {
    moves: Moves,
    /// The client is gone.
    gone: Option<Pin<Box<dyn Future<Output = ()>>>>,
    /// The client has closed its side, which somebody wants to know.
    closed: Option<Pin<Box<dyn Future<Output = ()>>>>,
    /// The client does not take a 101.
    upgrading: Option<Pin<Box<Sleep>>>,
}

impl Driven<'_> {
    /// Ready when the connection leaves hyper's hands.
    fn poll(&mut self, http: &mut Http, limit: &mut Limit<'_>, cx: &mut Context<'_>) -> Poll<Left> {
        let Self { core, stream, conn, aside, waits } = self;
        conn.remember(cx);
        let done = loop {
            let done = conn.done();
            let polled = http.poll_without_shutdown(cx);
            if let Poll::Ready(ended) = polled {
                return Poll::Ready(answered(&ended));
            }
            if aside.rest.poll(cx).is_pending() {
                break done;
            }
            // hyper, and whoever waits to answer 101, hear of it in another round.
        };
        if conn.is_aborted() || leaves(stream, conn) {
            return Poll::Ready(Left::Broken);
        }
        if conn.is_moving()
            && let Poll::Ready(left) = waits.moves.poll(http, (conn, done), cx)
        {
            return Poll::Ready(left);
        }
        if waits.poll(core, stream, (conn, aside), cx).is_ready() {
            return Poll::Ready(Left::Broken);
        }
        expired(stream, limit, cx).map(|expired| {
            tracing::debug!(
                peer = conn.peer.as_str(),
                limit = expired.as_str(),
                "connection timed out"
            );
            match expired {
                Expired::Head => say_timeout(stream, conn),
                Expired::Idle if conn.is_closing() => return Left::Idle,
                // What lies in the system's buffers would lie there for long.
                Expired::Write => {
                    conn.count(own::GONE);
                    conn.break_off(own::GONE);
                }
                Expired::Idle => {}
            }
            Left::Broken
        })
    }
}

impl Waits {
    /// Ready when the client is gone, or as good as gone.
    fn poll(
        &mut self,
        core: &Core,
        stream: &Rc<Stream>,
        (conn, aside): (&Conn, &Aside),
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if aside.is_upgrading() {
            let time = core.limits.body_gap;
            let timer = self.upgrading.get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
            if timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
        }
        if !conn.is_busy() {
            return Poll::Pending;
        }
        if let Some(watchers) = conn.watchers() {
            let closed = self.closed.get_or_insert_with(|| {
                let stream = stream.clone();
                Box::pin(async move { stream.closed().await })
            });
            if closed.as_mut().poll(cx).is_ready() {
                self.closed = None;
                watchers.tell();
            }
        }
        // hyper does not read while a handler works, so it would not see a reset.
        let gone = self.gone.get_or_insert_with(|| {
            let stream = stream.clone();
            Box::pin(async move { stream.gone().await })
        });
        gone.as_mut().poll(cx)
    }
}

/// A connection on its way to another process.
#[derive(Debug, Default)]
struct Moves {
    /// hyper was told to end.
    told: bool,
}

impl Moves {
    /// Ready when the connection may go, or has ended. `done` is what [`Conn::done`] said before
    /// hyper was polled.
    fn poll(
        &mut self,
        http: &mut Http,
        (conn, done): (&Conn, Option<u32>),
        cx: &mut Context<'_>,
    ) -> Poll<Left> {
        if self.told {
            return Poll::Pending;
        }
        if conn.is_untouched() {
            return Poll::Ready(Left::Moving);
        }
        if conn.is_between() && done.is_some() && done == conn.done() {
            self.told = true;
            let writes = conn.writes();
            Pin::new(&mut *http).graceful_shutdown();
            let polled = http.poll_without_shutdown(cx);
            return polled.map(|ended| {
                let idle = ended.is_ok() && done == conn.done() && conn.writes() == writes;
                if idle { Left::Moving } else { answered(&ended) }
            });
        }
        if conn.is_between() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// An answer has failed. Where none of it has gone out there is still time to say so.
async fn break_off(stream: &Stream, conn: &Conn, own: Own, time: Duration) {
    let heard = own != own::GONE && conn.is_unanswered();
    if heard && stream.try_write(&own.to_bytes()).is_ok() {
        conn.count(own);
        return linger(stream, Lingering::over_a_body(time)).await;
    }
    // The client must not take what it has for the whole.
    stream.reset_on_close();
}

/// A request that hyper has refused was answered; that answer must arrive too.
fn answered(ended: &hyper::Result<()>) -> Left {
    match ended {
        Err(error) if !error.is_parse() => Left::Broken,
        _ => Left::Answered,
    }
}

/// Bytes in the order in which they came. Mostly one of them is empty.
fn joined(first: Bytes, second: Bytes) -> Bytes {
    match (first.is_empty(), second.is_empty()) {
        (true, _) => second,
        (_, true) => first,
        _ => [first, second].concat().into(),
    }
}
