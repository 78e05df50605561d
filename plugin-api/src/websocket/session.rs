//! The state of one conversation: tungstenite over the host's byte stream.
//!
//! Owns the mapping of "would block" to a pending poll, and what ends a conversation. Knows
//! nothing of authors' futures or drains.
//! Invariant: once the close frame is queued, nothing more is handed to the author.

use std::{
    io::{self, Read, Write},
    task::{Context, Poll, Waker, ready},
};

use tungstenite::{
    Error as WsError,
    error::ProtocolError,
    protocol::{CloseFrame, Role, WebSocket, WebSocketConfig},
};

use super::{MESSAGE_MAX, Message};
use crate::{Error, Io, Result};

/// Units: bytes. One read of the connection; tungstenite's default is 128 KiB each conversation.
const READ_BUFFER: usize = 16 << 10;
/// Messages that one poll may skip before it lets others have the thread.
const SKIPS_MAX: usize = 64;

pub(super) struct Session {
    socket: WebSocket<Bridge>,
    message_max: usize,
    /// We have queued a close frame, or the conversation has ended.
    closing: bool,
    pub(super) end_on_drain: bool,
}

impl Session {
    pub(super) fn new(io: Io) -> Self {
        let bridge = Bridge { io, waker: Waker::noop().clone() };
        let socket = WebSocket::from_raw_socket(bridge, Role::Server, Some(config(MESSAGE_MAX)));
        Self { socket, message_max: MESSAGE_MAX, closing: false, end_on_drain: false }
    }

    pub(super) fn limit_messages(&mut self, bytes: usize) {
        self.message_max = bytes;
        self.socket.set_config(|it| *it = config(bytes));
    }

    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>>> {
        if self.closing {
            return Poll::Ready(Ok(None));
        }
        self.wake_with(cx);
        for _ in 0..SKIPS_MAX {
            match self.socket.read() {
                Ok(tungstenite::Message::Text(text)) => {
                    let message = Message::Text(text.as_str().to_owned());
                    return Poll::Ready(Ok(Some(message)));
                }
                Ok(tungstenite::Message::Binary(bytes)) => {
                    return Poll::Ready(Ok(Some(Message::Binary(bytes))));
                }
                // Answered by tungstenite in the next read; so is a close frame.
                Ok(_) => {}
                Err(error) if would_block(&error) => return Poll::Pending,
                Err(error) => return Poll::Ready(self.ended(error)),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut Option<Message>,
    ) -> Poll<Result<()>> {
        if message.is_some() {
            if self.closing {
                return Poll::Ready(Err(Error::new("the WebSocket is closed")));
            }
            // A send that was given up may have left its message in the buffer.
            ready!(self.poll_flush(cx))?;
        }
        if let Some(message) = message.take() {
            let (len, message) = match message {
                Message::Text(text) => (text.len(), tungstenite::Message::Text(text.into())),
                Message::Binary(bytes) => (bytes.len(), tungstenite::Message::Binary(bytes)),
            };
            if len > self.message_max {
                let text = format!("a message of {len} bytes is larger than the limit");
                return Poll::Ready(Err(Error::new(text)));
            }
            match self.socket.write(message) {
                Ok(()) => {}
                // It waits in the buffer, which the flush below empties.
                Err(error) if would_block(&error) => {}
                Err(error) => return Poll::Ready(self.ended(error).map(drop)),
            }
        }
        self.poll_flush(cx)
    }

    /// Sends what is in the buffer.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.wake_with(cx);
        match self.socket.flush() {
            Ok(()) | Err(WsError::ConnectionClosed | WsError::AlreadyClosed) => Poll::Ready(Ok(())),
            Err(error) if would_block(&error) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }

    /// Queues the close frame, if none is queued yet.
    pub(super) fn begin_close(&mut self, code: u16, reason: &str) {
        self.closing = true;
        // It is queued in any case; what the connection says shows at the flush.
        let _ = self.socket.close(Some(CloseFrame { code: code.into(), reason: reason.into() }));
    }

    /// Drives the closing handshake: sends our frame, skips what still comes, waits for theirs,
    /// ends our side.
    pub(super) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.wake_with(cx);
        for _ in 0..SKIPS_MAX {
            match self.socket.read() {
                Ok(_) => {}
                Err(error) if would_block(&error) => return Poll::Pending,
                Err(_) => return self.socket.get_mut().io.poll_shutdown(cx).map(drop),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// What the end means to the author, and what the peer is told of a fault.
    fn ended(&mut self, error: WsError) -> Result<Option<Message>> {
        let code = match &error {
            WsError::ConnectionClosed
            | WsError::AlreadyClosed
            | WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                self.closing = true;
                return Ok(None);
            }
            WsError::Capacity(_) => 1009,
            WsError::Utf8(_) => 1007,
            WsError::Protocol(_) => 1002,
            _ => 1011,
        };
        self.begin_close(code, "");
        Err(error.into())
    }

    fn wake_with(&mut self, cx: &Context<'_>) {
        self.socket.get_mut().waker.clone_from(cx.waker());
    }
}

fn config(message_max: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        // Room for one message, and for the close frame and pongs behind it.
        .max_write_buffer_size(message_max.saturating_add(64 << 10))
        .max_message_size(Some(message_max))
        .max_frame_size(Some(message_max))
}

fn would_block(error: &WsError) -> bool {
    matches!(error, WsError::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// The host's byte stream as blocking code sees one that never blocks.
struct Bridge {
    io: Io,
    /// Of the poll that is under way.
    waker: Waker,
}

impl Bridge {
    fn ask<T>(
        &mut self,
        f: impl FnOnce(&mut Io, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        match f(&mut self.io, &mut Context::from_waker(&self.waker)) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Read for Bridge {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.ask(|io, cx| io.poll_read(cx, buf))
    }
}

impl Write for Bridge {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.ask(|io, cx| io.poll_write(cx, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.ask(Io::poll_flush)
    }
}
