//! A plugin's bytes and streams, turned into a response body.
//!
//! Owns every conversion from [`abi::Bytes`], [`abi::Frame`] and [`abi::Stream`]; the way there is
//! `body`'s. Knows nothing of sockets or time limits.
//!
//! # Invariants
//! - A value of the plugin is dropped in the plugin's code, before its exchange, and through
//!   [`release`].
//! - A body is never longer or shorter than it promised: the first byte too many, or an end too
//!   soon, is an error.
#![expect(unsafe_code, reason = "crosses the ABI")]

use std::{
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Buf;
use hotseat_plugin_api::abi;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::{
    exchange::{Exchange, Lease, RequestBody},
    header,
    release::{self, Leaving},
    waker::HostWaker,
};

/// Bytes that a plugin made, read in place.
pub struct PluginBytes<L: Lease, B: RequestBody> {
    bytes: abi::Bytes,
    read: usize,
    exchange: Exchange<L, B>,
}

impl<L: Lease, B: RequestBody> std::fmt::Debug for PluginBytes<L, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginBytes").field("len", &self.bytes.len).finish_non_exhaustive()
    }
}

impl<L: Lease, B: RequestBody> PluginBytes<L, B> {
    /// Takes bytes over. The error says what is wrong with them.
    pub(super) fn new(bytes: abi::Bytes, exchange: Exchange<L, B>) -> Result<Self, String> {
        let (missing, len) = (bytes.ptr.is_null() && bytes.len > 0, bytes.len);
        // Freed in either case.
        let this = Self { bytes, read: 0, exchange };
        if missing || isize::try_from(len).is_err() {
            return Err(format!("{len} bytes that are not there"));
        }
        Ok(this)
    }

    /// A copy as text, bounded: an error's message. Frees the bytes.
    pub(super) fn into_text(bytes: abi::Bytes, exchange: Exchange<L, B>) -> String {
        match Self::new(bytes, exchange) {
            Ok(this) => {
                let bytes = this.as_slice();
                String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]).into_owned()
            }
            Err(wrong) => format!("an error whose text is {wrong}"),
        }
    }

    fn as_slice(&self) -> &[u8] {
        let bytes = abi::Str { ptr: self.bytes.ptr, len: self.bytes.len };
        // SAFETY: the plugin owns the bytes unchanged until `drop`, which is ours to call.
        unsafe { &bytes.bytes()[self.read..] }
    }
}

impl<L: Lease, B: RequestBody> Drop for PluginBytes<L, B> {
    #[inline]
    fn drop(&mut self) {
        release::let_go_of_bytes(&mut self.bytes, || self.exchange.keeper());
    }
}

impl<L: Lease, B: RequestBody> Buf for PluginBytes<L, B> {
    fn remaining(&self) -> usize {
        self.bytes.len - self.read
    }

    fn chunk(&self) -> &[u8] {
        self.as_slice()
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.remaining(), "advanced beyond the end");
        self.read += count;
    }
}

/// A plugin's response body.
pub struct ReplyBody<L: Lease, B: RequestBody> {
    kind: BodyKind<L, B>,
}

enum BodyKind<L: Lease, B: RequestBody> {
    /// Nothing (more) to come. The exchange ends with the body, not before.
    Empty {
        _exchange: Exchange<L, B>,
    },
    Bytes(PluginBytes<L, B>),
    Stream(PluginStream<L, B>),
}

/// One piece of a body that a plugin makes while it is sent.
type Piece<L, B> = Result<Frame<PluginBytes<L, B>>, StreamError>;

struct PluginStream<L: Lease, B: RequestBody> {
    stream: abi::Stream,
    /// Units: bytes still to come; `None` where none were promised.
    left: Option<u64>,
    /// A client takes it for no whole, wherever it ends.
    is_endless: bool,
    exchange: Exchange<L, B>,
}

impl<L: Lease, B: RequestBody> Drop for PluginStream<L, B> {
    fn drop(&mut self) {
        let abi::Stream { data, vt } = self.stream;
        let stream = abi::Stream { data, vt };
        release::let_go(Leaving::Stream(stream, self.exchange.keeper()));
    }
}

impl<L: Lease, B: RequestBody> std::fmt::Debug for ReplyBody<L, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReplyBody")
    }
}

/// Why a plugin's stream ended early. Owned text.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The plugin reported it.
    #[error("the plugin's body failed: {0}")]
    Failed(String),
    /// The plugin panicked while it made the body.
    #[error("the plugin panicked in its body")]
    Panicked,
    /// It broke its own promise, or something of it is no HTTP.
    #[error("the plugin's body holds {0}")]
    Invalid(String),
    /// The stream was cut at a drain limit before its end.
    #[error("cut at the drain limit")]
    Cut,
}

impl<L: Lease, B: RequestBody> ReplyBody<L, B> {
    pub(super) fn empty(exchange: Exchange<L, B>) -> Self {
        Self { kind: BodyKind::Empty { _exchange: exchange } }
    }

    pub(super) fn bytes(bytes: PluginBytes<L, B>) -> Self {
        if bytes.remaining() == 0 {
            return Self::empty(bytes.exchange.clone());
        }
        Self { kind: BodyKind::Bytes(bytes) }
    }

    /// Takes a stream over. The error says what is wrong with it.
    pub(super) fn stream(stream: abi::Stream, exchange: Exchange<L, B>) -> Result<Self, String> {
        if !release::can_free(&stream) {
            return Err("a stream without its functions".to_owned());
        }
        let mut stream = PluginStream { stream, left: None, is_endless: false, exchange };
        stream.left = Some(stream.len()).filter(|len| *len != abi::UNKNOWN_LEN);
        Ok(Self { kind: BodyKind::Stream(stream) })
    }

    /// Whether the plugin makes the body piece by piece.
    pub fn is_stream(&self) -> bool {
        matches!(self.kind, BodyKind::Stream(_))
    }

    /// Events, of which none is the last: clients begin anew where they end.
    pub(super) fn may_end_anywhere(&mut self) {
        if let BodyKind::Stream(stream) = &mut self.kind {
            stream.is_endless = true;
        }
    }

    /// Holds the body to the length that its header field promises. The error says how they differ.
    pub(super) fn promise(&mut self, len: u64) -> Result<(), String> {
        if let BodyKind::Stream(stream) = &mut self.kind {
            stream.left.get_or_insert(len);
        }
        match self.size_hint().exact() {
            Some(own) if own != len => {
                Err(format!("a `content-length` of {len} with a body of {own} bytes"))
            }
            _ => Ok(()),
        }
    }
}

impl<L: Lease, B: RequestBody> Body for ReplyBody<L, B> {
    type Data = PluginBytes<L, B>;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, StreamError>>> {
        let exchange = match &mut self.kind {
            BodyKind::Empty { .. } => return Poll::Ready(None),
            BodyKind::Stream(stream) => return stream.poll_frame(cx),
            BodyKind::Bytes(bytes) => bytes.exchange.clone(),
        };
        let whole = std::mem::replace(&mut self.kind, BodyKind::Empty { _exchange: exchange });
        match whole {
            BodyKind::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            BodyKind::Empty { .. } | BodyKind::Stream(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.kind, BodyKind::Empty { .. })
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            BodyKind::Empty { .. } => SizeHint::with_exact(0),
            BodyKind::Bytes(bytes) => SizeHint::with_exact(bytes.remaining() as u64),
            BodyKind::Stream(stream) => stream.left.map(SizeHint::with_exact).unwrap_or_default(),
        }
    }
}

impl<L: Lease, B: RequestBody> PluginStream<L, B> {
    fn len(&self) -> u64 {
        let _entered = self.exchange.enter();
        // SAFETY: the stream is ours and not dropped; its table has the entries of the base version,
        // and is read entry by entry because it may be shorter than ours.
        unsafe { ((&raw const (*self.stream.vt).len).read())(self.stream.data) }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece<L, B>>> {
        if self.exchange.is_cut() {
            // What does not come to its end must not look as if it had, with or without a length.
            let whole = self.left == Some(0) || self.left.is_none() && self.is_endless;
            return Poll::Ready(if whole { None } else { Some(Err(StreamError::Cut)) });
        }
        let mut out = MaybeUninit::<abi::Frame>::uninit();
        let code = {
            let waker = HostWaker::new(cx.waker());
            let _entered = self.exchange.enter();
            // SAFETY: as in `len`; a body that has ended is not polled.
            unsafe {
                let poll_next = (&raw const (*self.stream.vt).poll_next).read();
                poll_next(self.stream.data, waker.as_ptr(), out.as_mut_ptr())
            }
        };
        Poll::Ready(match code {
            abi::poll::PENDING => {
                self.exchange.wait(cx);
                return Poll::Pending;
            }
            abi::poll::END => match self.left {
                None | Some(0) => None,
                Some(left) => {
                    let wrong = format!("{left} bytes less than it promised");
                    Some(Err(StreamError::Invalid(wrong)))
                }
            },
            abi::poll::READY => {
                // SAFETY: `READY`: the frame is filled.
                Some(unsafe { self.take(out.assume_init()) })
            }
            abi::poll::FAILED => {
                // SAFETY: `FAILED`: the frame is filled, its data is the text.
                let frame = unsafe { out.assume_init() };
                let text = PluginBytes::into_text(frame.data, self.exchange.clone());
                Some(Err(StreamError::Failed(text)))
            }
            abi::poll::PANICKED => Some(Err(StreamError::Panicked)),
            other => Some(Err(StreamError::Invalid(format!("the poll code {other}")))),
        })
    }

    /// # Safety
    /// `frame` must come from a poll of this stream.
    unsafe fn take(&mut self, frame: abi::Frame) -> Piece<L, B> {
        let data = PluginBytes::new(frame.data, self.exchange.clone());
        if frame.trailers.vt.is_null() {
            let data = data.map_err(StreamError::Invalid)?;
            if let Some(left) = &mut self.left {
                let len = data.remaining() as u64;
                *left = left.checked_sub(len).ok_or_else(|| {
                    StreamError::Invalid(format!("{} bytes more than it promised", len - *left))
                })?;
            }
            return Ok(Frame::data(data));
        }
        if let Some(left @ 1..) = self.left {
            return Err(StreamError::Invalid(format!("{left} bytes less than it promised")));
        }
        let _entered = self.exchange.enter();
        let mut trailers = HeaderMap::new();
        // SAFETY: the frame's trailers are valid and ours.
        let taken =
            unsafe { header::take(frame.trailers, header::Framing::Trailers, &mut trailers) };
        taken.map(|_| Frame::trailers(trailers)).map_err(StreamError::Invalid)
    }
}
