//! HTTP/2 with prior knowledge: drives h2, whose streams are tasks of the connection's own core.
//!
//! h2 itself is driven, not hyper around it: a stream has to be ended apart from its connection, and
//! given no more of an answer than its client takes.

mod alive;
mod farewell;
mod stream;
mod unread;

use std::{
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use h2::{
    Reason,
    server::{Builder, Connection},
};

use self::{
    alive::Alive,
    farewell::{FAREWELL_TIME, Farewell},
    stream::Given,
};
use crate::{
    config::Limits,
    serve::{
        conn::{Conn, Course, Expired},
        core::Core,
        dispatch::Dispatch,
        ended,
        io::{Io, Stream},
        limit::Limit,
        pulse::Doing,
        task,
    },
};

/// Units: bytes that a client may send on one stream before its handler has read any. Enough for
/// 5 MB a second at 50 ms.
const STREAM_WINDOW: u32 = 256 << 10;

/// Units: bytes, the most that HTTP/2 allows: the windows of the streams bound what a connection may
/// send, so that one that is not read stops no other. Source: RFC 9113, 6.9.1; nginx does the same.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// Units: bytes of a head beyond `head_bytes` that h2 still reads: those we refuse by name.
const HEAD_ROOM: usize = 64 << 10;

type Http = Connection<Io, Given>;

fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(limits.h2_streams_count)
        .max_header_list_size(u32::try_from(limits.head_bytes + HEAD_ROOM).unwrap_or(u32::MAX));
    builder
}

/// Serves streams until the connection ends.
pub(super) async fn serve(
    core: &Rc<Core>,
    stream: &Stream,
    io: Io,
    dispatch: Dispatch,
    limit: &mut Limit<'_>,
) {
    let conn = dispatch.conn().clone();
    let mut handshake = pin!(builder(&core.limits).handshake::<Io, Given>(io));
    let shaken = poll_fn(|cx| {
        conn.remember(cx);
        if conn.is_aborted() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(shaken) = core.locked(|| handshake.as_mut().poll(cx)) {
            return Poll::Ready(shaken.ok());
        }
        limit.poll(cx).map(|_| None)
    });
    let Some(mut http) = shaken.await else { return };
    let timer = pin!(tokio::time::sleep(Duration::ZERO));
    let mut alive = Alive::new(http.ping_pong(), core.limits.body_gap, timer);
    let timer = pin!(tokio::time::sleep(FAREWELL_TIME));
    let mut farewell = Farewell::new(stream, timer);
    let dispatch = Rc::new(dispatch);
    let (mut leaves, mut told) = (false, false);
    poll_fn(|cx| {
        conn.remember(cx);
        loop {
            if conn.is_aborted() || core.locked(|| alive.poll(cx)).is_ready() {
                return Poll::Ready(());
            }
            if farewell.is_partial() {
                ready!(farewell.write(cx));
            }
            let ended = core.locked(|| accept(&mut http, core, &dispatch, cx)).is_ready();
            if ended || conn.is_aborted() {
                return Poll::Ready(());
            }
            if ended::leaves(stream, &conn) {
                return core.locked(|| say_last(&mut http, cx));
            }
            if told {
                break;
            }
            match limit.poll(cx) {
                Poll::Pending => {}
                Poll::Ready(Expired::Idle) => leaves = true,
                Poll::Ready(_) => return core.locked(|| say_last(&mut http, cx)),
            }
            leaves |= conn.course() != Course::Stay;
            if !leaves {
                return Poll::Pending;
            }
            // A request may be on its way.
            ready!(farewell.poll(cx, &conn));
            told = true;
            limit.start_over();
            core.locked(|| http.graceful_shutdown());
        }
        limit.poll(cx).map(|_| ())
    })
    .await;
    // With what h2 has not written.
    core.locked(|| drop(http));
}

/// Ends the connection here and now, and says so if the socket takes it.
fn say_last(http: &mut Http, cx: &mut Context<'_>) -> Poll<()> {
    http.abrupt_shutdown(Reason::NO_ERROR);
    let _ = http.poll_closed(cx);
    Poll::Ready(())
}

/// Drives the connection and begins a task for each stream that comes. Ready when it has ended.
fn accept(
    http: &mut Http,
    core: &Rc<Core>,
    dispatch: &Rc<Dispatch>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    while let Some(accepted) = ready!(http.poll_accept(cx)) {
        match accepted {
            Ok((request, respond)) => {
                let limits = core.limits.clone();
                let answer = stream::serve(dispatch.clone(), limits, request, respond);
                task::spawn(&core.pulse, Doing::Stream, answer);
            }
            Err(error) => {
                let conn: &Conn = dispatch.conn();
                tracing::debug!(peer = conn.peer.as_str(), %error, "an HTTP/2 connection broke off");
                return Poll::Ready(());
            }
        }
    }
    Poll::Ready(())
}
