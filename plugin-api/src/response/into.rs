//! What can be answered: responses, their parts, and an author's own errors.

use std::borrow::Cow;

use http::StatusCode;

use crate::{Bytes, Response, Result};

/// What makes a [`Response`], whatever it is.
///
/// An author's error type that says what is answered for it needs no translation at each place where it
/// comes up:
///
/// ```
/// use hotseat_plugin_api::{
///     Context, Handler, IntoResponse, Request, Response, Result, ResultExt as _, StatusCode,
/// };
///
/// enum Refusal {
///     NoNumber(std::num::ParseIntError),
///     TooLarge(u64),
/// }
///
/// impl From<std::num::ParseIntError> for Refusal {
///     fn from(error: std::num::ParseIntError) -> Self { Self::NoNumber(error) }
/// }
///
/// impl IntoResponse for Refusal {
///     fn into_response(self) -> Response {
///         match self {
///             Self::NoNumber(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
///             Self::TooLarge(most) => (422, format!("at most {most}")).into_response(),
///         }
///     }
/// }
///
/// fn double(text: &str) -> Result<String, Refusal> {
///     match text.parse()? {
///         number @ 0..=100 => Ok((number * 2).to_string()),
///         _ => Err(Refusal::TooLarge(100)),
///     }
/// }
///
/// struct Doubles;
///
/// impl Handler for Doubles {
///     fn new(_: &Context) -> Result<Self> { Ok(Doubles) }
///     async fn call(&self, request: Request<'_>) -> Result<Response> {
///         double(request.query().unwrap_or_default()).or_response()
///     }
/// }
/// ```
///
/// An [`Error`](crate::Error) is no such type on purpose: it is for what went wrong inside, is answered
/// with 500 and told in the log, and its text is not the client's.
pub trait IntoResponse {
    /// The response.
    fn into_response(self) -> Response;
}

/// Turns whatever a result holds into an answer.
pub trait ResultExt {
    /// The answer of either side.
    ///
    /// # Errors
    /// Never; it is what [`Handler::call`](crate::Handler::call) returns.
    fn or_response(self) -> Result<Response>;
}

impl<T: IntoResponse, E: IntoResponse> ResultExt for Result<T, E> {
    fn or_response(self) -> Result<Response> {
        Ok(self.into_response())
    }
}

impl<T: IntoResponse, E: IntoResponse> IntoResponse for Result<T, E> {
    fn into_response(self) -> Response {
        match self {
            Ok(value) => value.into_response(),
            Err(error) => error.into_response(),
        }
    }
}

impl IntoResponse for Response {
    fn into_response(self) -> Response {
        self
    }
}

/// No body.
impl IntoResponse for () {
    fn into_response(self) -> Response {
        Response::empty()
    }
}

/// No body.
impl IntoResponse for StatusCode {
    fn into_response(self) -> Response {
        Response::empty().with_status(self)
    }
}

impl IntoResponse for &'static str {
    fn into_response(self) -> Response {
        Response::text(self)
    }
}

impl IntoResponse for String {
    fn into_response(self) -> Response {
        Response::text(self)
    }
}

impl IntoResponse for Cow<'static, str> {
    fn into_response(self) -> Response {
        Response::text(self)
    }
}

impl IntoResponse for Bytes {
    fn into_response(self) -> Response {
        Response::bytes(self)
    }
}

impl IntoResponse for Vec<u8> {
    fn into_response(self) -> Response {
        Response::bytes(self)
    }
}

/// What the second is, with the first as its status. A number that is no status fails the call.
impl<S: TryInto<StatusCode>, T: IntoResponse> IntoResponse for (S, T) {
    fn into_response(self) -> Response {
        self.1.into_response().with_status(self.0)
    }
}

impl<B> IntoResponse for http::Response<B>
where
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn into_response(self) -> Response {
        self.into()
    }
}
