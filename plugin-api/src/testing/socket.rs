//! A client's WebSocket to the plugin.

use std::{
    fmt,
    io::{self, Read, Write},
};

use tungstenite::{
    Error as WsError,
    protocol::{CloseFrame, Role, WebSocket},
};

use super::{Peer, RequestBuilder};
use crate::{Message, Result};

/// A key that a client may send: the example of RFC 6455.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A conversation with the plugin, as its client has it. When it is dropped the connection is closed
/// without a close frame.
pub struct Socket<'k> {
    inner: WebSocket<Wire<'k>>,
    /// What the plugin has closed it with.
    closed: Option<(u16, String)>,
}

/// A connection as code has it that never blocks.
struct Wire<'k>(Peer<'k>);

impl Read for Wire<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'k> RequestBuilder<'k> {
    /// Sends it as the opening of a WebSocket, which the plugin has to accept.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn websocket(self) -> Socket<'k> {
        let opening = self
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", KEY);
        let reply = opening.send();
        let key = reply.header("sec-websocket-accept").map(str::to_owned);
        let peer = reply.upgraded();
        let accept = tungstenite::handshake::derive_accept_key(KEY.as_bytes());
        assert_eq!(key, Some(accept), "{}: the accepting key", peer.what());
        let inner = WebSocket::from_raw_socket(Wire(peer), Role::Client, None);
        Socket { inner, closed: None }
    }
}

impl<'k> Socket<'k> {
    /// Sends a message.
    ///
    /// # Errors
    /// When the conversation is over.
    pub fn send(&mut self, message: impl Into<Message>) -> Result<()> {
        let message = match message.into() {
            Message::Text(text) => tungstenite::Message::Text(text.into()),
            Message::Binary(bytes) => tungstenite::Message::Binary(bytes),
        };
        Ok(self.inner.send(message)?)
    }

    /// Sends a ping, which the plugin's side answers by itself.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn ping(&mut self) -> Result<()> {
        Ok(self.inner.send(tungstenite::Message::Ping(Vec::new().into()))?)
    }

    /// Waits for the next message; `None` when the plugin has closed the conversation.
    ///
    /// # Errors
    /// When the plugin breaks the protocol.
    ///
    /// # Panics
    /// When nothing comes within the [patience](super::Host::patience) of the kit.
    #[track_caller]
    pub fn recv(&mut self) -> Result<Option<Message>> {
        let kit = self.inner.get_ref().0.kit;
        let what = format!("the WebSocket of {}", self.inner.get_ref().0.what());
        kit.driver().wait(&what, || self.poll_recv())
    }

    /// What [`recv`](Self::recv) gives, if it can now.
    fn poll_recv(&mut self) -> Option<Result<Option<Message>>> {
        loop {
            return match self.inner.read() {
                Ok(tungstenite::Message::Text(text)) => {
                    Some(Ok(Some(Message::Text(text.as_str().to_owned()))))
                }
                Ok(tungstenite::Message::Binary(bytes)) => Some(Ok(Some(Message::Binary(bytes)))),
                Ok(tungstenite::Message::Close(frame)) => {
                    let told = frame.map(|it| (u16::from(it.code), it.reason.as_str().to_owned()));
                    self.closed = told.or(Some((1005, String::new())));
                    continue;
                }
                Ok(_) => continue,
                Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => None,
                // Without a close frame, if it has not come before.
                Err(WsError::ConnectionClosed | WsError::AlreadyClosed) => Some(Ok(None)),
                Err(_) if self.closed.is_some() => Some(Ok(None)),
                Err(error) => Some(Err(error.into())),
            };
        }
    }

    /// Begins to close the conversation; [`recv`](Self::recv) then gives what still comes, and `None`
    /// at last.
    ///
    /// # Errors
    /// When it is over already.
    pub fn close(&mut self, code: u16, reason: &str) -> Result<()> {
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        match self.inner.close(Some(frame)).and_then(|()| self.inner.flush()) {
            Ok(()) | Err(WsError::ConnectionClosed) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The code and the reason that the plugin has closed it with, once [`recv`](Self::recv) has met
    /// the end.
    #[must_use]
    pub fn closed(&self) -> Option<(u16, &str)> {
        self.closed.as_ref().map(|(code, reason)| (*code, reason.as_str()))
    }

    /// Its connection.
    #[must_use]
    pub fn peer(&self) -> &Peer<'k> {
        &self.inner.get_ref().0
    }

    /// As [`Peer::end`].
    ///
    /// # Errors
    /// As [`Peer::end`].
    ///
    /// # Panics
    /// As [`Peer::end`].
    #[track_caller]
    pub fn end(&mut self) -> Result<()> {
        self.inner.get_mut().0.end()
    }
}

impl fmt::Debug for Socket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("closed", &self.closed).finish_non_exhaustive()
    }
}
