//! The opening handshake of a server (RFC 6455, section 4.2).
//!
//! Owns the checks and what a client is told. Knows nothing of frames.
//! Invariant: a request that is not a valid opening is never upgraded.

use http::{Method, Version, header};

use crate::{Request, Response};

/// What is wrong with an opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NotGet,
    NotHttp11,
    NotAsked,
    OtherVersion,
    NoKey,
    BadKey,
}

/// The accepting key.
pub(super) fn accept(request: &Request<'_>) -> Result<String, Refusal> {
    if request.method() != Method::GET {
        return Err(Refusal::NotGet);
    }
    if request.version() != Version::HTTP_11 {
        return Err(Refusal::NotHttp11);
    }
    if !lists(request, "upgrade", "websocket") || !lists(request, "connection", "upgrade") {
        return Err(Refusal::NotAsked);
    }
    if request.header("sec-websocket-version") != Some("13") {
        return Err(Refusal::OtherVersion);
    }
    let key = request.header_bytes("sec-websocket-key").ok_or(Refusal::NoKey)?;
    if !is_key(key) {
        return Err(Refusal::BadKey);
    }
    Ok(tungstenite::handshake::derive_accept_key(key))
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        let (status, text) = match refusal {
            Refusal::NotGet => (405, "a WebSocket is opened with GET\n"),
            Refusal::NotHttp11 => (400, "a WebSocket is opened over HTTP/1.1\n"),
            Refusal::NotAsked => (
                426,
                "this address speaks WebSocket: send `connection: upgrade` and \
                 `upgrade: websocket`\n",
            ),
            Refusal::OtherVersion => (426, "this address speaks WebSocket version 13\n"),
            Refusal::NoKey => (400, "`sec-websocket-key` is missing\n"),
            Refusal::BadKey => (400, "`sec-websocket-key` is not 16 bytes in base64\n"),
        };
        let response = Self::text(text).with_status(status);
        match status {
            405 => response.with_header(header::ALLOW, "GET"),
            426 => response
                .with_header(header::CONNECTION, "upgrade")
                .with_header(header::UPGRADE, "websocket")
                .with_header(header::SEC_WEBSOCKET_VERSION, "13"),
            _ => response,
        }
    }
}

/// Whether a header, a list that may be spread over several lines, names `token` in any case.
fn lists(request: &Request<'_>, name: &str, token: &str) -> bool {
    request
        .headers()
        .filter(|(other, _)| *other == name)
        .flat_map(|(_, value)| value.split(|c| *c == b','))
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// 16 bytes are 22 characters of base64 and two of padding.
fn is_key(key: &[u8]) -> bool {
    let digit = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/');
    key.strip_suffix(b"==").is_some_and(|digits| digits.len() == 22 && digits.iter().all(digit))
}
