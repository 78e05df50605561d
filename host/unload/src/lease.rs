//! What keeps a library loaded while a value in the host can still reach its code.
//!
//! What a host does with a library call by call, it counts by itself; these are for what outlives a
//! call or belongs to none: a waker of the library that a timer of the host holds, a job in a pool.
//! Invariant: no library that has one is closed.

use std::sync::Arc;

use crate::hooks::{
    LibraryId,
    registry::{Record, by_id},
};

/// What is held, so that the status can say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// A waker that the library made.
    Waker,
    /// A job that waits for the blocking pool or runs there.
    Job,
    /// A task that a thread of the host runs, which goes before what lives in the library ends.
    Task,
}

/// Keeps a library loaded. Drop it after the value that needs it.
#[derive(Debug)]
pub struct LibraryLease {
    record: Arc<Record>,
    holding: Holding,
}

impl LibraryLease {
    /// Keeps the library of `record` loaded. `None`: it is being closed, or has gone.
    #[must_use]
    pub fn new(record: Arc<Record>, holding: Holding) -> Option<Self> {
        let began = match holding {
            Holding::Waker => record.waker_began(),
            Holding::Job => record.job_began(),
            Holding::Task => record.task_began(),
        };
        began.then_some(Self { record, holding })
    }

    /// As [`new`](Self::new), by the library's number. Looks it up, under a lock.
    #[must_use]
    pub fn of(library: LibraryId, holding: Holding) -> Option<Self> {
        Self::new(by_id(library)?, holding)
    }

    /// The library, for [`enter`](crate::enter).
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
            Holding::Task => self.record.task_ended(),
        }
    }
}
