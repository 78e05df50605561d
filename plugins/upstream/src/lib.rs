//! Asks another server: what is below the mount goes to the upstream, and its answer comes back.
//!
//! ```toml
//! [plugin.upstream]
//! url = "http://127.0.0.1:9000/api"
//! token = "file:/run/secrets/upstream"
//! ```
//!
//! | setting | default | what it is |
//! |---|---|---|
//! | `url` | | before path and query of each request: `http`, host, port, path |
//! | `connect_time` | `1s` | until a connection is there |
//! | `time` | `10s` | until the head of an answer is there, for each try |
//! | `tries` | 3 | of idempotent requests without a body, or with one of a known length of up to 64 KiB |
//! | `backoff` | `100ms` | before the second try, and doubled each time; up to half of it is left out |
//! | `concurrency` | 256 | requests that are with the upstream, until the last byte of their answers |
//! | `token` | none | sent as `authorization: Bearer ..` in place of the client's own |
//!
//! ```text
//! curl -i 'localhost:8080/upstream/things?q=1'       # GET http://127.0.0.1:9000/api/things?q=1
//! curl -T large.iso localhost:8080/upstream/files/1  # passed on as it comes, and tried once
//! curl -s localhost:28000/metrics | grep ^plugin_upstream_  # tries, failures by code, seconds
//! ```
//!
//! | what happens | what the client gets |
//! |---|---|
//! | nobody takes the connection | 502 `upstream_refused` |
//! | it ends before an answer; what the upstream has done, nobody knows | 502 `upstream_closed` |
//! | no answer within `time`, or what the host leaves of its own time | 504 `upstream_timeout` |
//! | `concurrency` requests are there already | 503 `upstream_busy` with `Retry-After: 1` |
//! | the path's `..` lead out of `url`; a body breaks off | 400 `path_outside`, `body_broken` |
//! | an answer breaks off once its head was passed on | a body that breaks off |
//! | the upstream answers 502, 503 or 504 | it is tried again, and the last answer passed on |
//!
//! Fields of one connection stay behind. `x-request-id`, the number that the host's log has, and
//! `x-forwarded-for`, `-host`, `-proto` and `-prefix` are added; whoever reaches the host can write the
//! latter himself, so an upstream that believes them wants a balancer in front that sets them. An upgrade
//! (WebSocket) is not passed on. There is no TLS; `docs/dependencies.md` in hotseat's source tells how the
//! libraries for it unload.
//!
//! # Inside a host
//! - **Preflight.** The settings are read and the client is made, which connects to nobody yet: an upstream
//!   that is away for a moment is no reason to refuse a version.
//! - **State.** Client and permits are in the application's state, and not in a static. So they are
//!   dropped with their version, within its runtime, whose tasks and threads end behind them.
//! - **Swap, `hotseat reload-config`.** Who was asking ends on the version, and the settings, that it
//!   began with; the next request meets the new. Meanwhile there are two pools, each with a
//!   `concurrency` of its own. An answer without an end is cut by the host's `generation_drain`.
//! - **Time.** No try begins or goes on beyond `RequestInfo::time_left`, less 0.1 s, so that the 504 from
//!   here comes before the host's own. That time stands still while the client's body is awaited.
//! - **A client that goes.** Its future is dropped, and with it the request to the upstream, whose
//!   connection is closed.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension, Router,
    body::{Body, Bytes, HttpBody as _, to_bytes},
    extract::{Request, State},
    http::{Method, Response, StatusCode},
};
use hotseat_plugin_api::{Context, Error, RequestInfo, Result, export_axum};
use reqwest::{Client, redirect};
use tokio::{sync::Semaphore, time};
use tracing::Instrument as _;

use body::Carried;
use failure::Failure;
use settings::Settings;

mod body;
mod failure;
mod headers;
mod settings;

/// A body that is kept for another try.
const KEPT_BYTES: usize = 64 << 10;
/// What an answer from here needs to be out before the host gives its own.
const MARGIN: Duration = Duration::from_millis(100);

struct Upstream {
    settings: Settings,
    client: Client,
    room: Arc<Semaphore>,
}

fn app(ctx: &Context) -> Result<Router> {
    let settings: Settings = ctx.config_as()?;
    let client = Client::builder()
        .connect_timeout(settings.connect_time)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .build()?;
    let room = Arc::new(Semaphore::new(usize::try_from(settings.concurrency.get())?));
    Ok(Router::new().fallback(forward).with_state(Arc::new(Upstream { settings, client, room })))
}

export_axum!(app);

async fn forward(
    State(upstream): State<Arc<Upstream>>,
    Extension(info): Extension<RequestInfo>,
    request: Request,
) -> Result<Response<Body>, Failure> {
    let answer = upstream.pass(&info, request).await;
    if let Err(failure) = &answer {
        info.context().counter("upstream_failures_total", 1.0, &[("code", failure.code)]);
    }
    answer
}

impl Upstream {
    async fn pass(&self, info: &RequestInfo, request: Request) -> Result<Response<Body>, Failure> {
        let (head, body) = request.into_parts();
        let url = self.settings.url.join(&head.uri).ok_or(Failure::PATH)?;
        let headers = headers::of(&head, info, self.settings.token.as_ref());
        let body = outgoing(&head.method, body).await?;
        let permit = self.room.clone().try_acquire_owned().map_err(|_| Failure::BUSY)?;
        let mut request = reqwest::Request::new(head.method, url);
        *request.headers_mut() = headers;
        *request.body_mut() = body;
        let (mut head, body) = Response::from(self.ask(info, request).await?).into_parts();
        headers::strip(&mut head.headers);
        Ok(Response::from_parts(head, Body::new(Carried::new(body, permit))))
    }

    /// Tries until there is an answer that is worth passing on, or neither tries nor time are left.
    async fn ask(
        &self,
        info: &RequestInfo,
        mut request: reqwest::Request,
    ) -> Result<reqwest::Response, Failure> {
        let tries = if request.method().is_idempotent() { self.settings.tries.get() } else { 1 };
        for number in 1.. {
            // A body that streams cannot be had again.
            let again = (number < tries).then(|| request.try_clone()).flatten();
            let span = tracing::info_span!("try", number);
            let answer = self.try_once(info, request).instrument(span).await;
            let pause = self.pause(number);
            match again {
                Some(next) if is_passing(&answer) && pause < left(info) => request = next,
                _ => return answer,
            }
            drop(answer);
            time::sleep(pause).await;
        }
        unreachable!("the last try returns")
    }

    async fn try_once(
        &self,
        info: &RequestInfo,
        request: reqwest::Request,
    ) -> Result<reqwest::Response, Failure> {
        let (ctx, begun) = (info.context(), Instant::now());
        let answer = match within(info, self.settings.time, self.client.execute(request)).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => {
                let (failure, error) = (Failure::of(&error), Error::from(error.without_url()));
                tracing::warn!(code = failure.code, %error, "the upstream has failed");
                Err(failure)
            }
            None => {
                tracing::warn!("the upstream has not answered in time");
                Err(Failure::TIMEOUT)
            }
        };
        let outcome = answer.as_ref().map_or_else(|failure| failure.code, |_| "answered");
        ctx.counter("upstream_tries_total", 1.0, &[("outcome", outcome)]);
        ctx.histogram("upstream_seconds", begun.elapsed().as_secs_f64(), &[("outcome", outcome)]);
        answer
    }

    /// Clients that failed together do not come back together.
    fn pause(&self, number: u8) -> Duration {
        let doubled = self.settings.backoff.saturating_mul(1 << (number - 1).min(16));
        doubled.mul_f64(rand::random_range(0.5..1.0))
    }
}

/// A small body whose length is known is kept for another try; any other is passed on as it comes.
async fn outgoing(method: &Method, body: Body) -> Result<Option<reqwest::Body>, Failure> {
    let length = body.size_hint().exact();
    if length == Some(0) {
        return Ok(None);
    }
    let is_small = length.is_some_and(|it| it <= KEPT_BYTES as u64);
    if method.is_idempotent() && is_small {
        let bytes: Bytes = to_bytes(body, KEPT_BYTES).await.map_err(|_| Failure::BODY)?;
        return Ok(Some(bytes.into()));
    }
    Ok(Some(reqwest::Body::wrap(Carried::new(body, ()))))
}

/// Whether it may be otherwise in a moment.
fn is_passing(answer: &Result<reqwest::Response, Failure>) -> bool {
    let passing =
        [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
    answer.as_ref().map_or(true, |answer| passing.contains(&answer.status()))
}

/// What the host leaves for an answer from here; a host that does not tell leaves any time.
fn left(info: &RequestInfo) -> Duration {
    info.time_left().map_or(Duration::MAX, |left| left.saturating_sub(MARGIN))
}

/// What `asking` gives within `limit` and within what is left. Both are measured by the host's clock,
/// which stands still while the client's body is awaited.
async fn within<T>(
    info: &RequestInfo,
    limit: Duration,
    asking: impl Future<Output = T>,
) -> Option<T> {
    if info.time_left().is_none() {
        return time::timeout(limit, asking).await.ok();
    }
    let end = left(info).saturating_sub(limit);
    let mut asking = pin!(asking);
    loop {
        let rest = left(info).checked_sub(end).filter(|rest| !rest.is_zero())?;
        if let Ok(given) = time::timeout(rest, asking.as_mut()).await {
            return Some(given);
        }
    }
}
