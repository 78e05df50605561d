//! Bodies in both directions, with the limits that hyper does not have.
//!
//! Owns [`Inbound`] (a request's body as a plugin reads it), [`Outbound`] (what hyper writes) and
//! the conversation after an upgrade.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::{
    conn::{Expired, Limit},
    core::{Core, Hold},
    io::Io,
    own::{self, Own},
};
use crate::{
    plugin::{
        call::{self, CallError},
        stream::{PluginBytes, ReplyBody, StreamError},
        upgrade::PluginUpgrade,
    },
    route::Count,
};

/// A request in flight on this core.
pub(super) type Exchange = call::Exchange<Hold, Inbound>;

/// A call in flight on this core.
pub(super) type Call = call::Call<Hold, Inbound>;

/// What a plugin wants to do with a connection after its 101.
pub(super) type Upgrade = PluginUpgrade<Hold, Inbound>;

/// A request's body: bounded in size and in the time between two pieces.
#[derive(Debug)]
pub(super) struct Inbound {
    incoming: Incoming,
    gap: Duration,
    /// Units: bytes that may still come.
    left: u64,
    /// Armed only while a piece is being waited for.
    timer: Option<Pin<Box<Sleep>>>,
    fault: ClientFault,
}

/// What a client did wrong with its body, where the handler's answer is made.
#[derive(Clone, Debug, Default)]
pub(super) struct ClientFault(Rc<Cell<Option<Own>>>);

impl ClientFault {
    /// The answer that says so.
    pub(super) fn get(&self) -> Option<Own> {
        self.0.get()
    }
}

impl Inbound {
    /// `bytes_max` 0 means unlimited.
    pub(super) fn new(incoming: Incoming, gap: Duration, bytes_max: u64) -> Self {
        let left = if bytes_max == 0 { u64::MAX } else { bytes_max };
        Self { incoming, gap, left, timer: None, fault: ClientFault::default() }
    }

    /// Where to look, when the handler fails, whether it was the client.
    pub(super) fn fault(&self) -> ClientFault {
        self.fault.clone()
    }

    fn fail(&self, own: Own, text: String) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        self.fault.0.set(Some(own));
        Poll::Ready(Some(Err(text)))
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(cx) else {
            let gap = this.gap;
            let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(gap)));
            ready!(timer.as_mut().poll(cx));
            return this.fail(own::BODY_TIMEOUT, format!("nothing of the body came for {gap:?}"));
        };
        this.timer = None;
        Poll::Ready(match frame {
            None => None,
            Some(Err(error)) => {
                let text = format!("the client's body broke off: {error}");
                return this.fail(own::BODY_BROKEN, text);
            }
            Some(Ok(frame)) => {
                let len = frame.data_ref().map_or(0, |data| data.len() as u64);
                match this.left.checked_sub(len) {
                    None => return this.fail(own::TOO_LARGE, own::TOO_LARGE.text.to_owned()),
                    Some(left) => {
                        this.left = left;
                        Some(Ok(frame))
                    }
                }
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// A response's body.
#[derive(Debug)]
pub(super) enum Outbound {
    /// The host's own.
    Own(Option<Bytes>),
    /// The plugin's, with the request it belongs to.
    Plugin(ReplyBody<Hold, Inbound>, Rc<Exchange>),
}

/// A piece of a response.
#[derive(Debug)]
pub(super) enum Data {
    Own(Bytes),
    Plugin(PluginBytes<Hold, Inbound>),
}

impl Buf for Data {
    fn remaining(&self) -> usize {
        match self {
            Self::Own(bytes) => bytes.remaining(),
            Self::Plugin(bytes) => bytes.remaining(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes.chunk(),
            Self::Plugin(bytes) => bytes.chunk(),
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Own(bytes) => bytes.advance(count),
            Self::Plugin(bytes) => bytes.advance(count),
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
            Self::Plugin(reply, exchange) => (reply, exchange),
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
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Plugin(reply, _) => reply.size_hint(),
        }
    }
}

/// Runs what the plugin wants to do with the connection, to its end. Of the limits only the one on
/// a peer that takes nothing applies: what is spoken is the plugin's business.
pub(super) async fn converse(core: &Core, upgrade: Upgrade, io: Io, limit: &mut Limit<'_>) {
    let Some(mut conversation) = upgrade.start(io) else {
        core.say_call_error(None, &CallError::Invalid("101 without a conversation".to_owned()));
        return;
    };
    let exchange = conversation.exchange().clone();
    exchange.lease().doing("upgraded");
    exchange.lease().conn().is_upgraded();
    let ended = std::future::poll_fn(|cx| {
        let conn = exchange.lease().conn();
        conn.remember(cx);
        if let Poll::Ready(ended) = exchange.lease().watched(&exchange, || conversation.poll(cx)) {
            return Poll::Ready(ended);
        }
        match limit.poll(cx) {
            Poll::Ready(Expired::Write) => Poll::Ready(Ok(())),
            _ if conn.is_aborted() => Poll::Ready(Err(CallError::Cut)),
            _ => Poll::Pending,
        }
    })
    .await;
    if let Err(error) = ended {
        exchange.lease().counters().add(match &error {
            CallError::Cut => Count::Cut,
            CallError::Panicked(_) => Count::Panic,
            CallError::Failed(_) | CallError::Invalid(_) => Count::Error,
        });
        core.say_call_error(Some(&exchange), &error);
    }
}
