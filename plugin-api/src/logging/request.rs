//! Which request a thread of the host works for.
//!
//! Owns the note, which is set around each poll of what belongs to a request. What a plugin spawns
//! elsewhere runs without one; a span takes it along.

use std::cell::Cell;

use crate::within::Surrounding;

thread_local! {
    // Plain data, because a destructor would be the host's work. 0: none.
    static HERE: Cell<u64> = const { Cell::new(0) };
}

/// See [`request_here`](super::request_here).
pub(super) fn here() -> u64 {
    HERE.get()
}

/// Work for the request of this number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfRequest(pub(crate) u64);

/// Until it is dropped the thread works for a request.
#[derive(Debug)]
pub(crate) struct Working {
    before: u64,
}

impl Surrounding for OfRequest {
    type Entered<'a> = Working;

    fn enter(&self) -> Working {
        Working { before: HERE.replace(self.0) }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        HERE.set(self.before);
    }
}
