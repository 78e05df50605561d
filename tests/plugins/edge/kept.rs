//! Things of one data thread that are owned from places that may go anywhere.
//!
//! Owns a thread-local of bodies and byte streams, which stay on their thread, and the tickets by
//! which the owner of an answer's bytes or a waker lets go of one. A ticket that is dropped on
//! another thread lets go of nothing.

use std::{
    any::Any,
    cell::RefCell,
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use hotseat_plugin_api::{Body, BodyError, Bytes};

/// Pieces of an answer's stream. Units: bytes.
pub(crate) const PIECE: usize = 16 << 10;

thread_local! {
    static KEPT: RefCell<BTreeMap<u64, Box<dyn Any>>> = const { RefCell::new(BTreeMap::new()) };
    static STASHED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Tickets so far, of all threads: one that strays must not meet another thread's thing.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Lets go of a thing when it is dropped.
pub(crate) struct Ticket {
    number: u64,
    holds: bool,
}

/// Keeps `thing` until its ticket is dropped.
pub(crate) fn keep<T: 'static>(thing: T) -> Ticket {
    let number = COUNT.fetch_add(1, Relaxed);
    put(number, thing);
    Ticket::of(number)
}

/// Puts back what [`take`] has given, or nothing that was there.
pub(crate) fn put<T: 'static>(number: u64, thing: T) {
    KEPT.with_borrow_mut(|all| all.insert(number, Box::new(thing)));
}

/// What is kept under `number`, if it still is.
pub(crate) fn take<T: 'static>(number: u64) -> Option<T> {
    let kept = KEPT.try_with(|all| all.borrow_mut().remove(&number)).ok()??;
    kept.downcast().ok().map(|thing| *thing)
}

/// A ticket for each thing that was stashed on this thread; it has none any more.
pub(crate) fn stashed() -> Vec<Ticket> {
    STASHED.take().into_iter().map(Ticket::of).collect()
}

impl Ticket {
    /// One more ticket of a thing: the first that is dropped lets go of it.
    pub(crate) fn of(number: u64) -> Self {
        Self { number, holds: true }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Lets go of the thing now.
    pub(crate) fn let_go(&self) {
        let thing = KEPT.try_with(|all| all.borrow_mut().remove(&self.number));
        drop(thing);
    }

    /// Leaves the thing where it is, for whoever takes what was [`stashed`].
    pub(crate) fn stash(mut self) {
        self.holds = false;
        STASHED.with_borrow_mut(|all| all.push(self.number));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.holds {
            self.let_go();
        }
    }
}

/// Reads every body that was stashed on this thread: how much it was.
pub(crate) async fn read_stashed() -> Result<usize, BodyError> {
    let mut length = 0;
    for ticket in stashed() {
        let Some(mut body) = take::<Body>(ticket.number()) else { continue };
        while let Some(piece) = body.next().await? {
            length += piece.len();
        }
    }
    Ok(length)
}

/// `size` letters.
pub(crate) fn letters(size: usize) -> Bytes {
    static LETTERS: [u8; PIECE] = [b'e'; PIECE];
    match LETTERS.get(..size) {
        Some(letters) => Bytes::from_static(letters),
        None => vec![b'e'; size].into(),
    }
}

/// `size` letters whose owner also owns `with` and `and`, which are dropped where the host frees
/// the bytes.
pub(crate) fn owned<A, B>(size: usize, with: Option<A>, and: Option<B>) -> Bytes
where
    A: Send + 'static,
    B: Send + 'static,
{
    struct Owner<T> {
        letters: Bytes,
        _owned: T,
    }

    impl<T> AsRef<[u8]> for Owner<T> {
        fn as_ref(&self) -> &[u8] {
            &self.letters
        }
    }

    let letters = letters(size);
    if with.is_none() && and.is_none() {
        return letters;
    }
    Bytes::from_owner(Owner { letters, _owned: (with, and) })
}
