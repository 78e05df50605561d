//! `/livez` and `/readyz`, for whoever restarts the host or sends it traffic.
//!
//! Owns the two routes; what "ready" means is [`crate::status::Readiness`]. Waits for nobody, so
//! that a probe is answered whatever else hangs.

use std::sync::Arc;

use axum::{Router, http::HeaderValue, http::StatusCode, response::Response, routing::get};

use super::{
    ReadySource,
    answer::{Form, typed},
    wire,
};

/// The two routes, for any router.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(
    ready: ReadySource,
    lame_status: u16,
) -> Router<S> {
    Router::new()
        .route(
            "/livez",
            get(async || typed(StatusCode::OK, "text/plain; charset=utf-8", "alive\n".to_owned())),
        )
        .route("/readyz", get(move |form| readyz(form, Arc::clone(&ready), lame_status)))
}

async fn readyz(form: Form, ready: ReadySource, lame_status: u16) -> Response {
    let readiness = ready();
    let ready = readiness.why_not().is_none();
    let code = StatusCode::from_u16(readiness.http_status(lame_status));
    let code = code.unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let mut response = form.answer(code, || readiness.page(), || wire::Ready::new(&readiness));
    if !ready {
        response.headers_mut().insert("hotseat-error", HeaderValue::from_static("not_ready"));
    }
    response
}
