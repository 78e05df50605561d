//! One lock for threads and processes alike, with an end to the waiting.
//!
//! Owns the order of the two: the threads of this process among themselves first, then the kernel's
//! lock between processes. Whoever holds it does nothing but a few reads and writes of memory, so
//! that only one that was stopped from outside keeps others waiting for long.

use std::{
    io,
    time::{Duration, Instant},
};

use super::region::Region;
use crate::{sys::byte_lock::ByteLock, thread::Inbox};

/// How long anybody waits for it: far longer than a machine that is overloaded keeps one that holds it
/// from running.
const PATIENCE: Duration = Duration::from_secs(2);
/// So often the processor is only given away, before the waits become real ones.
const YIELDS: u32 = 64;
/// One such wait.
const PAUSE: Duration = Duration::from_micros(100);

/// The lock of one byte.
#[derive(Debug)]
pub(super) struct Lock {
    at: u64,
    /// A thread of this process has it.
    held: Inbox<bool>,
}

/// It is held until dropped.
#[derive(Debug)]
pub(super) struct Held<'a> {
    // Before the threads of this process may go on.
    between: Option<ByteLock<'a>>,
    lock: &'a Lock,
}

/// When whoever begins to wait now has waited long enough, for however many locks.
pub(super) fn due() -> Instant {
    Instant::now() + PATIENCE
}

impl Lock {
    pub(super) fn new(at: u64) -> Self {
        Self { at, held: Inbox::new(false) }
    }

    /// Takes it, if that is possible until `due`.
    ///
    /// # Errors
    /// `TimedOut`: somebody holds it who stands still. The system's own.
    pub(super) fn take<'a>(&'a self, region: &'a Region, due: Instant) -> io::Result<Held<'a>> {
        let late = || io::Error::from(io::ErrorKind::TimedOut);
        let own = |held: &mut bool| (!std::mem::replace(held, true)).then_some(());
        self.held.wait_until(Some(due), own).ok_or_else(late)?;
        let mut held = Held { between: None, lock: self };
        let mut tries = 0;
        loop {
            held.between = region.lock(self.at)?;
            if held.between.is_some() {
                return Ok(held);
            }
            if Instant::now() >= due {
                return Err(late());
            }
            tries += 1;
            if tries < YIELDS {
                std::thread::yield_now();
            } else {
                // The kernel wakes one that waits without a limit only, so this looks again.
                Inbox::new(()).wait_for(PAUSE, |()| false);
            }
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.between = None;
        self.lock.held.tell_one(|held| *held = false);
    }
}
