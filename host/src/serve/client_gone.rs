//! Who waits for a client's end.
//!
//! hyper does not read while a handler works, so nobody hears of a client that closes its side. The
//! connection's task looks for it from the moment on that somebody asks, and only then.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
};

use slab::Slab;

/// Those who wait for the end of one connection's client.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    wakers: RefCell<Slab<Waker>>,
    /// It has gone, or has closed its side.
    over: Cell<bool>,
}

impl Watchers {
    /// Whether there is nothing more to tell.
    fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Whether somebody waits.
    pub(super) fn is_watched(&self) -> bool {
        !self.is_over() && !self.wakers.borrow().is_empty()
    }

    /// Tells them. Their wakers go with who has them.
    pub(super) fn tell(&self) {
        self.over.set(true);
        let wakers: Vec<_> = self.wakers.borrow().iter().map(|(_, it)| it.clone()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Ends when a connection's client has gone, or has closed its side. A plugin may keep it beyond
/// everything: it holds nothing.
#[derive(Debug)]
pub(super) struct ClientGone {
    watchers: Weak<Watchers>,
    place: Option<usize>,
}

impl ClientGone {
    pub(super) fn of(watchers: &Rc<Watchers>) -> Self {
        Self { watchers: Rc::downgrade(watchers), place: None }
    }
}

impl Future for ClientGone {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(watchers) = self.watchers.upgrade().filter(|it| !it.is_over()) else {
            return Poll::Ready(());
        };
        let mut wakers = watchers.wakers.borrow_mut();
        let waker = cx.waker().clone();
        let before = match self.place.and_then(|place| wakers.get_mut(place)) {
            Some(place) => Some(std::mem::replace(place, waker)),
            None => {
                self.place = Some(wakers.insert(waker));
                None
            }
        };
        // It may be anybody's.
        drop(wakers);
        drop(before);
        Poll::Pending
    }
}

impl Drop for ClientGone {
    fn drop(&mut self) {
        let Some(watchers) = self.watchers.upgrade() else { return };
        let waker = self.place.and_then(|place| watchers.wakers.borrow_mut().try_remove(place));
        drop(waker);
    }
}
