//! A fork finds the heap whole: its thread takes every lock before and opens them after.
//!
//! The child has one thread, and the host's books of it may be locked by another one: it asks the
//! system for memory itself, and keeps nothing at hand for threads that begin there.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::{large::RESERVE, lock, lock::Lock, pages::PAGES, shard, source};

static CHILD: AtomicBool = AtomicBool::new(false);

/// Whether this process was forked since the library was loaded.
pub(super) fn is_child() -> bool {
    CHILD.load(Relaxed)
}

/// Has every fork from now on take the heap along. The C library forgets it with the library.
pub(super) fn watch() {
    // SAFETY: the three functions take no argument and live in this library. Without room for them
    // only a child that allocates has less luck.
    unsafe { libc::pthread_atfork(Some(prepare), Some(go_on), Some(begin)) };
}

/// Each, in the order in which they may be taken.
fn all() -> impl DoubleEndedIterator<Item = &'static Lock> {
    shard::ALL.iter().map(|shard| &shard.lock).chain([&PAGES.lock, &RESERVE.lock])
}

unsafe extern "C" fn prepare() {
    all().for_each(Lock::close);
    lock::hold_all(true);
}

unsafe extern "C" fn go_on() {
    lock::hold_all(false);
    all().rev().for_each(Lock::open);
}

unsafe extern "C" fn begin() {
    CHILD.store(true, Relaxed);
    source::be_own();
    // SAFETY: as in the parent.
    unsafe { go_on() };
}
