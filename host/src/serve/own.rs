//! What the host answers by itself: no mount, nobody home, bad requests, health.
//!
//! Every such answer carries `hotseat-error: <code>` and one line of text.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::body::Outbound;

/// Whether the host is alive and ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What `/readyz` answers: 200 when boot is over and every mount has a generation.
    pub status: u16,
    /// What is missing, one line each; `ready` when nothing is.
    pub text: String,
}

/// Asks for the health at this moment.
#[derive(Clone)]
pub struct HealthSource(pub Arc<dyn Fn() -> Health + Send + Sync>);

impl std::fmt::Debug for HealthSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HealthSource")
    }
}

/// An answer of the host's own that is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) text: &'static str,
}

const fn own(status: StatusCode, code: &'static str, text: &'static str) -> Own {
    Own { status, code, text }
}

pub(super) const BAD_HOST: Own = own(
    StatusCode::BAD_REQUEST,
    "bad_host",
    "exactly one valid `Host` field is needed (RFC 9112, 3.2)",
);
pub(super) const BAD_TARGET: Own =
    own(StatusCode::BAD_REQUEST, "bad_target", "`*` is only a target of OPTIONS");
pub(super) const NO_CONNECT: Own = own(
    StatusCode::METHOD_NOT_ALLOWED,
    "method_not_allowed",
    "this is no proxy: CONNECT is not served",
);
pub(super) const NO_TRACE: Own =
    own(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "TRACE is not served");
pub(super) const BAD_EXPECT: Own =
    own(StatusCode::EXPECTATION_FAILED, "bad_expectation", "`Expect` may only be `100-continue`");
pub(super) const TOO_LARGE: Own = own(
    StatusCode::PAYLOAD_TOO_LARGE,
    "body_too_large",
    "the body is larger than `body_bytes` allows",
);
pub(super) const BODY_TIMEOUT: Own =
    own(StatusCode::REQUEST_TIMEOUT, "body_timeout", "the body did not come within `body_gap`");
pub(super) const BODY_BROKEN: Own =
    own(StatusCode::BAD_REQUEST, "body_broken", "the body broke off");
pub(super) const TOO_MANY_HEADERS: Own = own(
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    "too_many_headers",
    "the request has more header fields than `headers_count` allows",
);
pub(super) const NO_MOUNT: Own =
    own(StatusCode::NOT_FOUND, "no_mount", "no plugin is mounted at this path");
pub(super) const VACANT: Own = own(
    StatusCode::SERVICE_UNAVAILABLE,
    "no_generation",
    "the plugin mounted at this path has no version that serves",
);
pub(super) const EMPTY: Own = own(
    StatusCode::SERVICE_UNAVAILABLE,
    "empty_host",
    "nothing is loaded yet; try: curl localhost:28000 -d ./libhandler_v1.so",
);
pub(super) const FAILED: Own =
    own(StatusCode::INTERNAL_SERVER_ERROR, "plugin_error", "the plugin answered with an error");
pub(super) const PANICKED: Own =
    own(StatusCode::INTERNAL_SERVER_ERROR, "plugin_panic", "the plugin panicked");
pub(super) const INVALID: Own = own(
    StatusCode::INTERNAL_SERVER_ERROR,
    "plugin_invalid_answer",
    "the plugin answered something that is no HTTP",
);
pub(super) const TIMED_OUT: Own = own(
    StatusCode::GATEWAY_TIMEOUT,
    "plugin_timeout",
    "the plugin did not answer within `plugin_time`",
);
pub(super) const CUT: Own =
    own(StatusCode::SERVICE_UNAVAILABLE, "drain_timeout", "the request was cut at the drain limit");

impl Own {
    pub(super) fn response(self) -> Response<Outbound> {
        let mut response = text(self.status, format!("{}\n", self.text).into());
        let headers = response.headers_mut();
        headers.insert("hotseat-error", HeaderValue::from_static(self.code));
        if matches!(self, VACANT | EMPTY) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            let allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
            headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
        }
        response
    }
}

fn text(status: StatusCode, body: Bytes) -> Response<Outbound> {
    let mut response = Response::new(Outbound::Own(Some(body).filter(|body| !body.is_empty())));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// `OPTIONS *`: the server as a whole is there.
pub(super) fn options() -> Response<Outbound> {
    let mut response = Response::new(Outbound::Own(None));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// `/livez` and `/readyz` under the configured path of the data plane.
pub(super) fn health(source: &HealthSource, probe: &str) -> Option<Response<Outbound>> {
    match probe {
        "/livez" => Some(text(StatusCode::OK, "alive\n".into())),
        "/readyz" => {
            let Health { status, text: body } = (source.0)();
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            Some(text(status, body.into()))
        }
        _ => None,
    }
}
