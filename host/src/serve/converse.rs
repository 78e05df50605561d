//! A connection after its 101: what the plugin speaks on it, to its end.

use std::{pin::pin, task::Poll};

use super::{
    answering::say,
    aside::Upgrade,
    conn::Expired,
    io::{Io, Stream},
    limit::Limit,
};
use crate::{plugin::future::CallError, route::Count};

/// Runs what the plugin wants to do with the connection, to its end, or until the client has reset
/// it. Of the limits only the one on a peer that takes nothing applies: what is spoken is the plugin's
/// business.
pub(super) async fn converse(upgrade: Upgrade, io: Io, stream: &Stream, limit: &mut Limit<'_>) {
    let exchange = upgrade.exchange().clone();
    let counters = exchange.lease().counters();
    let Some(mut conversation) = upgrade.start(io) else {
        say(&exchange, &CallError::Invalid("101 without a conversation".to_owned()));
        counters.add(Count::Error);
        return;
    };
    exchange.lease().doing("upgraded");
    exchange.lease().conn().is_upgraded();
    let mut gone = pin!(stream.gone());
    let ended = std::future::poll_fn(|cx| {
        let conn = exchange.lease().conn();
        conn.remember(cx);
        if let Poll::Ready(ended) = exchange.lease().watched(&exchange, || conversation.poll(cx)) {
            return Poll::Ready(ended);
        }
        // A plugin that has nothing to say just now would not see it.
        if gone.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        match limit.poll(cx) {
            Poll::Ready(Expired::Write) => Poll::Ready(Ok(())),
            _ if conn.is_aborted() => Poll::Ready(Err(CallError::Cut)),
            _ => Poll::Pending,
        }
    })
    .await;
    if let Err(error) = ended {
        counters.add(match &error {
            CallError::Cut => Count::Cut,
            CallError::Panicked(_) => Count::Panic,
            CallError::Failed(_) | CallError::Invalid(_) => Count::Error,
        });
        say(&exchange, &error);
    }
}
