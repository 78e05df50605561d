//! What is wrong with a request, and how it is said.
//!
//! Owns the one form of every refusal (message, hint, code, status) and the map from an error's
//! [`Kind`] to an HTTP status. Invariant: no refusal leaves the control plane in another form.

use axum::{
    http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    response::Response,
};

use super::{
    answer::{Form, one_line},
    condition, wire,
};
use crate::{
    error::{Coded, Kind, for_people},
    ids::Generation,
};

/// The header that names the code.
pub(super) const CODE_HEADER: HeaderName = HeaderName::from_static("hotseat-error");

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) hint: Option<String>,
    /// What serves, where that is what is wrong.
    pub(super) serving: Option<Generation>,
}

impl Fault {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { status, code, message: message.into(), hint: Some(hint.into()), serving: None }
    }

    /// An error that some part of the host raised.
    pub(super) fn of(error: &dyn Coded) -> Self {
        let status = status_of(error.kind());
        let (code, serving) = (error.code(), error.serving());
        Self { status, code, message: error.to_string(), hint: error.hint(), serving }
    }

    /// The same in the form that the client wants.
    pub(super) fn answer(&self, form: Form) -> Response {
        let message = one_line(&self.message);
        let hint = self.hint.as_deref().map(one_line);
        let text = || for_people(&message, hint.as_deref(), self.code);
        let object = || wire::Refusal::new(self.code, &message, hint.as_deref());
        let mut response = form.answer(self.status, text, object);
        let headers = response.headers_mut();
        headers.insert(CODE_HEADER, HeaderValue::from_static(self.code));
        if let Some(serving) = self.serving {
            headers.insert(header::ETAG, condition::tag(serving));
        }
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

fn status_of(kind: Kind) -> StatusCode {
    match kind {
        Kind::Input => StatusCode::BAD_REQUEST,
        Kind::Missing => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Condition => StatusCode::PRECONDITION_FAILED,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::Refused => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::Busy => StatusCode::TOO_MANY_REQUESTS,
        Kind::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Host => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Any path that has no route.
pub(super) async fn not_found(form: Form, uri: Uri) -> Response {
    Fault::new(
        StatusCode::NOT_FOUND,
        "not_found",
        format!("there is nothing at `{}`", uri.path()),
        "GET / shows the status; `/v1/status`, `/v1/deploys`, `/v1/history`, `/v1/plugins`, \
         `/v1/cells`, `/v1/events`, `/v1/upgrade`, `/v1/lame-duck`, `/v1/reload-config`, `/metrics`, `/readyz`, `/livez` and `/version` are there too",
    )
    .answer(form)
}

/// Any method that a route does not have; axum adds `Allow`.
pub(super) async fn wrong_method(form: Form, method: Method, uri: Uri) -> Response {
    Fault::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("`{}` does not take `{method}`", uri.path()),
        "the header `Allow` lists what it takes",
    )
    .answer(form)
}
