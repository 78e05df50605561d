//! Where chunks and large ranges come from: the host, or without one the system.
//!
//! Owns the look for the host's function, once, at the first allocation: constructors allocate
//! before the host has called anything. Invariants: ranges of both never meet, since a host that
//! does not know the library is not asked twice; `errno` is as it was, because code of C looks at it
//! after something was freed.

use std::{
    ffi::c_void,
    mem::transmute,
    ptr,
    sync::atomic::{
        AtomicBool, AtomicPtr,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use super::{figures::FIGURES, fork, range};
use crate::abi::heap::{HeapFn, SYMBOL};

/// The host's function; null: not looked for yet; [`NONE`]: there is none.
static HOST: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
const NONE: *mut c_void = ptr::without_provenance_mut(1);

/// The host has lent something, so it knows the library.
static LENT: AtomicBool = AtomicBool::new(false);
static WATCHED: AtomicBool = AtomicBool::new(false);

fn host() -> Option<HeapFn> {
    let mut known = HOST.load(Acquire);
    if known.is_null() {
        known = look();
    }
    // SAFETY: not null, and the executable's function of that name, whose type is this.
    (known != NONE).then(|| unsafe { transmute::<*mut c_void, HeapFn>(known) })
}

/// Several threads may look at once, so that none waits for another: they find the same.
#[cold]
fn look() -> *mut c_void {
    if cfg!(miri) {
        be_own();
        return NONE;
    }
    if !WATCHED.swap(true, Relaxed) {
        fork::watch();
    }
    // SAFETY: the name is a C string.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, SYMBOL.as_ptr()) };
    let found = if found.is_null() { NONE } else { found };
    // Somebody may have decided against it meanwhile.
    match HOST.compare_exchange(ptr::null_mut(), found, Release, Acquire) {
        Ok(_) => found,
        Err(known) => known,
    }
}

/// From now on the system is asked, also to take back what the host has lent.
pub(super) fn be_own() {
    HOST.store(NONE, Release);
}

/// A range of `size` zero bytes, aligned as [`HeapFn`] says; null: there is no memory.
#[cold]
pub(super) fn take(size: usize) -> *mut u8 {
    with_errno(|| {
        if let Some(host) = host() {
            // SAFETY: the host's function with our own figures, which are a static.
            let lent = unsafe { host(&raw const FIGURES, size, ptr::null_mut()) };
            if !lent.is_null() {
                LENT.store(true, Relaxed);
                return kept(lent.cast());
            }
            if LENT.load(Relaxed) {
                return ptr::null_mut();
            }
            be_own();
        }
        kept(range::map(size))
    })
}

/// # Safety
/// [`take`] has given it with this size, and nobody uses it any more.
#[cold]
pub(super) unsafe fn give(base: *mut u8, size: usize) {
    with_errno(|| match host() {
        // SAFETY: lent by the host, as the caller says.
        Some(host) => unsafe {
            host(&raw const FIGURES, 0, base.cast());
        },
        // SAFETY: the caller's promise.
        None => unsafe { range::unmap(base, size) },
    });
}

/// Makes a range longer or shorter; null: it could not be done.
///
/// # Safety
/// As for [`give`], of the bytes that go, and of all of them if it moves.
#[cold]
pub(super) unsafe fn resize(base: *mut u8, from: usize, to: usize) -> *mut u8 {
    let resized = with_errno(|| match host() {
        // SAFETY: lent by the host, as the caller says.
        Some(host) => unsafe { host(&raw const FIGURES, to, base.cast()) }.cast(),
        // SAFETY: the caller's promise.
        None => unsafe { range::remap(base, from, to) },
    });
    kept(resized)
}

/// Keeps the right to all of a range for `chunk::exposed`.
fn kept(base: *mut u8) -> *mut u8 {
    base.expose_provenance();
    base
}

/// Does `work`, and leaves `errno` as it was.
pub(super) fn with_errno<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: the calling thread's own.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let before = unsafe { errno.read() };
    let done = work();
    // SAFETY: as above.
    unsafe { errno.write(before) };
    done
}
