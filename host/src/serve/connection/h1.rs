//! HTTP/1: drives hyper until the connection ends or becomes something else.

use std::{future::poll_fn, pin::Pin, rc::Rc, task::Poll};

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;

use super::{linger, say_timeout};
use crate::{
    config::Limits,
    serve::{
        body::converse,
        conn::{Expired, Limit},
        core::Core,
        dispatch::Dispatch,
        io::{Io, Stream},
    },
};

/// How HTTP/1 is served. hyper's own header timer is not used: it also runs on idle connections.
/// Nor is its pipeline flush: it takes a response into memory as fast as the plugin makes it.
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

pub(super) async fn serve(
    core: &Rc<Core>,
    stream: &Rc<Stream>,
    io: TokioIo<Io>,
    service: Dispatch,
    limit: &mut Limit<'_>,
) {
    let conn = service.conn().clone();
    let mut http = builder(core.half_close, &core.limits).serve_connection(io, service);
    let mut told = false;
    let mut gone: Option<Pin<Box<dyn Future<Output = ()>>>> = None;
    let answered = poll_fn(|cx| {
        conn.remember(cx);
        loop {
            if let Poll::Ready(ended) = http.poll_without_shutdown(cx) {
                // A request that hyper has refused was answered; that answer must arrive too.
                return Poll::Ready(ended.is_ok() || ended.is_err_and(|error| error.is_parse()));
            }
            if told || !conn.is_stopping() {
                break;
            }
            // After the first poll, not before: hyper would drop what has been read already.
            told = true;
            Pin::new(&mut http).graceful_shutdown();
        }
        if conn.is_aborted() {
            return Poll::Ready(false);
        }
        if conn.is_busy() {
            // hyper does not read while a handler works, so it would not see a reset.
            let gone = gone.get_or_insert_with(|| {
                let stream = stream.clone();
                Box::pin(async move { stream.gone().await })
            });
            if gone.as_mut().poll(cx).is_ready() {
                return Poll::Ready(false);
            }
        }
        limit.poll(cx).map(|expired| {
            if expired == Expired::Head {
                say_timeout(stream);
            }
            tracing::debug!(peer = %conn.peer, ?expired, "connection timed out");
            false
        })
    })
    .await;
    if !answered {
        return;
    }
    let parts = http.into_parts();
    if let Some(upgrade) = conn.take_upgrade() {
        let io = parts.io.into_inner().rewind(parts.read_buf);
        converse(core, upgrade, io, limit).await;
    }
    linger(stream).await;
}
