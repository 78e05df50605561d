//! The request path without sockets and threads, for `benches/request_path.rs`.
//!
//! [`plugin`] is the data plane's own service, word for word. [`fixed`] does the same steps (rules
//! on `Host`, table, lease, lists) and then answers by itself, so the difference of the two is
//! what calling through the ABI costs.

use std::{convert::Infallible, rc::Rc, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use hyper::{
    body::Incoming,
    rt::{Read, Write},
    server::conn::http1,
    service::Service,
};

use super::{
    body::Outbound,
    clock::Moment,
    conn::Conn,
    core::{Core, Hold},
    dispatch::{Dispatch, host_name},
    own,
    plane::alone,
};
use crate::{
    config::Config,
    route::{Route, Routes, Tally},
};

/// Serves one connection over `io` as the data plane does.
pub async fn plugin(config: &Config, routes: &Arc<Routes>, io: impl Read + Write + Unpin) {
    let core = alone(config, routes, &Tally::default());
    let service = Dispatch::new(core, Conn::new("bench".into()), false);
    // The io ends the connection when it has seen enough.
    let _ = builder(config).serve_connection(io, service).await;
}

/// Serves one connection over `io` the same way, but answers `body` without a plugin.
pub async fn fixed(
    config: &Config,
    routes: &Arc<Routes>,
    io: impl Read + Write + Unpin,
    body: &'static str,
) {
    let core = alone(config, routes, &Tally::default());
    let service = Fixed { core, conn: Conn::new("bench".into()), body };
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
        let host = match host_name(&request) {
            Ok(host) => host,
            Err(own) => return own.response(),
        };
        let (parts, _) = request.into_parts();
        let table = self.core.view.current();
        let name = host.as_ref().and_then(|host| host.value.to_str().ok()?.get(..host.len));
        let Route::To(lease, _) = table.route(name, parts.uri.path()) else {
            return own::NO_MOUNT.response();
        };
        let _hold = Hold::new(lease.clone(), self.core.clone(), self.conn.clone(), now);
        let body = Outbound::Own(Some(Bytes::from_static(self.body.as_bytes())));
        let mut response = Response::new(body);
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}
