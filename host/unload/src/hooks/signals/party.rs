//! Whose action a call is about.
//!
//! Invariant: only what is async-signal-safe is asked: the loader's lookup of an address, and tables.

use std::{
    ffi::{c_int, c_void},
    ptr,
};

use super::{
    deliver, is_fault,
    slot::{Key, state},
};
use crate::{
    action,
    hooks::{LibraryId, current, ends, needed, object, registry},
};

/// Where an address lies.
enum Place {
    /// The executable.
    Host,
    Library(LibraryId),
    /// An object that never goes.
    Permanent(usize),
    /// Another one: what a library needs, or has opened.
    Object(usize),
    /// No object: code that was made at run time.
    Nowhere,
}

fn place(address: *const c_void) -> Place {
    let Some(object) = object::find(address) else { return Place::Nowhere };
    if object.name().is_empty() {
        return Place::Host;
    }
    match registry::library_of(&object) {
        Some(library) => Place::Library(library),
        None if needed::is_permanent(object.id()) => Place::Permanent(object.id()),
        None => Place::Object(object.id()),
    }
}

/// Whose action is meant.
pub(super) enum Party {
    Host,
    /// A slot's, and under whose name its handler runs.
    Slot(Key, u32),
}

pub(super) fn running() -> u32 {
    current().map_or(0, |library| library.0)
}

/// Who asks: the code behind the return address. A call in tail position returns to its caller's
/// caller, which may be the host or the C library; then it is the library that runs.
pub(super) fn caller(signal: c_int, returns_to: *const c_void) -> Party {
    let running = running();
    let its_own = match running {
        0 => None,
        library => Some(Party::Slot(Key::library(library), library)),
    };
    match (place(returns_to), its_own) {
        (Place::Library(library), _) => Party::Slot(Key::library(library.0), library.0),
        (Place::Object(map), _) => Party::Slot(Key::object(map), running),
        (Place::Host, Some(_)) if is_fault(signal) && !is_guarded(signal) => Party::Host,
        (Place::Host, None) => Party::Host,
        (_, Some(its_own)) => its_own,
        (Place::Permanent(map), None) => Party::Slot(Key::object(map), 0),
        (Place::Nowhere, None) => Party::Slot(Key::NOBODY, 0),
    }
}

/// Whether the host's own handler of a fault is in force. While it is not, the process goes down, and
/// the standard library's handler gives the signal back to the kernel under a library's name.
fn is_guarded(signal: c_int) -> bool {
    let there = action::get(signal).map_or(libc::SIG_DFL, |it| it.sa_sigaction);
    let state = state(signal);
    if there != deliver::address() {
        return ends::is_witness(there);
    }
    ends::is_witness(state.base().handler)
}

/// Whose action a handler at this address is, if `caller` gives it.
pub(super) fn party_of(handler: usize, caller: Party) -> Party {
    match (place(ptr::without_provenance(handler)), caller) {
        (Place::Library(library), _) => Party::Slot(Key::library(library.0), library.0),
        (Place::Object(map), Party::Slot(_, owner)) => Party::Slot(Key::object(map), owner),
        (Place::Object(map), Party::Host) => Party::Slot(Key::object(map), running()),
        // A function of the C library, or of the host's: whoever gives it means it.
        (Place::Host | Place::Permanent(_) | Place::Nowhere, caller) => caller,
    }
}
