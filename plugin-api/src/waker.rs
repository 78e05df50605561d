//! Wakers, in both directions.
//!
//! Owns the adapters between `std` wakers and [`abi::Waker`]. Knows nothing of what is polled.
//! Invariants: nothing is allocated before somebody clones; a waker that came from the host goes
//! back to it as it came, so that the host never stores a pointer into this library for it.
#![expect(unsafe_code, reason = "a waker's table is made of raw functions")]

use std::{
    ptr,
    task::{Context, RawWaker, RawWakerVTable, Waker},
};

use crate::{
    abi::{self, WakerVt},
    guard::guard,
};

// Statics, not constants: their addresses tell our own wakers from others.
static BORROWED: RawWakerVTable = RawWakerVTable::new(clone, wake_borrowed, wake_by_ref, keep);
static OWNED: RawWakerVTable = RawWakerVTable::new(clone, wake_owned, wake_by_ref, free);

/// Calls `f` with a task context that wakes the host's `waker`.
///
/// # Safety
/// `waker` is valid until this returns.
pub(crate) unsafe fn with_std<R>(
    waker: *const abi::Waker,
    f: impl FnOnce(&mut Context<'_>) -> R,
) -> R {
    // SAFETY: the table's functions accept a pointer to a live `abi::Waker`; this one lives until
    // the end of the function, and a clone of it is a waker of its own.
    let waker = unsafe { Waker::new(waker.cast(), &BORROWED) };
    f(&mut Context::from_waker(&waker))
}

/// Calls `f` with `waker` as the ABI has it: the host's own when it came from there.
pub(crate) fn with_abi<R>(waker: &Waker, f: impl FnOnce(*const abi::Waker) -> R) -> R {
    if ptr::eq(waker.vtable(), &raw const BORROWED) || ptr::eq(waker.vtable(), &raw const OWNED) {
        return f(waker.data().cast());
    }
    // A combinator of the author's wraps wakers in its own.
    let foreign =
        abi::Waker { data: ptr::from_ref(waker).cast(), aux: ptr::null(), vt: &FOREIGN_BORROWED };
    f(&raw const foreign)
}

unsafe fn clone(data: *const ()) -> RawWaker {
    let waker: *const abi::Waker = data.cast();
    // SAFETY: `data` points to a live `abi::Waker` in both tables.
    let vt = unsafe { (*waker).vt };
    // SAFETY: the host's table lives as long as the library.
    let clone = unsafe { (*vt).clone };
    // SAFETY: the pointer is the waker that the table belongs to.
    let owned = unsafe { clone(waker) };
    RawWaker::new(Box::into_raw(Box::new(owned)).cast_const().cast(), &OWNED)
}

unsafe fn wake_by_ref(data: *const ()) {
    let waker: *const abi::Waker = data.cast();
    // SAFETY: as in `clone`.
    let vt = unsafe { (*waker).vt };
    // SAFETY: as in `clone`.
    let wake = unsafe { (*vt).wake_by_ref };
    // SAFETY: as in `clone`.
    unsafe { wake(waker) }
}

/// By value, but what is borrowed needs no free.
unsafe fn wake_borrowed(data: *const ()) {
    // SAFETY: the same data.
    unsafe { wake_by_ref(data) }
}

unsafe fn wake_owned(data: *const ()) {
    // SAFETY: the same data, not freed yet.
    unsafe { wake_by_ref(data) }
    // SAFETY: waking by value is the last use.
    unsafe { free(data) }
}

unsafe fn keep(_: *const ()) {}

unsafe fn free(data: *const ()) {
    // SAFETY: the box made in `clone`; dropped once, by the last use of its waker.
    let mut waker = unsafe { Box::from_raw(data.cast_mut().cast::<abi::Waker>()) };
    // SAFETY: as in `clone`.
    let drop = unsafe { (*waker.vt).drop };
    // SAFETY: called once, with the waker that `vt.clone` gave us.
    unsafe { drop(&raw mut *waker) }
}

/// An author's waker on its way to the host, lent for one poll.
static FOREIGN_BORROWED: WakerVt = WakerVt {
    size: crate::abi::size_of_u32::<WakerVt>(),
    clone: foreign_clone,
    wake_by_ref: foreign_wake,
    drop: foreign_keep,
};
/// A clone of it that the host owns.
static FOREIGN_OWNED: WakerVt = WakerVt {
    size: crate::abi::size_of_u32::<WakerVt>(),
    clone: foreign_clone,
    wake_by_ref: foreign_wake,
    drop: foreign_free,
};

unsafe extern "C" fn foreign_clone(waker: *const abi::Waker) -> abi::Waker {
    // SAFETY: `data` of both tables points to a live std waker.
    let waker = unsafe { &*(*waker).data.cast::<Waker>() };
    // A clone that panics is replaced by a waker that does nothing; the hook has reported it.
    let own = guard(|| waker.clone()).unwrap_or_else(|| Waker::noop().clone());
    abi::Waker {
        data: Box::into_raw(Box::new(own)).cast_const().cast(),
        aux: ptr::null(),
        vt: &FOREIGN_OWNED,
    }
}

unsafe extern "C" fn foreign_wake(waker: *const abi::Waker) {
    // SAFETY: as in `foreign_clone`.
    let waker = unsafe { &*(*waker).data.cast::<Waker>() };
    guard(|| waker.wake_by_ref());
}

unsafe extern "C" fn foreign_keep(_: *mut abi::Waker) {}

unsafe extern "C" fn foreign_free(waker: *mut abi::Waker) {
    // SAFETY: the caller passes the waker that it owns.
    let data = unsafe { (*waker).data };
    // SAFETY: the box made in `foreign_clone`; freed once.
    let own = unsafe { Box::from_raw(data.cast_mut().cast::<Waker>()) };
    guard(|| drop(own));
}
