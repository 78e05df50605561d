//! Signal handlers that a library left behind.

use std::{ffi::c_void, mem::MaybeUninit, ptr};

use super::{
    LibraryId,
    registry::{self, Owner},
};
use crate::sys::process::signal_name;

/// The last real-time signal of Linux. Source: signal(7).
const SIGNAL_MAX: i32 = 64;

/// The first signal whose handler lies in `library`.
pub(in crate::plugin) fn handler_of(library: LibraryId) -> Option<String> {
    (1..=SIGNAL_MAX)
        .find(|signal| handler(*signal).is_some_and(|at| lies_in(at, library)))
        .map(signal_name)
}

fn handler(signal: i32) -> Option<usize> {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a null action only asks; `action` has room for the answer.
    let rc = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    if rc != 0 {
        // The two signals that glibc keeps to itself.
        return None;
    }
    // SAFETY: 0 means that the answer was written.
    let at = unsafe { action.assume_init() }.sa_sigaction;
    (at != libc::SIG_DFL && at != libc::SIG_IGN).then_some(at)
}

fn lies_in(address: usize, library: LibraryId) -> bool {
    match registry::owner(ptr::without_provenance::<c_void>(address)) {
        Owner::Plugin(record) => record.id() == library,
        Owner::Host | Owner::Other(_) | Owner::Nobody => false,
    }
}
