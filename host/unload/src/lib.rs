//! Unloads libraries for real: nothing of theirs is called, freed or looked at after `dlclose`.
//!
//! A library that was opened with `dlopen` leaves more in its process than its code: thread-local
//! destructors, which keep glibc from unmapping it at all; keys, signal handlers, timers and exit
//! functions, which are called when it has gone; threads that still run it; words in other libraries
//! that lead into it. This crate keeps books of all that, from the first instruction of a library's
//! constructors on, takes it back when the library is to go, and closes the library only when a look
//! at everything that stays finds no address of it. What cannot be taken back keeps the library, and
//! the reason says so.
//!
//! It knows how libraries are opened, watched and closed, and nothing of what a host does with them.
//!
//! # How a program uses it
//! 1. Its build script exports the functions that libraries are to find in the executable, and not in
//!    the C library: with `hotseat-unload` among the dependencies of the package,
//!    ```no_run
//!    for argument in std::env::var("DEP_HOTSEAT_UNLOAD_LINK_ARGS").unwrap().split(' ') {
//!        println!("cargo:rustc-link-arg-bins={argument}");
//!    }
//!    ```
//! 2. At its start it asks [`self_test`] whether that has worked, and [`complaint`] whether anything
//!    of this system's C library is not known.
//! 3. Every thread of its own that may run code of a library registers
//!    ([`purge::register_thread`]), and answers when it is asked to purge itself.
//! 4. A library is opened from a path that is never used again ([`Library::open`]), and each call
//!    into it happens under [`enter`].
//! 5. What another library takes the place of is [`retire`]d, and once it is not used any more it goes to a [`reaper::Reaper`], or, where waiting does no harm, to
//!    [`Library::close_soon`].
//!
//! `examples/console.rs` is the whole of it in one file; `examples/threads.rs` is a program with
//! threads of its own and a plugin in C.
//!
//! Memory that a library takes by `malloc` and its like begins with zeros, and so does the stack below
//! it where another library ran before it: no address is found in its data that somebody else has left.
//!
//! # What it asks of the system
//! Linux with glibc 2.35 or newer, on x86-64 or aarch64, and a program that exports the functions: a
//! library that itself opens others (an extension module) cannot. Nothing is ever closed where they are
//! not in place: [`Library::close`] says so.
//! A program with a `malloc` of its own by that name (an allocator that takes the place of the C
//! library's at link time, an address sanitizer) does not link with it; a preloaded one works, and its
//! blocks are not looked through.

pub mod action;
pub mod figures;
mod hooks;
mod lease;
pub mod leaves;
mod library;
pub mod purge;
pub mod reaper;
pub mod thread;

pub use self::{
    hooks::{
        Entered, LibraryId, Window,
        census::{complaint, warm},
        ends::{Ends, Witness, set_witness},
        enter,
        gone::tag_of_gone,
        heap,
        ledger::{is_ending, purge_thread},
        prints::{Printer, set_printer},
        registry::Record,
        resolved, running_library, running_tag, self_test,
        signals::FAULTS,
        spare_self_test,
        wiped::retire,
    },
    lease::{Holding, LibraryLease},
    library::{CloseError, Library, NODELETE, OpenError},
};

#[cfg(test)]
mod tests {
    //! Shared by the tests of this crate.

    use std::{
        thread,
        time::{Duration, Instant},
    };

    /// Waits until `true_now`, for a few seconds at most.
    #[track_caller]
    pub(crate) fn eventually(true_now: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_secs(5);
        while !true_now() {
            assert!(Instant::now() < until, "it did not come true");
            thread::park_timeout(Duration::from_millis(1));
        }
    }
}
