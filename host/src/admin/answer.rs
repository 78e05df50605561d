//! The form of an answer: text for people, JSON for programs.
//!
//! Owns which of the two a request wants, and the headers of both. Knows nothing of what is said.

use std::convert::Infallible;

use axum::{
    extract::FromRequestParts,
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Serialize;

/// What the client wants to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Lines for people.
    Text,
    /// One object for programs.
    Json,
}

impl Form {
    /// What `Accept` names first; else JSON below `/v1/` and text everywhere else.
    pub(super) fn of(parts: &Parts) -> Self {
        let accepted = parts.headers.get_all(header::ACCEPT).iter();
        let named = accepted.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
        for kind in named.map(|kind| kind.split(';').next().unwrap_or_default().trim()) {
            if kind.eq_ignore_ascii_case("application/json") {
                return Self::Json;
            }
            if kind.eq_ignore_ascii_case("text/plain") {
                return Self::Text;
            }
        }
        if parts.uri.path().starts_with("/v1/") { Self::Json } else { Self::Text }
    }

    /// `text` or `object`, whichever is wanted.
    pub(super) fn answer<T: Serialize>(
        self,
        status: StatusCode,
        text: impl FnOnce() -> String,
        object: impl FnOnce() -> T,
    ) -> Response {
        match self {
            Self::Text => typed(status, "text/plain; charset=utf-8", text()),
            Self::Json => {
                let mut page = serde_json::to_string_pretty(&object())
                    .expect("wire types have text keys and finite numbers");
                page.push('\n');
                typed(status, "application/json", page)
            }
        }
    }
}

/// One page of the given type.
pub(super) fn typed(status: StatusCode, kind: &'static str, page: String) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static(kind))], page).into_response()
}

/// `text` in one line that a terminal shows as it is: whatever would move the cursor (a file's
/// name may hold anything) is escaped.
pub(super) fn one_line(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    text.chars().map(shown).collect()
}

/// The same for a text of several lines, which stay lines.
pub(super) fn lines(text: &str) -> String {
    text.lines().map(one_line).collect::<Vec<_>>().join("\n")
}

impl<S: Sync> FromRequestParts<S> for Form {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts))
    }
}
