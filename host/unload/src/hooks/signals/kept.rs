//! One action, and how it is read while it may be written.
//!
//! Invariant: written under the lock only; who reads while it is written reads again.

use std::{
    ffi::c_int,
    hint,
    sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

use super::lock::Locked;

/// Looks at one that is being written. In a child that was forked meanwhile nobody ever ends that.
const LOOKS_MAX: u32 = 100_000;

/// One action, as its caller gave it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Action {
    pub(super) handler: usize,
    pub(super) flags: c_int,
    /// Signal n is bit n-1.
    pub(super) mask: u64,
}

impl Action {
    pub(super) const IGNORE: Self = Self { handler: libc::SIG_IGN, flags: 0, mask: 0 };
    pub(super) const DEFAULT: Self = Self { handler: libc::SIG_DFL, flags: 0, mask: 0 };

    pub(super) fn is_handler(&self) -> bool {
        self.handler != libc::SIG_DFL && self.handler != libc::SIG_IGN
    }
}

/// What is kept of one action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) action: Action,
    /// Under whose name its handler runs; 0: nobody's.
    pub(super) owner: u32,
    /// Higher than those of all that were kept before it.
    pub(super) born: u64,
}

/// An entry that is read while it may be written.
pub(super) struct Kept {
    /// Odd while it is written.
    version: AtomicU32,
    handler: AtomicUsize,
    flags: AtomicI32,
    mask: AtomicU64,
    owner: AtomicU32,
    born: AtomicU64,
}

impl Kept {
    pub(super) const fn new() -> Self {
        Self {
            version: AtomicU32::new(0),
            handler: AtomicUsize::new(0),
            flags: AtomicI32::new(0),
            mask: AtomicU64::new(0),
            owner: AtomicU32::new(0),
            born: AtomicU64::new(0),
        }
    }

    pub(super) fn read(&self) -> Entry {
        let mut looks = 0;
        loop {
            let before = self.version.load(Ordering::SeqCst);
            let action = Action {
                handler: self.handler.load(Ordering::Relaxed),
                flags: self.flags.load(Ordering::Relaxed),
                mask: self.mask.load(Ordering::Relaxed),
            };
            let owner = self.owner.load(Ordering::Relaxed);
            let entry = Entry { action, owner, born: self.born.load(Ordering::Relaxed) };
            fence(Ordering::Acquire);
            let same = before.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == before;
            looks += 1;
            if same || looks > LOOKS_MAX {
                return entry;
            }
            hint::spin_loop();
        }
    }

    pub(super) fn write(&self, entry: Entry, _: &Locked) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.handler.store(entry.action.handler, Ordering::Relaxed);
        self.flags.store(entry.action.flags, Ordering::Relaxed);
        self.mask.store(entry.action.mask, Ordering::Relaxed);
        self.owner.store(entry.owner, Ordering::Relaxed);
        self.born.store(entry.born, Ordering::Relaxed);
        self.version.store(version.wrapping_add(2), Ordering::SeqCst);
    }
}
