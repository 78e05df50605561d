//! Which library is running, and what it left in the process that outlives a call.
//!
//! The host executable defines `__cxa_thread_atexit_impl` (`interpose`) and the functions that
//! make and delete threads and their keys (`threads`, `keys`) itself, so that a plugin's references
//! bind here: glibc never learns of a plugin's thread-local destructors and pins nothing, its
//! keys can be deleted, its threads counted. Those by which a plugin ends the process (`ends`) are
//! the host's as well: they leave a note of whose code it was. What a library's arena lives on is lent
//! to it here and taken back behind it (`heap`). Who else has an address of a library is found by
//! looking ([`census`]). Owns that bookkeeping per library (`registry`) and
//! per thread (`ledger`). Knows nothing of loading.
//!
//! # Invariant
//! The host's own calls go to the real functions after one or two comparisons. If the symbols are
//! not the ones that plugins find, [`self_test`] says so and nothing may ever be unloaded.
#![expect(unsafe_code, reason = "interposes C functions and calls destructors by address")]

use std::{
    fmt,
    marker::PhantomData,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

pub(super) mod blame;
pub mod census;
mod check;
mod ends;
pub mod heap;
mod interpose;
pub(super) mod keys;
pub(super) mod ledger;
pub(super) mod object;
mod real;
pub(super) mod registry;
pub(super) mod signals;
mod stack;
mod syslog;
mod texts;
mod threads;
mod window;

pub use blame::running_generation;
pub use check::self_test;
pub use ledger::purge_thread;
pub use window::Window;

/// One load of one library in this process; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LibraryId(u32);

impl fmt::Display for LibraryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

thread_local! {
    // 0: no library. Plain data: no destructor, so it works to the thread's last instruction.
    // Written by its thread alone; atomic because others may look at it through a `Window`.
    static CURRENT: AtomicU32 = const { AtomicU32::new(0) };
}

/// Until dropped, this thread runs code of one library.
#[derive(Debug)]
#[must_use = "the crossing ends when this is dropped"]
pub struct Entered {
    before: u32,
    // CURRENT belongs to the thread.
    here: PhantomData<*const ()>,
}

/// Names the library that this thread runs from here on; to be held around every crossing.
///
/// Threads that the plugin starts through a foreign library (C++'s `std::thread` begins in
/// libstdc++) are attributed by this alone.
#[inline]
pub fn enter(id: LibraryId) -> Entered {
    // Two plain instructions: an exchange would lock the bus.
    let before = CURRENT.with(|current| {
        let before = current.load(Relaxed);
        current.store(id.0, Relaxed);
        before
    });
    Entered { before, here: PhantomData }
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        CURRENT.with(|current| current.store(self.before, Relaxed));
    }
}

/// For a thread that belongs to a library from its first to its last instruction.
fn become_thread_of(id: LibraryId) {
    CURRENT.with(|current| current.store(id.0, Relaxed));
}

/// The library whose code this thread runs, if it runs one's.
#[cfg(test)]
pub(super) fn running_library() -> Option<LibraryId> {
    current()
}

fn current() -> Option<LibraryId> {
    match CURRENT.with(|current| current.load(Relaxed)) {
        0 => None,
        id => Some(LibraryId(id)),
    }
}

#[cfg(test)]
pub(super) mod tests;
