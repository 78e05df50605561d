//! The request path without sockets and threads, for `benches/request_path`.
//!
//! [`plugin`] is the data plane's own service, word for word. [`fixed`] does the same steps (rules
//! on `Host`, table, lease, lists) and then answers by itself, so the difference of the two is
//! what calling through the ABI costs.

use std::{
    cell::RefCell,
    convert::Infallible,
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use hyper::{
    body::Incoming,
    rt::{Read, Write},
    server::conn::http1,
    service::Service,
};
use tokio::io::ReadBuf;

use super::{
    aside::Aside, clock::Moment, conn::Conn, core::Core, dispatch::Dispatch, hold::Hold,
    outbound::Outbound, own, plain::Wire, plane::alone, rules::host_name, thin,
};
use crate::{
    config::Config,
    plugin::{exchange::Client, release},
    route::{Route, Routes, Tally},
};

/// Serves one connection over `io` as the data plane does.
pub async fn plugin(config: &Config, routes: &Arc<Routes>, io: impl Read + Write + Unpin) {
    let core = alone(config, routes, &Tally::default());
    let conn = Conn::new(Client::new("bench".into()), core.owns.clone());
    let aside = Aside::new(&conn, &core.limits);
    let service = Dispatch::h1(core, conn, aside);
    let mut http = builder(config).serve_connection(io, service);
    // The io ends the connection when it has seen enough.
    let _ = poll_fn(|cx| release::turn(|| Pin::new(&mut http).poll(cx))).await;
}

/// Serves one connection over `io` as the data plane does where requests need no hyper.
pub async fn thin(config: &Config, routes: &Arc<Routes>, io: impl Read + Write + Unpin) {
    let core = alone(config, routes, &Tally::default());
    let conn = Conn::new(Client::new("bench".into()), core.owns.clone());
    thin::play(&core, &conn, &Played(RefCell::new(io))).await;
}

/// An io of hyper's.
struct Played<I>(RefCell<I>);

impl<I: Read + Write + Unpin> Wire for Played<I> {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let mut theirs = hyper::rt::ReadBuf::new(buf.initialize_unfilled());
        let io = &mut *self.0.borrow_mut();
        ready!(Pin::new(io).poll_read(cx, theirs.unfilled()))?;
        let count = theirs.filled().len();
        buf.advance(count);
        Poll::Ready(Ok(count))
    }

    fn poll_write(&self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write_vectored(cx, bufs)
    }
}

/// Serves one connection over `io` the same way, but answers `body` without a plugin.
pub async fn fixed(
    config: &Config,
    routes: &Arc<Routes>,
    io: impl Read + Write + Unpin,
    body: &'static str,
) {
    let core = alone(config, routes, &Tally::default());
    let conn = Conn::new(Client::new("bench".into()), core.owns.clone());
    let service = Fixed { core, conn, body };
    let _ = builder(config).serve_connection(io, service).await;
}

fn builder(config: &Config) -> http1::Builder {
    super::connection::h1_builder(config.half_close, &config.limits)
}

struct Fixed {
    core: Rc<Core>,
    conn: Rc<Conn>,
    body: &'static str,
}

impl Service<Request<Incoming>> for Fixed {
    type Response = Response<Outbound>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Outbound>, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        std::future::ready(Ok(self.answer(request)))
    }
}

impl Fixed {
    fn answer(&self, request: Request<Incoming>) -> Response<Outbound> {
        let now = Moment::now();
        self.conn.head_done(now);
        let (mut parts, _) = request.into_parts();
        let host = match host_name(&mut parts) {
            Ok(host) => host,
            Err(own) => return own.answer().map(Outbound::from),
        };
        let table = self.core.view.current();
        let name = host.as_ref().and_then(|host| host.as_str());
        let Route::To(lease, _) = table.route(name, parts.uri.path()) else {
            return own::NO_MOUNT.answer().map(Outbound::from);
        };
        let _hold = Hold::new(
            lease.clone(),
            self.core.in_flight.clone(),
            self.conn.clone(),
            (None, None),
            (now, self.core.limits.plugin_time),
        );
        let body = Outbound::Own(Some(Bytes::from_static(self.body.as_bytes())));
        let mut response = Response::new(body);
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}
