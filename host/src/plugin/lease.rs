//! What keeps a library loaded while a value in the host can still reach its code.
//!
//! Leases of requests belong to whoever routes them; these are for what outlives a request or
//! belongs to none: a plugin's waker that a timer of the host holds, a job in the pool. Invariant:
//! the reaper closes no library that has one.

use std::sync::Arc;

use super::hooks::{LibraryId, registry::Record};

/// What is held, so that the status can say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// A waker that the plugin made.
    Waker,
    /// A job that waits for the blocking pool or runs there.
    Job,
}

/// Keeps a library loaded. Drop it after the value that needs it.
#[derive(Debug)]
pub struct LibraryLease {
    record: Arc<Record>,
    holding: Holding,
}

impl LibraryLease {
    pub(super) fn new(record: Arc<Record>, holding: Holding) -> Self {
        match holding {
            Holding::Waker => record.waker_began(),
            Holding::Job => record.job_began(),
        }
        Self { record, holding }
    }

    /// The library, for [`super::hooks::enter`].
    #[must_use]
    pub fn library(&self) -> LibraryId {
        self.record.id()
    }
}

impl Drop for LibraryLease {
    fn drop(&mut self) {
        match self.holding {
            Holding::Waker => self.record.waker_ended(),
            Holding::Job => self.record.job_ended(),
        }
    }
}
