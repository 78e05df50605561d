//! Which library is running, and what it left in the process that outlives a call.
//!
//! The host executable defines `__cxa_thread_atexit_impl` (`interpose`) and the functions that
//! make and delete threads and their keys (`threads`, `keys`) itself, so that a plugin's references
//! bind here: glibc never learns of a plugin's thread-local destructors and pins nothing, its
//! keys can be deleted, its threads counted. So are those by which it has its code called later: by a
//! signal (`signals`), by a timer or a message queue on a thread of the C library's (`callbacks`).
//! Who asks the loader for one of them by its name gets the host's as well (`asked`, `symbols`).
//! Those by which a plugin ends the process (`ends`) are the host's as well: they leave a note of
//! whose code it was. What a library's arena lives on is lent to it here and taken back behind it
//! (`heap`); what it takes of the C library's heap begins with zeros (`zeroed`). `needed` knows what
//! goes with a library, and who else has an address of that is found by looking ([`census`]);
//! `resolved` knows which copies of what it needs a library was given. Owns
//! that bookkeeping per library (`registry`) and per thread (`ledger`). Knows nothing of loading.
//!
//! A library can have its code called later in these ways:
//!
//! | by | who keeps it | at the unload |
//! |---|---|---|
//! | `sigaction`, `signal`, `sysv_signal`, `sigset` and the like | `signals`; the kernel has one handler for all | taken away; a handler that runs is waited for |
//! | the kernel's own `rt_sigaction` | the kernel | found by asking it: the library stays, and the status says so |
//! | `sigaltstack` on a thread of the host's | the kernel, noted by `stack` | the purge gives the thread its own stack back; the library stays while one has not |
//! | `timer_create`, `mq_notify` with `SIGEV_THREAD` | `callbacks`; glibc has one function for all | taken away, and deleted behind the library; a thread counts as the library's while it is called |
//! | `timer_create`, `setitimer`, `alarm` with a signal | the kernel | goes on, and its signal does nothing |
//! | `signalfd`, `sigqueue`, `sigwait` | nobody: no code is called | nothing |
//! | thread-local destructors, `pthread_key_create`, `tss_create` | `ledger`, `keys` | run by the purge, then deleted |
//! | thread-local destructors of what it needs | glibc, by that object | it stays for good (`needed`), and is looked at like all that stays |
//! | `dlsym`, `dlvsym` of a name of this table | nobody: it is given the host's function | as by that |
//! | `pthread_create`, `thrd_create` | counted by `threads` | waited for |
//! | `pthread_cleanup_push` | the stack of its thread | goes with the thread |
//! | `atexit`, static destructors of C++ | glibc, by the library's handle | run by `dlclose` |
//! | `at_quick_exit` | glibc, by the library's handle | forgotten by `dlclose` |
//! | `pthread_atfork` | `forks`; glibc calls one function for all | forgotten, as at the end of any object; a fork that calls them counts as a thread |
//! | `on_exit` | nobody (`ends`): no end of a worker calls it | nothing |
//! | `fopencookie`; `fmemopen`, `open_memstream` with its data | the stream, noted by `on_heap` | the library stays until the stream is closed |
//! | `register_printf_specifier`, `_function`, `_type` | glibc, noted by `on_heap` | the library stays, for good unless another takes the letter |
//! | `register_printf_modifier` | nobody: no code is called, and the text is copied | nothing |
//! | variables of the C library (`error_print_progname`, `obstack_alloc_failed_handler`, argp's) | the variable | found by the [`census`]: reset, or the library stays |
//! | `qsort`, `ftw`, `glob`, argp and the like | nobody: called until they return | nothing |
//! | `makecontext` | the stack of its context | goes with the thread that runs it |
//! | POSIX AIO, `getaddrinfo_a` with `SIGEV_THREAD` | glibc | the library must have stopped it |
//! | modules of NSS, iconv(3) and PAM; `svc_register` of libtirpc | the C library, libtirpc's heap | the library must not be one, and must have taken it back |
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

mod asked;
pub(crate) mod blame;
mod build_id;
pub(crate) mod callbacks;
pub(crate) mod census;
mod check;
pub(crate) mod ends;
pub(crate) mod forks;
pub(crate) mod gone;
pub mod heap;
mod interpose;
pub(crate) mod keys;
pub(crate) mod ledger;
mod loader;
mod memory;
pub(crate) mod needed;
pub(crate) mod object;
mod objects;
pub(crate) mod on_heap;
pub(crate) mod pairs;
pub(crate) mod prints;
mod real;
pub(crate) mod registry;
pub mod resolved;
pub(crate) mod signals;
mod stack;
mod symbols;
mod syslog;
mod texts;
mod threads;
mod window;
pub(crate) mod wiped;
mod zeroed;

pub use blame::running_tag;
pub use check::{self_test, spare_self_test};
pub(crate) use ledger::purge_thread;
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
/// libstdc++) are attributed by this alone. Where another library has run before it, what that has left
/// on the stack may be wiped.
#[expect(clippy::inline_always, reason = "the stack is wiped from the caller's frame on")]
#[inline(always)]
pub fn enter(id: LibraryId) -> Entered {
    // Two plain instructions: an exchange would lock the bus.
    let before = CURRENT.with(|current| {
        let before = current.load(Relaxed);
        current.store(id.0, Relaxed);
        before
    });
    wiped::clear(wiped::before(id, before != 0));
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

/// It belongs to none any more.
fn leave_thread() {
    CURRENT.with(|current| current.store(0, Relaxed));
}

/// The library whose code this thread runs, if it runs one's.
#[must_use]
pub fn running_library() -> Option<LibraryId> {
    current()
}

fn current() -> Option<LibraryId> {
    match CURRENT.with(|current| current.load(Relaxed)) {
        0 => None,
        id => Some(LibraryId(id)),
    }
}

#[cfg(test)]
pub(crate) mod tests;
