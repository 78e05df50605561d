//! A response's body: what hyper and h2 write.
//!
//! Owns the pieces. Invariant: a piece of a plugin is let go of by the plugin room, wherever hyper
//! or h2 drop it.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};

use super::{
    hold::{self, Exchange, Hold},
    inbound::Inbound,
};
use crate::plugin::stream::{PluginBytes, ReplyBody, StreamError};

/// A response's body.
#[derive(Debug)]
pub(super) enum Outbound {
    /// The host's own.
    Own(Option<Bytes>),
    /// The plugin's, with the request it belongs to.
    Plugin(ReplyBody<Hold, Inbound>, Answered),
    /// One of so many bytes that is not sent (304): hyper keeps its length only where there is one.
    Described(u64, Answered),
}

/// The request of an answer that is on its way; the answer ends with this.
#[derive(Debug)]
pub(super) struct Answered(pub(super) Exchange);

impl Drop for Answered {
    #[inline]
    fn drop(&mut self) {
        if self.0.is_lent() {
            hold::take_back(&self.0);
        }
    }
}

/// A piece of a response.
#[derive(Debug)]
pub(super) enum Data {
    Own(Bytes),
    Plugin(PluginBytes<Hold, Inbound>),
    Part(Part),
}

/// A part of a plugin's piece, all of which is freed with the last of its parts.
#[derive(Debug)]
pub(super) struct Part {
    whole: Rc<PluginBytes<Hold, Inbound>>,
    from: usize,
    to: usize,
}

impl Data {
    /// Nothing.
    pub(super) fn empty() -> Self {
        Self::Own(Bytes::new())
    }

    /// The first `count` bytes, and the others.
    pub(super) fn split(self, count: usize) -> (Self, Self) {
        let Part { whole, from, to } = match self {
            Self::Own(mut bytes) => {
                let first = bytes.split_to(count);
                return (Self::Own(first), Self::Own(bytes));
            }
            Self::Plugin(bytes) => Part { from: 0, to: bytes.remaining(), whole: Rc::new(bytes) },
            Self::Part(part) => part,
        };
        let middle = (from + count).min(to);
        let first = Part { whole: whole.clone(), from, to: middle };
        (Self::Part(first), Self::Part(Part { whole, from: middle, to }))
    }
}

impl Buf for Data {
    fn remaining(&self) -> usize {
        match self {
            Self::Own(bytes) => bytes.remaining(),
            Self::Plugin(bytes) => bytes.remaining(),
            Self::Part(part) => part.to - part.from,
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes.chunk(),
            Self::Plugin(bytes) => bytes.chunk(),
            Self::Part(part) => &part.whole.chunk()[part.from..part.to],
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Own(bytes) => bytes.advance(count),
            Self::Plugin(bytes) => bytes.advance(count),
            Self::Part(part) => {
                assert!(count <= part.to - part.from, "advanced beyond the end");
                part.from += count;
            }
        }
    }
}

impl Outbound {
    /// The request that a plugin's body belongs to.
    pub(super) fn exchange(&self) -> Option<&Exchange> {
        match self {
            Self::Own(_) => None,
            Self::Plugin(_, Answered(exchange)) | Self::Described(_, Answered(exchange)) => {
                Some(exchange)
            }
        }
    }
}

impl Body for Outbound {
    type Data = Data;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Data>, StreamError>>> {
        let (reply, exchange) = match &mut *self {
            Self::Own(bytes) => {
                return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(Data::Own(bytes)))));
            }
            Self::Plugin(reply, Answered(exchange)) => (reply, &*exchange),
            Self::Described(..) => return Poll::Ready(None),
        };
        let polled = if reply.is_stream() {
            exchange.lease().watched(exchange, || Pin::new(reply).poll_frame(cx))
        } else {
            Pin::new(reply).poll_frame(cx)
        };
        let frame = ready!(polled);
        if let Some(Err(error)) = &frame {
            exchange.lease().body_failed(error);
        }
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(Data::Plugin))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_none(),
            Self::Plugin(reply, _) => reply.is_end_stream(),
            Self::Described(..) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Plugin(reply, _) => reply.size_hint(),
            Self::Described(len, _) => SizeHint::with_exact(*len),
        }
    }
}

impl From<Bytes> for Outbound {
    fn from(bytes: Bytes) -> Self {
        Self::Own(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}
