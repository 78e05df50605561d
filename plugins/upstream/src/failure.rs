//! What a client is told where there is no answer of the upstream: a status, and a code in JSON.

use std::{error::Error as _, iter};

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use hotseat_plugin_api::BodyError;
use serde_json::json;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    pub(crate) code: &'static str,
    message: &'static str,
}

impl Failure {
    pub(crate) const BODY: Self =
        Self::new(StatusCode::BAD_REQUEST, "body_broken", "the request's body broke off");
    pub(crate) const PATH: Self =
        Self::new(StatusCode::BAD_REQUEST, "path_outside", "the path leads out of here");
    /// It has not seen the request.
    const REFUSED: Self =
        Self::new(StatusCode::BAD_GATEWAY, "upstream_refused", "nobody takes the connection");
    /// What it has done with the request, nobody knows.
    const CLOSED: Self = Self::new(
        StatusCode::BAD_GATEWAY,
        "upstream_closed",
        "the connection ended before an answer",
    );
    pub(crate) const BUSY: Self =
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "upstream_busy", "too many ask at once");
    pub(crate) const TIMEOUT: Self =
        Self::new(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", "no answer came in time");

    const fn new(status: StatusCode, code: &'static str, message: &'static str) -> Self {
        Self { status, code, message }
    }

    pub(crate) fn of(error: &reqwest::Error) -> Self {
        let mut causes = iter::successors(error.source(), |&error| error.source());
        match error {
            _ if causes.any(|cause| cause.is::<BodyError>()) => Self::BODY,
            _ if error.is_timeout() => Self::TIMEOUT,
            _ if error.is_connect() => Self::REFUSED,
            _ => Self::CLOSED,
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self { status, code, message } = self;
        let retry =
            (status == StatusCode::SERVICE_UNAVAILABLE).then_some([(header::RETRY_AFTER, "1")]);
        let body = Json(json!({ "error": { "code": code, "message": message } }));
        (status, retry, body).into_response()
    }
}
