//! Wakers: those that the kit lends for a poll, and those of plugin code that it keeps.
//!
//! Invariant: each is counted, so that the kit knows whether anybody but itself could wake its plugin
//! ([`World::others`]).
#![expect(unsafe_code, reason = "plays the host's side of the ABI")]

use std::{
    ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use super::world::World;
use crate::abi::{Waker, WakerVt};

/// What a waker leads to.
#[derive(Debug)]
pub(super) struct Woken {
    world: &'static World,
    ready: AtomicBool,
    times: AtomicUsize,
}

/// A waker as a host lends it.
#[derive(Debug)]
pub(crate) struct Lent {
    woken: Arc<Woken>,
    raw: Waker,
}

impl Lent {
    /// One that was woken, for a first poll.
    pub(super) fn new(world: &'static World) -> Self {
        let (ready, times) = (AtomicBool::new(true), AtomicUsize::new(0));
        let woken = Arc::new(Woken { world, ready, times });
        let raw = Waker { data: Arc::as_ptr(&woken).cast(), aux: ptr::null(), vt: &WAKER };
        Self { woken, raw }
    }

    pub(super) fn raw(&self) -> *const Waker {
        &raw const self.raw
    }

    /// Whether it was woken since it was asked last.
    pub(super) fn take(&self) -> bool {
        self.woken.ready.swap(false, Ordering::AcqRel)
    }

    /// As if it had been woken.
    pub(super) fn wake(&self) {
        self.woken.ready.store(true, Ordering::Release);
    }

    /// How often it was woken.
    #[cfg(test)]
    pub(crate) fn times(&self) -> usize {
        self.woken.times.load(Ordering::Relaxed)
    }

    /// How many clones of it there are.
    #[cfg(test)]
    pub(crate) fn clones(&self) -> usize {
        Arc::strong_count(&self.woken) - 1
    }
}

static WAKER: WakerVt =
    WakerVt { size: crate::abi::size_of_u32::<WakerVt>(), clone, wake_by_ref, drop: free };

unsafe extern "C" fn clone(waker: *const Waker) -> Waker {
    // SAFETY: one of ours.
    let data = unsafe { (*waker).data };
    // SAFETY: the data is an `Arc`'s.
    unsafe { Arc::increment_strong_count(data.cast::<Woken>()) };
    // SAFETY: as above; alive.
    let woken = unsafe { &*data.cast::<Woken>() };
    woken.world.wakers.fetch_add(1, Ordering::AcqRel);
    Waker { data, aux: ptr::null(), vt: &WAKER }
}

unsafe extern "C" fn wake_by_ref(waker: *const Waker) {
    // SAFETY: one of ours, which is alive for the call.
    let woken = unsafe { &*(*waker).data.cast::<Woken>() };
    woken.times.fetch_add(1, Ordering::Relaxed);
    woken.ready.store(true, Ordering::Release);
    woken.world.bell.ring();
}

unsafe extern "C" fn free(waker: *mut Waker) {
    // SAFETY: a clone of ours, dropped once.
    let woken = unsafe { Arc::from_raw((*waker).data.cast::<Woken>()) };
    woken.world.wakers.fetch_sub(1, Ordering::AcqRel);
}

/// A waker that the kit was lent and keeps.
#[derive(Debug)]
pub(super) struct Kept {
    world: &'static World,
    raw: Waker,
}

// SAFETY: by the ABI all functions of a waker may be called from any thread.
unsafe impl Send for Kept {}

impl Kept {
    /// # Safety
    /// `waker` is valid for the call.
    pub(super) unsafe fn of(world: &'static World, waker: *const Waker) -> Self {
        // SAFETY: the caller's promise; its table lives as long as its library.
        let clone = unsafe { (*(*waker).vt).clone };
        // SAFETY: the table is the waker's.
        let kept = Self { world, raw: unsafe { clone(waker) } };
        if kept.is_own() {
            world.kept.fetch_add(1, Ordering::AcqRel);
        }
        kept
    }

    /// Whether it is one that the kit has lent, and not one that plugin code has made.
    pub(super) fn is_own(&self) -> bool {
        ptr::eq(self.raw.vt, &raw const WAKER)
    }

    pub(super) fn wake(self) {
        let _inside = self.world.enter();
        // SAFETY: a waker of ours until it is dropped.
        let wake = unsafe { (*self.raw.vt).wake_by_ref };
        // SAFETY: the table is the waker's.
        unsafe { wake(&raw const self.raw) }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _inside = self.world.enter();
        if self.is_own() {
            self.world.kept.fetch_sub(1, Ordering::AcqRel);
        }
        // SAFETY: as in `wake`.
        let free = unsafe { (*self.raw.vt).drop };
        // SAFETY: called once.
        unsafe { free(&raw mut self.raw) }
    }
}

impl World {
    /// Wakers of the kit's that others have: other threads perhaps, which may wake at any moment.
    pub(super) fn others(&self) -> usize {
        let kept = self.kept.load(Ordering::Acquire);
        self.wakers.load(Ordering::Acquire).saturating_sub(kept)
    }
}
