//! Letting go of what a plugin made, outside every lock that is not ours.
//!
//! h2 and tokio free answer bytes and wake and drop wakers inside locks of their own. Code of a plugin
//! that ran there could come back to the same lock (the last bytes of an answer hold the request, whose
//! body is h2's) or hold it for as long as it likes. So nothing of a plugin is freed or woken where it
//! happens to fall: inside a [`scope`] it goes into one place per thread, which is emptied on the same
//! thread after the outermost one has ended.
//!
//! Owns that place, and every call of a plugin's `drop` and `wake` functions. Knows nothing of what
//! the values are for.
//!
//! # HTTP/1
//! hyper's HTTP/1 has no lock, and what a request holds of hyper's read buffer must be gone before hyper
//! reads on: else that buffer is made anew for each request (300 ns). So its polls are a [`turn`]
//! without a scope, in which values go at once. Wakers wait for the end of the turn all the same:
//! whoever calls them is in the middle of something.
//!
//! # Invariants
//! - Whoever polls or drops h2 does so inside a [`scope`], and every function of the host that a plugin
//!   calls and that reaches hyper, h2 or tokio opens one.
//! - A value is freed in its own library's code ([`enter`]), and before what keeps that
//!   library loaded.
//! - While something is being let go of, this module holds no borrow: destructors may let go of more.
#![expect(unsafe_code, reason = "calls a plugin's drop and wake functions")]

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    mem::ManuallyDrop,
    rc::Rc,
    sync::Arc,
    task::{Context, Waker},
};

use hotseat_plugin_api::{abi, entry};

use hotseat_unload::{LibraryId, LibraryLease, enter};

use super::shield::shield;

mod foreign;

pub(super) use self::foreign::Foreign;

/// Keeps a library loaded as long as it is held.
pub(super) trait Keep {
    /// The library.
    fn library(&self) -> LibraryId;
}

/// What keeps the library of a plugin's value loaded. Dropped after the value.
pub(super) type Keeper = Rc<dyn Keep>;

/// Something to let go of.
pub(super) enum Leaving {
    /// Nothing but what keeps the library: the request and its lease may end with it.
    Keeper(Keeper),
    Bytes(abi::Bytes, Keeper),
    Stream(abi::Stream, Keeper),
    /// A future's data and its `drop`.
    Future((*mut (), unsafe extern "C" fn(*mut ())), Keeper),
    Upgrade(abi::Upgrade, Keeper),
    /// A plugin's waker that is to be woken.
    Wake(Arc<Foreign>),
    Waker(abi::Waker, LibraryLease),
}

impl Leaving {
    /// A future that is not used again.
    pub(super) fn future<T>(future: &abi::Future<T>, keeper: Keeper) -> Self {
        Self::Future((future.data, future.drop), keeper)
    }

    fn go(self) {
        match self {
            Self::Keeper(keeper) => drop(keeper),
            Self::Bytes(bytes, keeper) => {
                if let Some(free) = bytes.drop {
                    let _entered = enter(keeper.library());
                    // SAFETY: the maker's own function with its own values; whoever handed the
                    // value over owned it and does not use it again.
                    unsafe { free(bytes.owner, bytes.ptr, bytes.len) }
                }
            }
            Self::Stream(stream, keeper) => {
                let _entered = enter(keeper.library());
                // SAFETY: checked to be there when the stream was taken over; read alone, because
                // the table may be shorter than ours.
                let free = unsafe { (&raw const (*stream.vt).drop).read() };
                // SAFETY: as for bytes.
                unsafe { free(stream.data) }
            }
            Self::Future((data, free), keeper) => {
                let _entered = enter(keeper.library());
                // SAFETY: as for bytes.
                unsafe { free(data) }
            }
            Self::Upgrade(upgrade, keeper) => {
                if let Some(free) = upgrade.drop {
                    let _entered = enter(keeper.library());
                    // SAFETY: as for bytes; it was never started.
                    unsafe { free(upgrade.data) }
                }
            }
            Self::Wake(foreign) => foreign.wake_now(),
            Self::Waker(mut waker, lease) => {
                let _entered = enter(lease.library());
                // SAFETY: a live waker's table reaches to `drop`, its last entry of the base version.
                let free = unsafe { (&raw const (*waker.vt).drop).read() };
                // SAFETY: as for bytes.
                unsafe { free(&raw mut waker) }
            }
        }
    }
}

/// One thread's place.
struct Place {
    /// Scopes that this thread is in.
    depth: Cell<u32>,
    /// Turns that it is in.
    turns: Cell<u32>,
    emptying: Cell<bool>,
    // Without a destructor, so it works to the thread's last instruction.
    leaving: RefCell<ManuallyDrop<VecDeque<Leaving>>>,
    /// To be woken, or freed, at the end of the turn.
    wakers: RefCell<ManuallyDrop<VecDeque<Leaving>>>,
    emptier: RefCell<ManuallyDrop<Option<Waker>>>,
}

thread_local! {
    static PLACE: Place = const {
        Place {
            depth: Cell::new(0),
            turns: Cell::new(0),
            emptying: Cell::new(false),
            leaving: RefCell::new(ManuallyDrop::new(VecDeque::new())),
            wakers: RefCell::new(ManuallyDrop::new(VecDeque::new())),
            emptier: RefCell::new(ManuallyDrop::new(None)),
        }
    };
}

/// Lets go of something: at once where no [`scope`] is open, else when the outermost one ends.
#[inline]
pub(super) fn let_go(leaving: Leaving) {
    PLACE.with(|place| {
        if matches!(leaving, Leaving::Wake(_) | Leaving::Waker(..)) {
            place.put(&place.wakers, leaving);
        } else if place.depth.get() == 0 && place.turns.get() > 0 {
            // A plugin's destructors catch their own panics; hyper catches none of ours.
            shield(|| leaving.go());
        } else {
            place.put(&place.leaving, leaving);
        }
    });
}

/// Whether a stream has its functions, the last of which frees it.
pub(super) fn can_free(stream: &abi::Stream) -> bool {
    !stream.vt.is_null() && entry!(stream.vt => StreamVt.drop).is_some()
}

/// Lets go of bytes that are not used again; nothing where they are nobody's.
#[inline]
pub(super) fn let_go_of_bytes(bytes: &mut abi::Bytes, keeper: impl FnOnce() -> Keeper) {
    let abi::Bytes { ptr, len, owner, .. } = *bytes;
    if let Some(free) = bytes.drop.take() {
        let bytes = abi::Bytes { ptr, len, owner, drop: Some(free) };
        let_go(Leaving::Bytes(bytes, keeper()));
    }
}

impl Place {
    #[inline]
    fn put(&self, queue: &RefCell<ManuallyDrop<VecDeque<Leaving>>>, leaving: Leaving) {
        queue.borrow_mut().push_back(leaving);
        if self.depth.get() == 0 && self.turns.get() == 0 {
            self.outside();
        }
    }

    /// What was put came outside every scope and turn.
    #[cold]
    fn outside(&self) {
        // By the runtime itself, between two tasks: that is one of its polls too.
        if let Some(emptier) = &**self.emptier.borrow() {
            return emptier.wake_by_ref();
        }
        empty();
    }

    /// Ends a scope or a turn.
    #[inline]
    fn leave(&self, level: &Cell<u32>) {
        level.set(level.get() - 1);
        if level.get() == 0 && self.depth.get() == 0 {
            empty();
        }
    }
}

/// Ends a scope also when what runs in it panics.
struct Inside(fn(&Place) -> &Cell<u32>);

impl Inside {
    #[inline]
    fn begin(level: fn(&Place) -> &Cell<u32>) -> Self {
        PLACE.with(|place| level(place).set(level(place).get() + 1));
        Self(level)
    }
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        PLACE.with(|place| place.leave((self.0)(place)));
    }
}

/// Runs `work`, which may poll or drop h2, or reach the runtime for a plugin; what is let go of
/// meanwhile goes afterwards.
#[inline]
pub fn scope<T>(work: impl FnOnce() -> T) -> T {
    let _inside = Inside::begin(|place| &place.depth);
    work()
}

/// Runs `work` on a data thread, where the runtime has no lock: values go at once, wakers afterwards.
#[inline]
pub fn turn<T>(work: impl FnOnce() -> T) -> T {
    let _inside = Inside::begin(|place| &place.turns);
    work()
}

/// Empties this thread's place, unless that is being done further down its stack.
#[inline]
fn empty() {
    PLACE.with(|place| {
        let nothing = place.leaving.borrow().is_empty() && place.wakers.borrow().is_empty();
        if !nothing && !place.emptying.replace(true) {
            place.run();
            place.emptying.set(false);
        }
    });
}

impl Place {
    /// The next to go. Within a turn wakers wait: whoever calls them may be in the middle of anything.
    fn next(&self) -> Option<Leaving> {
        // In statements of their own: the borrows end before the value goes.
        let value = self.leaving.borrow_mut().pop_front();
        if value.is_some() || self.turns.get() > 0 {
            return value;
        }
        self.wakers.borrow_mut().pop_front()
    }

    fn run(&self) {
        while let Some(leaving) = self.next() {
            // A plugin's destructors catch their own panics; one of ours must not lose the rest.
            shield(|| leaving.go());
        }
    }
}

/// Notes whom to wake when something is let go of on this thread outside every scope, by the runtime
/// between two tasks. Who is woken opens and ends a [`scope`].
pub fn emptied_by(cx: &Context<'_>) {
    let replaced = PLACE.with(|place| {
        let mut emptier = place.emptier.borrow_mut();
        match &**emptier {
            Some(known) if known.will_wake(cx.waker()) => None,
            _ => emptier.replace(cx.waker().clone()),
        }
    });
    drop(replaced);
}

/// This thread is about to end, or its runtime is.
pub fn emptied_by_nobody() {
    let last = PLACE.with(|place| place.emptier.borrow_mut().take());
    drop(last);
    empty();
}

#[cfg(test)]
mod tests;
