//! HTTP/2 with prior knowledge: drives hyper, whose streams run on the connection's own core.

use std::{future::poll_fn, pin::pin, task::Poll};

use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};

use crate::serve::{
    conn::{Expired, Limit},
    core::Core,
    dispatch::Dispatch,
    io::Io,
};

/// Runs hyper's streams on the connection's own core.
#[derive(Clone, Copy, Debug)]
struct OnThisCore;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for OnThisCore {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

pub(super) async fn serve(core: &Core, io: TokioIo<Io>, service: Dispatch, limit: &mut Limit<'_>) {
    let conn = service.conn().clone();
    let head_bytes = u32::try_from(core.limits.head_bytes).unwrap_or(u32::MAX);
    let http = http2::Builder::new(OnThisCore)
        .timer(TokioTimer::new())
        .max_concurrent_streams(core.limits.h2_streams_count)
        .max_header_list_size(head_bytes)
        // A dead peer with streams in flight is found by a ping.
        .keep_alive_interval(core.limits.body_gap)
        .serve_connection(io, service);
    let mut http = pin!(http);
    let mut told = false;
    poll_fn(|cx| {
        conn.remember(cx);
        loop {
            if http.as_mut().poll(cx).is_ready() || conn.is_aborted() {
                return Poll::Ready(());
            }
            if told {
                break;
            }
            let idle = match limit.poll(cx) {
                Poll::Pending => false,
                Poll::Ready(Expired::Idle) => true,
                Poll::Ready(_) => return Poll::Ready(()),
            };
            if !idle && !conn.is_stopping() {
                return Poll::Pending;
            }
            // GOAWAY first: a request may be on its way.
            told = true;
            limit.start_over();
            http.as_mut().graceful_shutdown();
        }
        limit.poll(cx).map(|_| ())
    })
    .await;
}
