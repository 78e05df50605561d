//! The fake host's own waker.
//!
//! Owns its table, by whose address the host knows it again.
//! Invariant: clones are counted by the `Arc` behind it.
#![expect(unsafe_code, reason = "plays the host's side of the ABI")]

use std::{
    ptr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::abi::{Waker, WakerVt};

/// How often a waker was woken, and how many clones of it are alive.
#[derive(Debug, Default)]
pub(crate) struct Woken {
    pub(crate) times: AtomicUsize,
}

/// A waker as the host lends it for a poll.
pub(crate) struct FakeWaker {
    pub(crate) woken: Arc<Woken>,
    raw: Waker,
}

impl FakeWaker {
    pub(crate) fn new() -> Self {
        let woken = Arc::new(Woken::default());
        let raw = Waker { data: Arc::as_ptr(&woken).cast(), aux: ptr::null(), vt: &WAKER };
        Self { woken, raw }
    }

    pub(crate) fn raw(&self) -> *const Waker {
        &raw const self.raw
    }
}

pub(super) static WAKER: WakerVt = WakerVt {
    size: crate::abi::size_of_u32::<WakerVt>(),
    clone: clone_waker,
    wake_by_ref: wake_waker,
    drop: drop_waker,
};

unsafe extern "C" fn clone_waker(waker: *const Waker) -> Waker {
    // SAFETY: one of ours.
    let data = unsafe { (*waker).data };
    // SAFETY: the data is an `Arc`'s.
    unsafe { Arc::increment_strong_count(data.cast::<Woken>()) };
    Waker { data, aux: ptr::null(), vt: &WAKER }
}

unsafe extern "C" fn wake_waker(waker: *const Waker) {
    // SAFETY: one of ours.
    let woken = unsafe { &*(*waker).data.cast::<Woken>() };
    woken.times.fetch_add(1, Ordering::Relaxed);
}

unsafe extern "C" fn drop_waker(waker: *mut Waker) {
    // SAFETY: a clone of ours, dropped once.
    drop(unsafe { Arc::from_raw((*waker).data.cast::<Woken>()) });
}
