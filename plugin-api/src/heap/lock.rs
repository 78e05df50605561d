//! A lock that an allocator may use: it allocates nothing, and a fork can take it along.
//!
//! Owns waiting (futex(2)). Whoever has forked finds its own locks open: `fork` holds them all, and
//! its thread passes them meanwhile.

use std::{
    hint,
    sync::atomic::{
        AtomicU32, AtomicUsize,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use super::source::with_errno;

const FREE: u32 = 0;
const HELD: u32 = 1;
/// Held, and somebody waits.
const AWAITED: u32 = 2;

/// Looks at a busy lock before the thread is put to rest; what is done under one takes some tens of
/// nanoseconds.
const SPINS: u32 = 64;

/// The thread that holds every lock, by [`here`]; 0: none does.
static HOLDER: AtomicUsize = AtomicUsize::new(0);

/// See the module.
pub(super) struct Lock(AtomicU32);

/// Until dropped, the lock is this thread's.
pub(super) struct Held<'a>(Option<&'a Lock>);

impl Lock {
    pub(super) const fn new() -> Self {
        Self(AtomicU32::new(FREE))
    }

    /// `None`: somebody else has it.
    #[inline]
    pub(super) fn try_hold(&self) -> Option<Held<'_>> {
        let taken = self.0.compare_exchange(FREE, HELD, Acquire, Relaxed);
        // Made only if it is held: its end would free somebody else's.
        taken.is_ok().then(|| Held(Some(self)))
    }

    #[inline]
    pub(super) fn hold(&self) -> Held<'_> {
        match self.try_hold() {
            Some(held) => held,
            None => self.wait(),
        }
    }

    #[cold]
    fn wait(&self) -> Held<'_> {
        if HOLDER.load(Relaxed) == here() {
            // This thread forks, and a handler of its own allocates meanwhile.
            return Held(None);
        }
        for _ in 0..SPINS {
            if let Some(held) = self.try_hold() {
                return held;
            }
            hint::spin_loop();
        }
        while self.0.swap(AWAITED, Acquire) != FREE {
            rest(&self.0);
        }
        Held(Some(self))
    }

    /// Takes it, to be freed by [`open`](Self::open).
    pub(super) fn close(&self) {
        let mut held = self.hold();
        held.0 = None;
    }

    /// Frees it, whoever has it.
    #[inline]
    pub(super) fn open(&self) {
        if self.0.swap(FREE, Release) == AWAITED {
            wake(&self.0);
        }
    }
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(lock) = self.0 {
            lock.open();
        }
    }
}

/// This thread has every lock, or, with `false`, nobody has.
pub(super) fn hold_all(held: bool) {
    HOLDER.store(if held { here() } else { 0 }, Relaxed);
}

/// An address that is this thread's alone.
#[inline]
pub(super) fn here() -> usize {
    super::cache::address()
}

/// Waits until somebody wakes, or `word` is not [`AWAITED`] any more.
fn rest(word: &AtomicU32) {
    let forever = std::ptr::null::<libc::timespec>();
    let wait = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    with_errno(|| {
        // SAFETY: the word lives; it may return for any reason.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), wait, AWAITED, forever) };
    });
}

#[cold]
fn wake(word: &AtomicU32) {
    let wake = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    with_errno(|| {
        // SAFETY: the word lives; one thread is woken, if any waits.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), wake, 1) };
    });
}
