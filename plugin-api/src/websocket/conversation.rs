//! The life of a conversation: the author's future, the drain, the closing handshake.
//!
//! Owns when and with which code a conversation is closed. Knows nothing of frames.
//! Invariant: whatever the author's future does, a drained conversation gets its close frame, and
//! the end takes a bounded time.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{self, Poll},
    time::Duration,
};

use super::{WebSocket, session::Session};
use crate::{Context, Io, Result, context::Phase};

/// What the author's future, and then the peer's close frame, may take once we have sent ours.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// Lets `converse` have the connection until it ends or the generation does.
pub(super) async fn hold<F, C>(io: Io, context: Context, converse: C) -> Result<()>
where
    F: Future<Output = Result<()>> + 'static,
    C: FnOnce(WebSocket) -> F + 'static,
{
    let session = Rc::new(RefCell::new(Session::new(io)));
    let mut author = Box::pin(converse(WebSocket { session: Rc::clone(&session) }));
    let outcome = match until_drained(author.as_mut(), &session, &context).await {
        Some(outcome) => {
            let (code, reason) = if outcome.is_ok() { (1000, "") } else { (1011, "") };
            session.borrow_mut().begin_close(code, reason);
            outcome
        }
        None => {
            session.borrow_mut().begin_close(1012, "service restart");
            // `recv` gives `None` from now on, so that the author's future can come to its end.
            let ended = poll_fn(|cx| {
                // A failure shows again below.
                let _ = session.borrow_mut().poll_flush(cx);
                author.as_mut().poll(cx)
            });
            within(&context, ended).await.unwrap_or(Ok(()))
        }
    };
    drop(author);
    within(&context, poll_fn(|cx| session.borrow_mut().poll_finish(cx))).await;
    outcome
}

/// What the author's future ends with, or `None` when the drain comes first.
async fn until_drained<F: Future>(
    mut author: Pin<&mut F>,
    session: &RefCell<Session>,
    context: &Context,
) -> Option<F::Output> {
    let mut requested = pin!(context.reached(Phase::Requested));
    let mut last_call = pin!(context.reached(Phase::LastCall));
    let mut is_requested = false;
    poll_fn(|cx: &mut task::Context<'_>| {
        if let Poll::Ready(outcome) = author.as_mut().poll(cx) {
            return Poll::Ready(Some(outcome));
        }
        is_requested = is_requested || requested.as_mut().poll(cx).is_ready();
        let ends_now = is_requested && session.borrow().end_on_drain;
        if ends_now || last_call.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        Poll::Pending
    })
    .await
}

/// What `future` gives, if it does so within [`CLOSE_WAIT`].
async fn within<F: Future>(context: &Context, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut time = pin!(context.sleep(CLOSE_WAIT));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => time.as_mut().poll(cx).map(|()| None),
    })
    .await
}
