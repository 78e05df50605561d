//! An executor of the plugin's own: it polls bodies and byte streams under wakers that own them, and
//! whatever else was stashed on their thread.
//!
//! Owns wakers that let go of all that as they are woken, or as they are dropped: whoever calls them
//! under a lock that its end needs too waits for itself.

use std::{
    future::{Future as _, poll_fn},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use hotseat_plugin_api::{Body, BodyError, Io, Result};

use crate::kept::{self, Ticket};

struct Owning {
    tickets: Vec<Ticket>,
    when_woken: bool,
    caller: Waker,
}

/// A waker that owns what is kept under `number`, and what is stashed.
fn owning(number: u64, when_woken: bool, caller: &Waker) -> Waker {
    let mut tickets = kept::stashed();
    tickets.push(Ticket::of(number));
    Waker::from(Arc::new(Owning { tickets, when_woken, caller: caller.clone() }))
}

impl Wake for Owning {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.when_woken {
            self.tickets.iter().for_each(Ticket::let_go);
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
        let waker = owning(number, when_woken, cx.waker());
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

/// Asks for a piece, and waits for none: how much has come.
pub(crate) async fn poll_once(body: &mut Body) -> usize {
    poll_fn(|cx| {
        let next = pin!(body.next());
        match next.poll(cx) {
            Poll::Ready(Ok(Some(piece))) => Poll::Ready(piece.len()),
            _ => Poll::Ready(0),
        }
    })
    .await
}

/// Echoes until the end, or until a waker has let go of the byte stream.
pub(crate) async fn converse(io: Io, when_woken: bool) -> Result<()> {
    let last = kept::keep(io);
    let number = last.number();
    poll_fn(|cx: &mut Context<'_>| {
        let Some(mut io) = kept::take::<Io>(number) else { return Poll::Ready(Ok(())) };
        let mut piece = [0; 1024];
        // The second waker takes the place of the first, which is dropped where it was.
        let mut wakers = 0;
        while wakers < 2 {
            let waker = owning(number, when_woken, cx.waker());
            match io.poll_read(&mut Context::from_waker(&waker), &mut piece) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Ok(())),
                // As much as the connection takes at once.
                Poll::Ready(Ok(count)) => drop(io.poll_write(cx, &piece[..count])),
                Poll::Pending => wakers += 1,
            }
        }
        kept::put(number, io);
        Poll::Pending
    })
    .await
}
