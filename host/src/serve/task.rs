//! Tasks of a data thread.
//!
//! Owns the one way to start them. A task's polls, and its end, are each a scope in which nothing of
//! a plugin is let go of: hyper, h2 and the runtime are polled there, and hold locks of their own.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tokio::task::{JoinHandle, spawn_local};

use crate::plugin::release;

pin_project! {
    /// A future whose polls and drop are scopes.
    struct Scoped<F> {
        #[pin]
        inner: Option<F>,
    }

    impl<F> PinnedDrop for Scoped<F> {
        fn drop(this: Pin<&mut Self>) {
            release::scope(|| this.project().inner.set(None));
        }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut inner = self.project().inner;
        release::scope(|| {
            let polled = inner.as_mut().as_pin_mut().map(|inner| inner.poll(cx));
            let polled = polled.unwrap_or(Poll::Pending);
            if polled.is_ready() {
                // What is left of it ends here as well, not where the runtime drops it.
                inner.set(None);
            }
            polled
        })
    }
}

/// Starts a task on this thread.
pub(super) fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    spawn_local(Scoped { inner: Some(future) })
}

/// Makes `future` the one that a data thread runs: whenever something of a plugin is to be let go of
/// between two tasks, it is polled, and that goes.
pub(super) async fn lead<F: Future>(future: F) -> F::Output {
    let mut scoped = std::pin::pin!(Scoped { inner: Some(future) });
    let output = std::future::poll_fn(|cx| {
        release::emptied_by(cx);
        scoped.as_mut().poll(cx)
    })
    .await;
    release::emptied_by_nobody();
    output
}
