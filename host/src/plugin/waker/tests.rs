//! Wakers that come back, and wakers of a plugin.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Wake,
};

use hotseat_unload::Holding;

use super::*;
use crate::plugin::tests::Played;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn no_lease() -> LibraryLease {
    unreachable!("a waker of the host needs no lease")
}

#[test]
fn a_waker_of_the_host_comes_back_as_itself() {
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let lent = HostWaker::new(&waker);
    // SAFETY: lent until the end of the test.
    let back = unsafe { to_std(lent.as_ptr(), no_lease) };
    assert!(back.will_wake(&waker));
    assert_eq!(Arc::strong_count(&count), 3);
    drop(back);
    assert_eq!(Arc::strong_count(&count), 2);
}

#[test]
fn a_clone_is_owned_and_freed_once() {
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let lent = HostWaker::new(&waker);
    // SAFETY: lent until the end of the test.
    let mut owned = unsafe { clone(lent.as_ptr()) };
    drop(waker);
    assert_eq!(Arc::strong_count(&count), 2);
    // SAFETY: owned, and not freed yet.
    unsafe { wake_by_ref(&raw const owned) };
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    // SAFETY: owned; the last use.
    unsafe { free(&raw mut owned) };
    assert_eq!(Arc::strong_count(&count), 1);
}

static CLONED: AtomicUsize = AtomicUsize::new(0);
static WOKEN: AtomicUsize = AtomicUsize::new(0);
static FREED: AtomicUsize = AtomicUsize::new(0);

/// As a plugin would make one.
static THEIR_VT: abi::WakerVt = abi::WakerVt {
    size: abi::size_of_u32::<abi::WakerVt>(),
    clone: their_clone,
    wake_by_ref: their_wake,
    drop: their_free,
};

unsafe extern "C" fn their_clone(waker: *const abi::Waker) -> abi::Waker {
    CLONED.fetch_add(1, Ordering::Relaxed);
    // SAFETY: called with a live waker.
    let data = unsafe { (*waker).data };
    abi::Waker { data, aux: ptr::null(), vt: &raw const THEIR_VT }
}

unsafe extern "C" fn their_wake(_: *const abi::Waker) {
    WOKEN.fetch_add(1, Ordering::Relaxed);
}

unsafe extern "C" fn their_free(_: *mut abi::Waker) {
    FREED.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn a_plugins_waker_holds_its_library() {
    let played = Played::start();
    let theirs = abi::Waker { data: ptr::null(), aux: ptr::null(), vt: &raw const THEIR_VT };
    let lease = || LibraryLease::new(Arc::clone(played.record()), Holding::Waker).unwrap();
    // SAFETY: `theirs` lives until the end of the test.
    let waker = unsafe { to_std(&raw const theirs, lease) };
    assert_eq!(played.record().holders(), "1 waker held by the host");
    let second = waker.clone();
    waker.wake();
    second.wake_by_ref();
    drop(second);
    assert!(played.record().is_quiet());
    let counts = [&CLONED, &WOKEN, &FREED].map(|count| count.load(Ordering::Relaxed));
    assert_eq!(counts, [1, 2, 1]);
}
