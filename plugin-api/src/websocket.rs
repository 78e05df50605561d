//! WebSocket conversations (RFC 6455).
//!
//! Owns the author's end and its hand-over to an upgrade. The bytes are `tungstenite`'s business
//! and stay behind `session`; the life of a conversation is `conversation`'s.
//! Invariant: no type of tungstenite shows here, so it can be replaced.

mod conversation;
mod handshake;
mod session;

use std::{cell::RefCell, fmt, future::Future, future::poll_fn, rc::Rc};

use bytes::Bytes;
use http::{HeaderValue, header};

use crate::{Error, Request, Response, Result};
use session::Session;

/// The largest message in either direction, unless [`WebSocket::limit_messages`] says otherwise.
/// Units: bytes.
pub(crate) const MESSAGE_MAX: usize = 16 << 20;

/// One message. Pings, pongs and close frames are dealt with behind the scenes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes.into())
    }
}

/// A conversation's own end.
///
/// When the author's future ends, the conversation is closed properly: with 1000 after `Ok`, with
/// 1011 after `Err`. Near the drain limit it is closed with 1012 ("service restart"): from then on
/// [`recv`](Self::recv) gives `None`, and the future is given a second to come to its end.
///
/// # Threads
/// Stays on the thread that it was given on.
pub struct WebSocket {
    session: Rc<RefCell<Session>>,
}

impl WebSocket {
    /// The next message; `None` when the conversation is over, from whichever side.
    ///
    /// # Errors
    /// When the peer breaks the protocol (it is then told so) or the connection fails.
    ///
    /// # Cancellation
    /// Safe: no message is lost when the future is dropped.
    pub async fn recv(&mut self) -> Result<Option<Message>> {
        poll_fn(|cx| self.session.borrow_mut().poll_recv(cx)).await
    }

    /// Sends a message; ends when the connection has taken it.
    ///
    /// # Errors
    /// When the conversation is over, the message is larger than the limit, or the connection
    /// fails.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<()> {
        let mut message = Some(message.into());
        poll_fn(|cx| self.session.borrow_mut().poll_send(cx, &mut message)).await
    }

    /// Closes the conversation. Nothing can be sent or received afterwards; the peer's answer is
    /// waited for when the author's future has ended.
    ///
    /// # Errors
    /// When `code` is none that may be sent (1000 to 1003, 1007 to 1014, 3000 to 4999), `reason`
    /// is longer than 123 bytes, or the connection fails.
    pub async fn close(&mut self, code: u16, reason: &str) -> Result<()> {
        if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
            return Err(Error::new(format_args!("{code} is no close code that may be sent")));
        }
        if reason.len() > 123 {
            return Err(Error::new("a close reason has at most 123 bytes"));
        }
        self.session.borrow_mut().begin_close(code, reason);
        poll_fn(|cx| self.session.borrow_mut().poll_flush(cx)).await
    }

    /// Closes with 1012 as soon as another version has taken the seat, instead of near the drain
    /// limit: for conversations that clients take up again by themselves.
    pub fn end_on_drain(&mut self) {
        self.session.borrow_mut().end_on_drain = true;
    }

    /// Sets the largest message in either direction. Units: bytes; 16 MiB unless set.
    pub fn limit_messages(&mut self, bytes: usize) {
        self.session.borrow_mut().limit_messages(bytes);
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket").finish_non_exhaustive()
    }
}

impl Response {
    /// Begins a WebSocket conversation, if `request` asks for one; else the response says what is
    /// wrong (400, 405 or 426). `converse` then has the [`WebSocket`] until its future ends.
    ///
    /// # Errors
    /// When the accepting header cannot be made.
    pub fn websocket<F, C>(request: &Request<'_>, converse: C) -> Result<Self>
    where
        F: Future<Output = Result<()>> + 'static,
        C: FnOnce(WebSocket) -> F + 'static,
    {
        let accept = match handshake::accept(request) {
            Ok(key) => HeaderValue::try_from(key)?,
            Err(refusal) => return Ok(refusal.into()),
        };
        let context = request.context().clone();
        let response = Self::upgrade("websocket", |io| conversation::hold(io, context, converse));
        Ok(response.with_header(header::SEC_WEBSOCKET_ACCEPT, accept))
    }
}
