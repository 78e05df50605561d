//! What the host answers by itself: no mount, nobody home, bad requests, health.
//!
//! Every such answer carries `hotseat-error: <code>` and one line of text.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

/// Whether the host is alive and ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What `/readyz` answers: 200 when boot is over and every mount has a generation.
    pub status: u16,
    /// What is missing, one line each; `ready` when nothing is.
    pub text: String,
}

/// What the data plane says of the host as a whole.
#[derive(Clone)]
pub struct HealthSource {
    /// The health at this moment.
    pub ask: Arc<dyn Fn() -> Health + Send + Sync>,
    /// What fills an empty host: see [`Address::deploy_command`].
    ///
    /// [`Address::deploy_command`]: crate::status::Address::deploy_command
    pub first_step: Arc<str>,
}

impl HealthSource {
    /// One line for whoever meets an empty host.
    pub(super) fn first_steps(&self) -> String {
        format!("{}; try: {}", EMPTY.text, self.first_step)
    }
}

impl std::fmt::Debug for HealthSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HealthSource").field("first_step", &self.first_step).finish_non_exhaustive()
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

/// Every one of them, for [`OwnCounts`].
const ALL: [Own; 26] = [
    BAD_REQUEST,
    BAD_HOST,
    BAD_TARGET,
    NO_CONNECT,
    NO_TRACE,
    BAD_EXPECT,
    TOO_LARGE,
    BODY_TIMEOUT,
    BODY_BROKEN,
    HEADER_TIMEOUT,
    TARGET_TOO_LONG,
    HEAD_TOO_LARGE,
    TOO_MANY_HEADERS,
    UPGRADE_BODY,
    NO_MOUNT,
    VACANT,
    FULL,
    EMPTY,
    FAILED,
    PANICKED,
    INVALID,
    TIMED_OUT,
    CUT,
    BAD_VERSION,
    BAD_CODING,
    GONE,
];

/// How often each was answered, by one data thread.
#[derive(Debug, Default)]
pub(super) struct OwnCounts([AtomicU64; ALL.len()]);

impl OwnCounts {
    /// Counts one. Only the thread that it belongs to does.
    pub(super) fn add(&self, own: Own) {
        if let Some(at) = ALL.iter().position(|known| *known == own) {
            self.0[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Code and count of each that was answered.
    pub(super) fn read(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        ALL.iter().map(|own| own.code).zip(counts).filter(|(_, count)| *count > 0)
    }
}

pub(super) const BAD_REQUEST: Own =
    own(StatusCode::BAD_REQUEST, "bad_request", "this is no HTTP request");
pub(super) const BAD_VERSION: Own = own(
    StatusCode::HTTP_VERSION_NOT_SUPPORTED,
    "bad_version",
    "HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken here",
);
pub(super) const BAD_CODING: Own = own(
    StatusCode::NOT_IMPLEMENTED,
    "bad_transfer_encoding",
    "`Transfer-Encoding` may only be `chunked`, once (RFC 9112, 6.1)",
);
pub(super) const HEADER_TIMEOUT: Own = own(
    StatusCode::REQUEST_TIMEOUT,
    "header_timeout",
    "the head of the request did not come within `header_time`",
);
pub(super) const TARGET_TOO_LONG: Own =
    own(StatusCode::URI_TOO_LONG, "target_too_long", "the target of the request is too long");
pub(super) const HEAD_TOO_LARGE: Own = own(
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    "head_too_large",
    "the head of the request is larger than `head_bytes` allows",
);
pub(super) const UPGRADE_BODY: Own = own(
    StatusCode::BAD_REQUEST,
    "upgrade_with_body",
    "the body of a request to upgrade must come, and end, before the upgrade",
);
/// Nobody is left to hear it: counted only.
pub(super) const GONE: Own =
    own(StatusCode::REQUEST_TIMEOUT, "client_gone", "the client took nothing within `body_gap`");
pub(super) const BAD_HOST: Own = own(
    StatusCode::BAD_REQUEST,
    "bad_host",
    "one valid `Host` (or `:authority`, the same) is needed (RFC 9112, 3.2)",
);
pub(super) const BAD_TARGET: Own = own(
    StatusCode::BAD_REQUEST,
    "bad_target",
    "the target must be a path, `*` for OPTIONS alone, or a whole URI (RFC 9112, 3.2)",
);
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
pub(super) const FULL: Own = own(
    StatusCode::SERVICE_UNAVAILABLE,
    "memory_max",
    "the plugin mounted at this path holds more memory than `memory_max` allows",
);
pub(super) const EMPTY: Own =
    own(StatusCode::SERVICE_UNAVAILABLE, "empty_host", "nothing is loaded yet");
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

/// An answer of the host's own, before it is a response of the one or the other HTTP.
pub(super) type Answer = Response<Bytes>;

impl Own {
    pub(super) fn answer(self) -> Answer {
        self.worded(self.text)
    }

    /// As [`answer`](Self::answer); whoever meets an empty host is told how to fill it.
    pub(super) fn answer_of(self, host: &HealthSource) -> Answer {
        if self == EMPTY { self.worded(&host.first_steps()) } else { self.answer() }
    }

    fn worded(self, line: &str) -> Answer {
        let mut answer = text(self.status, format!("{line}\n").into());
        let headers = answer.headers_mut();
        headers.insert("hotseat-error", HeaderValue::from_static(self.code));
        if matches!(self, VACANT | FULL | EMPTY) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            let allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
            headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
        }
        answer
    }

    /// Whether what comes after the request cannot be trusted to be another one.
    pub(super) fn is_last(self) -> bool {
        matches!(
            self.status,
            StatusCode::BAD_REQUEST | StatusCode::REQUEST_TIMEOUT | StatusCode::NOT_IMPLEMENTED
        )
    }

    /// The last answer of an HTTP/1 connection, as it goes over the wire.
    pub(super) fn to_bytes(self) -> Bytes {
        let Self { status, code, text } = self;
        let reason = status.canonical_reason().unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {} {reason}\r\nhotseat-error: {code}\r\nconnection: close\r\n\
             content-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\r\n{text}\n",
            status.as_u16(),
            text.len() + 1
        );
        head.into()
    }

    /// What to say in place of an error answer that hyper has made by itself; `None` for anything
    /// else that begins an HTTP/1 answer. hyper offers no hook for them, so they are known by what
    /// is written to the socket while no answer was asked for.
    pub(super) fn instead_of(head: &[u8]) -> Option<Self> {
        Some(
            match head.strip_prefix(b"HTTP/1.1 ").or(head.strip_prefix(b"HTTP/1.0 "))?.get(..3)? {
                b"400" => BAD_REQUEST,
                b"414" => TARGET_TOO_LONG,
                b"431" => HEAD_TOO_LARGE,
                b"505" => BAD_VERSION,
                _ => return None,
            },
        )
    }
}

fn text(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

/// `OPTIONS *`: the server as a whole is there.
pub(super) fn options() -> Answer {
    let mut answer = Response::new(Bytes::new());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

/// `/livez` and `/readyz` under the configured path of the data plane.
pub(super) fn health(source: &HealthSource, probe: &str) -> Option<Answer> {
    match probe {
        "/livez" => Some(text(StatusCode::OK, "alive\n".into())),
        "/readyz" => {
            let Health { status, text: body } = (source.ask)();
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            Some(text(status, body.into()))
        }
        _ => None,
    }
}
