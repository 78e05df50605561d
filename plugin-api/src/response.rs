//! An answer, as an author builds it.
//!
//! Owns the builder and its hand-over to the host. Knows nothing of how the host sends it.
//! Invariant: a fixed body is never copied, and what is wrong with an answer is found before any
//! of it crosses.

mod answer;
mod content;
mod fields;
mod into;
mod stream;
mod writer;

use std::{borrow::Cow, fmt, future::Future};

use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::{
    Error, Io, Result,
    owned::{OwnedBytes, OwnedStream},
    upgrade::OwnedUpgrade,
};

use fields::Fields;

pub use content::Content;
pub use into::{IntoResponse, ResultExt};
pub use writer::BodyWriter;

/// What the client gets. Begins as 200 unless said otherwise.
///
/// # Ownership
/// Owned throughout: a response borrows nothing from its request.
///
/// # Threads
/// Stays on the thread of its call, and so does the future of a stream or an upgrade.
#[must_use = "a response does nothing until it is returned"]
pub struct Response {
    status: StatusCode,
    fields: Fields,
    payload: Payload,
    fault: Option<Error>,
}

pub(crate) enum Payload {
    Empty,
    Bytes(OwnedBytes),
    Stream(OwnedStream),
    Upgrade(OwnedUpgrade),
}

/// A response whose body is whole, so that it may go to another thread.
pub(crate) struct Whole {
    status: StatusCode,
    fields: Fields,
    body: Option<OwnedBytes>,
    fault: Option<Error>,
}

impl From<Whole> for Response {
    fn from(whole: Whole) -> Self {
        let Whole { status, fields, body, fault } = whole;
        let payload = body.map_or(Payload::Empty, Payload::Bytes);
        Self { status, fields, payload, fault }
    }
}

impl Response {
    /// The same, for another thread. `None`: its body is produced while it is sent.
    pub(crate) fn into_whole(self) -> Option<Whole> {
        let Self { status, fields, payload, fault } = self;
        let body = match payload {
            Payload::Empty => None,
            Payload::Bytes(bytes) => Some(bytes),
            Payload::Stream(_) | Payload::Upgrade(_) => return None,
        };
        Some(Whole { status, fields, body, fault })
    }

    /// Text, as `text/plain; charset=utf-8`. A literal is not copied.
    pub fn text(text: impl Into<Cow<'static, str>>) -> Self {
        Self::typed("text/plain; charset=utf-8", Payload::Bytes(text.into().into()))
    }

    /// A page, as `text/html; charset=utf-8`.
    pub fn html(text: impl Into<Cow<'static, str>>) -> Self {
        Self::typed("text/html; charset=utf-8", Payload::Bytes(text.into().into()))
    }

    /// Bytes of any kind, as `application/octet-stream` until a `content-type` is set.
    pub fn bytes(bytes: impl Into<Content>) -> Self {
        Self::typed("application/octet-stream", Payload::Bytes(bytes.into().into_owned_bytes()))
    }

    /// No body.
    pub fn empty() -> Self {
        Self::new(Payload::Empty)
    }

    /// A body that is produced while it is sent, with back-pressure and trailers. A request's
    /// [`Body`](crate::Body) is such a body.
    pub fn stream<B>(body: B) -> Self
    where
        B: http_body::Body + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Self::new(Payload::Stream(stream::export(body)))
    }

    /// A body that `write` writes to its [`BodyWriter`], with back-pressure. An `Err` breaks the
    /// body off.
    ///
    /// # Cancellation
    /// The future is dropped when the client goes away.
    pub fn streaming<F, W>(write: W) -> Self
    where
        F: Future<Output = Result<()>> + 'static,
        W: FnOnce(BodyWriter) -> F,
    {
        Self::stream(writer::written(write))
    }

    /// `101 Switching Protocols` to `protocol`; `converse` then has the connection for as long as
    /// its future runs.
    ///
    /// Answer it only to a request that asks for `protocol` in its `upgrade` header.
    ///
    /// # Cancellation
    /// The future is dropped when the generation's drain limit has passed.
    pub fn upgrade<F, C>(protocol: &str, converse: C) -> Self
    where
        F: Future<Output = Result<()>> + 'static,
        C: FnOnce(Io) -> F + 'static,
    {
        let mut response = Self::new(Payload::Upgrade(OwnedUpgrade::new(converse)));
        response.status = StatusCode::SWITCHING_PROTOCOLS;
        response
            .with_header(header::CONNECTION, HeaderValue::from_static("upgrade"))
            .with_header(header::UPGRADE, protocol)
    }

    /// Sets the status, a [`StatusCode`] or a number. One that is no status fails the call.
    pub fn with_status(mut self, status: impl TryInto<StatusCode>) -> Self {
        match status.try_into() {
            Ok(status) => self.status = status,
            Err(_) => self.fault = Some(Error::new("the response's status is not 100 to 999")),
        }
        self
    }

    /// Sets the header `name`, replacing earlier values. What is no header fails the call.
    pub fn with_header(
        mut self,
        name: impl TryInto<HeaderName>,
        value: impl TryInto<HeaderValue>,
    ) -> Self {
        if let Some((name, value)) = self.header_pair(name, value) {
            self.fields.set(name, value);
        }
        self
    }

    /// Adds one more value of the header `name`. What is no header fails the call.
    pub fn with_added_header(
        mut self,
        name: impl TryInto<HeaderName>,
        value: impl TryInto<HeaderValue>,
    ) -> Self {
        if let Some((name, value)) = self.header_pair(name, value) {
            self.fields.add(name, value);
        }
        self
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The first value of the header `name`, in lower case.
    #[must_use]
    pub fn header(&self, name: impl AsRef<str>) -> Option<&HeaderValue> {
        self.fields.get(name.as_ref())
    }

    /// The same with another stream or upgrade in place of its own.
    #[cfg(any(feature = "runtime", feature = "tracing"))]
    pub(crate) fn map_payload(
        mut self,
        stream: impl FnOnce(OwnedStream) -> OwnedStream,
        upgrade: impl FnOnce(OwnedUpgrade) -> OwnedUpgrade,
    ) -> Self {
        self.payload = match self.payload {
            Payload::Stream(inner) => Payload::Stream(stream(inner)),
            Payload::Upgrade(inner) => Payload::Upgrade(upgrade(inner)),
            payload @ (Payload::Empty | Payload::Bytes(_)) => payload,
        };
        self
    }

    /// The same head with a conversation in place of a body.
    #[cfg(feature = "service")]
    pub(crate) fn into_upgrade<F, C>(mut self, converse: C) -> Self
    where
        F: Future<Output = Result<()>> + 'static,
        C: FnOnce(Io) -> F + 'static,
    {
        self.payload = Payload::Upgrade(OwnedUpgrade::new(converse));
        self
    }

    fn new(payload: Payload) -> Self {
        Self { status: StatusCode::OK, fields: Fields::default(), payload, fault: None }
    }

    fn typed(content_type: &'static str, payload: Payload) -> Self {
        let fields = Fields::of_type(HeaderValue::from_static(content_type));
        Self { status: StatusCode::OK, fields, payload, fault: None }
    }

    fn header_pair(
        &mut self,
        name: impl TryInto<HeaderName>,
        value: impl TryInto<HeaderValue>,
    ) -> Option<(HeaderName, HeaderValue)> {
        let Ok(name) = name.try_into() else {
            self.fault = Some(Error::new("a response header's name is malformed"));
            return None;
        };
        let Ok(value) = value.try_into() else {
            self.fault =
                Some(Error::new(format_args!("the response header `{name}` has a bad value")));
            return None;
        };
        Some((name, value))
    }
}

impl<B> From<http::Response<B>> for Response
where
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// A body that is there whole is handed over whole, not as a stream.
    fn from(response: http::Response<B>) -> Self {
        let (mut parts, body) = response.into_parts();
        let payload = stream::payload(body);
        // Of what is there whole the host knows the length; a 304 describes what it does not send.
        if let Payload::Bytes(bytes) = &payload
            && parts.status != StatusCode::NOT_MODIFIED
            && parts.headers.get(header::CONTENT_LENGTH).is_some_and(|it| is_length(it, bytes))
            && !is_shown()
        {
            parts.headers.remove(header::CONTENT_LENGTH);
        }
        Self { status: parts.status, fields: parts.headers.into(), payload, fault: None }
    }
}

/// Whether a kit looks, which shows what an application has answered, and adds nothing of a host's.
fn is_shown() -> bool {
    #[cfg(any(test, feature = "testing"))]
    return crate::testing::host_here().is_some();
    #[cfg(not(any(test, feature = "testing")))]
    false
}

/// Whether a field says of how many bytes these are.
fn is_length(value: &HeaderValue, bytes: &OwnedBytes) -> bool {
    value.to_str().is_ok_and(|it| it.parse() == Ok(bytes.as_ref().len()))
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("status", &self.status).finish_non_exhaustive()
    }
}
