//! A request's body.
//!
//! Owns the adapter between a stream of the host and `http_body`. Knows nothing of requests.
//! Invariant: nothing is read before it is asked for, and no piece is copied.
#![expect(unsafe_code, reason = "polls a raw stream of the host")]

use std::{
    fmt,
    future::poll_fn,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Frame, SizeHint};

#[cfg(feature = "service")]
use crate::entry;
use crate::{
    abi::{self, UNKNOWN_LEN, poll},
    owned::{OwnedBytes, OwnedHeaders, OwnedStream},
    request::{HeaderIter, to_map},
    waker,
};

/// A body that arrives piece by piece. It is an [`http_body::Body`] too, so it can be answered
/// with [`Response::stream`](crate::Response::stream).
///
/// # Ownership
/// Owned: it may outlive the call that it belongs to. The pieces may outlive the body.
///
/// # Threads
/// Stays on its request's thread; the pieces may go anywhere.
#[derive(Debug)]
pub struct Body {
    stream: Option<OwnedStream>,
    trailers: Option<HeaderMap>,
}

/// Why a body could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyError {
    /// It is longer than the caller allows. Units: bytes.
    TooLarge {
        /// What was allowed.
        limit: usize,
    },
    /// It is not UTF-8.
    NotText,
    /// The client or the connection failed.
    Broken(String),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => write!(f, "the body is longer than {limit} bytes"),
            Self::NotText => f.write_str("the body is not UTF-8"),
            Self::Broken(text) => write!(f, "the body broke off: {text}"),
        }
    }
}

impl std::error::Error for BodyError {}

impl Body {
    pub(crate) fn empty() -> Self {
        Self { stream: None, trailers: None }
    }

    pub(crate) fn from_host(stream: OwnedStream) -> Self {
        Self { stream: Some(stream), trailers: None }
    }

    /// Whether the host lets it be read and dropped on any thread.
    #[cfg(feature = "service")]
    pub(crate) fn is_free(&self) -> bool {
        self.stream.as_ref().is_none_or(|stream| {
            entry!(stream.0.vt.cast() => BodyVt.any_thread).is_some_and(|any| any != 0)
        })
    }

    /// Bytes still to come, if the client has said.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        let Some(stream) = &self.stream else { return Some(0) };
        // SAFETY: a stream's table lives as long as the stream.
        let len = unsafe { (*stream.0.vt).len };
        // SAFETY: `data` belongs to the table.
        let len = unsafe { len(stream.0.data) };
        (len != UNKNOWN_LEN).then_some(len)
    }

    /// The next piece, `None` at the end.
    ///
    /// # Errors
    /// [`BodyError::Broken`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            match poll_fn(|cx| self.poll_piece(cx)).await {
                None => return Ok(None),
                Some(Err(error)) => return Err(error),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => return Ok(Some(piece)),
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
            }
        }
    }

    /// The whole rest.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] when it is longer than `limit` bytes, [`BodyError::Broken`].
    pub async fn bytes(mut self, limit: usize) -> Result<Bytes, BodyError> {
        let too_large = || BodyError::TooLarge { limit };
        if self.remaining().is_some_and(|len| usize::try_from(len).is_ok_and(|len| len > limit)) {
            return Err(too_large());
        }
        let mut first = Bytes::new();
        while first.is_empty() {
            match self.next().await? {
                Some(piece) => first = piece,
                None => return Ok(first),
            }
        }
        let mut all: Option<BytesMut> = None;
        let mut len = first.len();
        while len <= limit {
            let Some(piece) = self.next().await? else {
                return Ok(all.map_or(first, BytesMut::freeze));
            };
            len = len.saturating_add(piece.len());
            if len <= limit && !piece.is_empty() {
                all.get_or_insert_with(|| BytesMut::from(&first[..])).extend_from_slice(&piece);
            }
        }
        Err(too_large())
    }

    /// The whole rest as text.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes), and [`BodyError::NotText`].
    pub async fn text(self, limit: usize) -> Result<String, BodyError> {
        String::from_utf8(self.bytes(limit).await?.into()).map_err(|_| BodyError::NotText)
    }

    /// The trailers, once [`next`](Self::next) has met the end.
    #[must_use]
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(stream) = &self.stream else { return Poll::Ready(None) };
        // SAFETY: a stream's table lives as long as the stream.
        let poll_next = unsafe { (*stream.0.vt).poll_next };
        let mut out = MaybeUninit::<abi::Frame>::uninit();
        let code = waker::with_abi(cx.waker(), |waker| {
            // SAFETY: the stream has not ended, and `out` has room for a frame.
            unsafe { poll_next(stream.0.data, waker, out.as_mut_ptr()) }
        });
        match code {
            poll::PENDING => Poll::Pending,
            poll::READY => {
                // SAFETY: filled on READY.
                let frame = frame(unsafe { out.assume_init() });
                Poll::Ready(Some(frame))
            }
            poll::FAILED => {
                self.stream = None;
                // SAFETY: on FAILED the frame's data is an error's text.
                let text =
                    unsafe { OwnedBytes::from_abi((&raw const (*out.as_ptr()).data).read()) };
                Poll::Ready(Some(Err(BodyError::Broken(text.to_text()))))
            }
            poll::END => {
                self.stream = None;
                Poll::Ready(None)
            }
            _ => {
                self.stream = None;
                Poll::Ready(Some(Err(BodyError::Broken("the host failed".to_owned()))))
            }
        }
    }
}

fn frame(raw: abi::Frame) -> Result<Frame<Bytes>, BodyError> {
    let abi::Frame { data, trailers } = raw;
    // SAFETY: a frame is the receiver's.
    let data = unsafe { OwnedBytes::from_abi(data) };
    let trailers = OwnedHeaders(trailers);
    if trailers.0.vt.is_null() {
        return Ok(Frame::data(data.into()));
    }
    to_map(HeaderIter::new(trailers.0))
        .map(Frame::trailers)
        .map_err(|error| BodyError::Broken(error.to_string()))
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.poll_piece(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
