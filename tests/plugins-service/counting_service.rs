//! A bare tower service, without a framework: counts its requests, and says what it knows of each.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context as TaskContext, Poll},
};

use axum::{body::Bytes, http};
use hotseat_plugin_api::{Context, RequestInfo, ServiceBody, export_service};
use http_body_util::Full;

#[derive(Clone)]
struct Counting(Arc<AtomicU64>);

impl tower_service::Service<http::Request<ServiceBody>> for Counting {
    type Response = http::Response<Full<Bytes>>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<ServiceBody>) -> Self::Future {
        if request.uri().path() == "/fails" {
            return ready(Err(io::Error::other("a service that fails")));
        }
        let count = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        let info: &RequestInfo = request.extensions().get().expect("every request has it");
        let text = format!(
            "{count} id={} peer={} generation={} original={:?} runtime={}",
            info.id() > 0,
            info.peer().is_some_and(|peer| peer.ip().is_loopback()),
            info.context().generation(),
            info.original_uri().map(ToString::to_string),
            tokio::runtime::Handle::try_current().is_ok(),
        );
        ready(Ok(http::Response::new(Full::from(text))))
    }
}

export_service!(
    |_: &Context| Ok::<_, Infallible>(Counting(Arc::default())),
    version = "9",
    runtime = none
);
