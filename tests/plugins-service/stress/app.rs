//! An application that does, on demand, all that a plugin can do: bodies read wherever, streams,
//! WebSockets, events, cells, topics, tasks, blocking code, and answers that never come.
//!
//! Every answer says in its head who gave it: `x-pid`, `x-generation`, `x-label`, `x-version`, the
//! setting `x-note`, the host's number of the request `x-id`, and the client's own `x-nonce`.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{any, get, post},
};
use hotseat_plugin_api::{Context, RequestInfo, Result};
use serde::Deserialize;

mod bodies;
mod events;
mod kept;
mod socket;

/// Bodies are up to 1 MiB.
const BODY_BYTES: usize = 2 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Counts the readings of the settings up.
    note: u64,
    tick_ms: u64,
}

/// What all handlers share.
struct App {
    context: Context,
    version: u64,
    note: u64,
}

/// An error of the application: all of them are told.
type Answer<T> = Result<T, (StatusCode, String)>;

fn failed(error: impl std::fmt::Display) -> (StatusCode, String) {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

pub(crate) fn make(context: &Context, version: u64) -> Result<Router> {
    let settings: Settings = context.config_as()?;
    let app = Arc::new(App { context: context.clone(), version, note: settings.note });
    let ticks = app.clone();
    drop(context.every(Duration::from_millis(settings.tick_ms), move || {
        let app = ticks.clone();
        async move { kept::tick(&app) }
    })?);
    Ok(Router::new()
        .route("/digest/handler", post(bodies::in_handler))
        .route("/digest/task", post(bodies::in_task))
        .route("/digest/thread", post(bodies::on_thread))
        .route("/digest/pool", post(bodies::on_pool))
        .route("/digest/half", post(bodies::half))
        .route("/echo", post(bodies::echo))
        .route("/echo/task", post(bodies::echo_by_task))
        .route("/stream", get(bodies::stream))
        .route("/stream/task", get(bodies::stream_by_task))
        .route("/sum", get(bodies::sum))
        .route("/socket", any(socket::open))
        .route("/events", get(events::listen))
        .route("/publish", post(events::publish))
        .route("/keys", get(kept::keys))
        .route("/count/{key}", get(kept::read).post(kept::count))
        .route("/list/{key}", get(kept::read).post(kept::append).delete(kept::remove))
        .route("/task/{key}", post(kept::task))
        .route("/left", get(left))
        .route("/forever", any(std::future::pending::<()>))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn_with_state(app.clone(), sign))
        .with_state(app))
}

fn number(value: u64) -> HeaderValue {
    value.into()
}

/// Says who has answered, and which request.
async fn sign(
    State(app): State<Arc<App>>,
    Extension(info): Extension<RequestInfo>,
    request: Request,
    next: Next,
) -> Response {
    let nonce = request.headers().get("x-nonce").cloned();
    let mut response = next.run(request).await;
    let head: &mut HeaderMap = response.headers_mut();
    head.insert("x-pid", number(std::process::id().into()));
    head.insert("x-generation", number(info.context().generation()));
    if let Ok(label) = HeaderValue::from_str(app.context.label()) {
        head.insert("x-label", label);
    }
    head.insert("x-version", number(app.version));
    head.insert("x-note", number(app.note));
    head.insert("x-id", number(info.id()));
    if let Some(nonce) = nonce {
        head.insert("x-nonce", nonce);
    }
    response
}

/// The milliseconds that are left for the answer.
async fn left(Extension(info): Extension<RequestInfo>) -> Response {
    match info.time_left() {
        Some(left) => left.as_millis().to_string().into_response(),
        None => failed("there is no limit").into_response(),
    }
}
