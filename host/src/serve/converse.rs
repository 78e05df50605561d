//! A connection after its 101: what the plugin speaks on it, to its end.

use std::task::Poll;

use super::{
    answering::say,
    aside::Upgrade,
    conn::{Expired, Limit},
    io::Io,
};
use crate::{plugin::call::CallError, route::Count};

/// Runs what the plugin wants to do with the connection, to its end. Of the limits only the one on
/// a peer that takes nothing applies: what is spoken is the plugin's business.
pub(super) async fn converse(upgrade: Upgrade, io: Io, limit: &mut Limit<'_>) {
    let exchange = upgrade.exchange().clone();
    let counters = exchange.lease().counters();
    let Some(mut conversation) = upgrade.start(io) else {
        say(&exchange, &CallError::Invalid("101 without a conversation".to_owned()));
        counters.add(Count::Error);
        return;
    };
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
        counters.add(match &error {
            CallError::Cut => Count::Cut,
            CallError::Panicked(_) => Count::Panic,
            CallError::Failed(_) | CallError::Invalid(_) => Count::Error,
        });
        say(&exchange, &error);
    }
}
