//! HTTP/1 by hyper, until the connection ends, becomes something else, is plain again or goes elsewhere.
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
};

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::Sleep;

use crate::{
    config::Limits,
    serve::{
        aside::Aside,
        conn::Conn,
        converse::converse,
        core::Core,
        dispatch::Dispatch,
        ended::{ClientEnd, Ended, leaves, timed_out},
        io::{Io, Stream},
        limit::Limit,
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

/// How a connection left.
#[derive(Debug)]
pub(super) enum Left {
    /// Its requests are plain again; this was read of the next one.
    Plain(Bytes),
    /// Between two requests, to be served elsewhere; this was read already.
    Moving(Bytes),
    /// It has ended.
    Ended,
}

/// How a connection left hyper's hands.
enum Go {
    /// Between two requests.
    On,
    End(Ended),
}

/// hyper, driven on one connection.
type Http = http1::Connection<TokioIo<Io>, Dispatch>;

/// Serves requests until the connection ends, or somebody else is to go on with it.
pub(super) async fn serve(
    core: &Rc<Core>,
    stream: &Rc<Stream>,
    io: Io,
    (dispatch, aside): (Dispatch, &Aside),
    limit: &mut Limit<'_>,
) -> Left {
    let conn = dispatch.conn().clone();
    let io = TokioIo::new(io);
    let mut http = builder(core.half_close, &core.limits).serve_connection(io, dispatch);
    let mut driven = Driven { core, stream, conn: &conn, aside, waits: Waits::new(&conn) };
    let ended = match poll_fn(|cx| driven.poll(&mut http, limit, cx)).await {
        Go::On => {
            let parts = http.into_parts();
            let rest = joined(parts.read_buf, parts.io.into_inner().into_prefix());
            return if conn.is_moving() { Left::Moving(rest) } else { Left::Plain(rest) };
        }
        Go::End(ended) => ended,
    };
    if ended == Ended::Answered {
        let parts = http.into_parts();
        if let Some(upgrade) = aside.take_upgrade() {
            let io = parts.io.into_inner().rewind(parts.read_buf);
            Box::pin(converse(upgrade, io, stream, limit)).await;
        }
    }
    let unread = ended != Ended::Broken && aside.rest.is_given_up();
    let ended = if unread { Ended::Unread } else { ended };
    ended.see_to(stream, &conn, core.limits.unread_time).await;
    Left::Ended
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
struct Waits {
    moves: Moves,
    client: ClientEnd,
    /// The client does not take a 101.
    upgrading: Option<Pin<Box<Sleep>>>,
}

impl Driven<'_> {
    /// Ready when the connection leaves hyper's hands.
    fn poll(&mut self, http: &mut Http, limit: &mut Limit<'_>, cx: &mut Context<'_>) -> Poll<Go> {
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
            return Poll::Ready(Go::End(Ended::Broken));
        }
        if (conn.is_moving() || aside.is_plain_again())
            && let Poll::Ready(left) = waits.moves.poll(http, (conn, done), cx)
        {
            return Poll::Ready(left);
        }
        if waits.poll(core, stream, (conn, aside), cx).is_ready() {
            return Poll::Ready(Go::End(Ended::Broken));
        }
        timed_out(stream, conn, limit, cx).map(Go::End)
    }
}

impl Waits {
    fn new(conn: &Conn) -> Self {
        let moves = Moves { began: conn.touches(), told: false };
        Self { moves, client: ClientEnd::default(), upgrading: None }
    }

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
        self.client.poll(stream, conn, cx)
    }
}

/// A connection on its way out of hyper's hands.
#[derive(Debug)]
struct Moves {
    /// What [`Conn::touches`] said when it came into them.
    began: (u32, u32),
    /// hyper was told to end.
    told: bool,
}

impl Moves {
    /// Ready when somebody else may go on, or it has ended. `done` is what [`Conn::done`] said before
    /// hyper was polled.
    fn poll(
        &mut self,
        http: &mut Http,
        (conn, done): (&Conn, Option<u32>),
        cx: &mut Context<'_>,
    ) -> Poll<Go> {
        if self.told {
            return Poll::Pending;
        }
        if conn.is_untouched(self.began) {
            return Poll::Ready(Go::On);
        }
        if conn.is_between() && done.is_some() && done == conn.done() {
            self.told = true;
            let writes = conn.writes();
            Pin::new(&mut *http).graceful_shutdown();
            let polled = http.poll_without_shutdown(cx);
            return polled.map(|ended| {
                let idle = ended.is_ok() && done == conn.done() && conn.writes() == writes;
                if idle { Go::On } else { answered(&ended) }
            });
        }
        if conn.is_between() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// A request that hyper has refused was answered; that answer must arrive too.
fn answered(ended: &hyper::Result<()>) -> Go {
    match ended {
        Err(error) if !error.is_parse() => Go::End(Ended::Broken),
        _ => Go::End(Ended::Answered),
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
