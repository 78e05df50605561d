//! The lock under which actions change.
//!
//! Invariant: while it is held its thread takes no signal, so that no handler waits for the thread
//! that it has interrupted; it is held for a few stores and one system call.

use std::{
    hint,
    mem::MaybeUninit,
    ptr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// Looks at the lock before its holder's core is asked for.
const SPINS: u32 = 64;

static HELD: AtomicBool = AtomicBool::new(false);

/// That the lock is held.
pub(super) struct Locked(());

/// Does `work` under the lock.
pub(super) fn locked<T>(work: impl FnOnce(&Locked) -> T) -> T {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: fills the set, blocks its signals for this thread, and writes the mask it had.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    let mut looks = 0;
    while HELD.swap(true, Ordering::Acquire) {
        looks += 1;
        if looks % SPINS == 0 {
            thread::yield_now();
        } else {
            hint::spin_loop();
        }
    }
    let done = work(&Locked(()));
    HELD.store(false, Ordering::Release);
    // SAFETY: the mask that was written above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    done
}
