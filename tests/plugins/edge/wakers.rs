//! An executor of the plugin's own: it polls the request's body under wakers that own the body.
//!
//! Owns wakers that let go of the body as they are woken, or as they are dropped: whoever calls them
//! under a lock that the body's end needs too waits for itself.

use std::{
    future::{Future as _, poll_fn},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use hotseat_plugin_api::{Body, BodyError};

use crate::kept::{self, Ticket};

struct Owning {
    ticket: Ticket,
    when_woken: bool,
    caller: Waker,
}

impl Wake for Owning {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.when_woken {
            self.ticket.let_go();
        }
        self.caller.wake_by_ref();
    }
}

/// Reads until the end, or until a waker has let go of the body: how much was read.
pub(crate) async fn read(body: Body, when_woken: bool) -> Result<usize, BodyError> {
    let mut length = 0;
    // Lets go of it when the request ends before the body does.
    let last = kept::keep(body);
    let number = last.number();
    poll_fn(|cx: &mut Context<'_>| {
        let Some(mut body) = kept::take::<Body>(number) else { return Poll::Ready(Ok(length)) };
        let ticket = Ticket::of(number);
        let waker =
            Waker::from(Arc::new(Owning { ticket, when_woken, caller: cx.waker().clone() }));
        loop {
            let polled = {
                let next = pin!(body.next());
                next.poll(&mut Context::from_waker(&waker))
            };
            match polled {
                Poll::Ready(Ok(Some(piece))) => length += piece.len(),
                Poll::Ready(Ok(None)) => return Poll::Ready(Ok(length)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
        }
        // From here on the waker owns it, of which the host has a clone.
        kept::put(number, body);
        Poll::Pending
    })
    .await
}
