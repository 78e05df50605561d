//! Wakers across the border, in both directions.
//!
//! A host waker goes out with its raw parts in it, so that it is recognised when it comes back
//! (through a stream or timer of the host that the plugin polls) and no wrapper is made. A waker
//! that the plugin made (a `join` or `select` wraps the host's) becomes an `Arc` around a clone of
//! it, with a lease: its functions lie in the library, and never run where it is woken or dropped.
#![expect(unsafe_code, reason = "takes wakers apart and puts them together")]

use std::{
    mem::ManuallyDrop,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{RawWakerVTable, Wake, Waker},
};

use hotseat_plugin_api::abi;

use super::{
    hooks,
    lease::LibraryLease,
    release::{self, Leaving},
    shield::shield,
};

/// The functions of every waker of the host; its address is how one is recognised.
static HOST_VT: abi::WakerVt =
    abi::WakerVt { size: abi::size_of_u32::<abi::WakerVt>(), clone, wake_by_ref, drop: free };

/// A waker of the host, borrowed for a call into a plugin.
#[derive(Debug)]
pub struct HostWaker<'a> {
    parts: abi::Waker,
    waker: &'a Waker,
}

impl<'a> HostWaker<'a> {
    /// Borrows `waker`.
    #[must_use]
    pub fn new(waker: &'a Waker) -> Self {
        Self { parts: parts_of(waker), waker }
    }

    /// What the plugin is given; valid as long as `self`.
    #[must_use]
    pub fn as_ptr(&self) -> *const abi::Waker {
        &raw const self.parts
    }

    /// The waker itself.
    #[must_use]
    pub fn waker(&self) -> &'a Waker {
        self.waker
    }
}

fn parts_of(waker: &Waker) -> abi::Waker {
    abi::Waker {
        data: waker.data(),
        aux: ptr::from_ref(waker.vtable()).cast(),
        vt: &raw const HOST_VT,
    }
}

/// The host's waker that `parts` was made of; borrowed, so it must not be dropped.
///
/// # Safety
/// `parts` must point to a live `abi::Waker` with [`HOST_VT`].
unsafe fn borrowed(parts: *const abi::Waker) -> ManuallyDrop<Waker> {
    // SAFETY: live, as the caller says.
    let data = unsafe { (*parts).data };
    // SAFETY: as above.
    let vtable = unsafe { (*parts).aux }.cast::<RawWakerVTable>();
    // SAFETY: `parts_of` took it from a `&'static RawWakerVTable`.
    let vtable: &'static RawWakerVTable = unsafe { &*vtable };
    // SAFETY: data and vtable of one waker, which is alive as long as `parts`.
    ManuallyDrop::new(unsafe { Waker::new(data, vtable) })
}

unsafe extern "C" fn clone(parts: *const abi::Waker) -> abi::Waker {
    // SAFETY: called through `HOST_VT`, so the waker is one of the host's.
    let waker = unsafe { borrowed(parts) };
    // The clone's reference now belongs to the parts; `free` gives it back.
    let cloned = shield(|| parts_of(&ManuallyDrop::new(Waker::clone(&waker))));
    cloned.unwrap_or_else(|| parts_of(Waker::noop()))
}

unsafe extern "C" fn wake_by_ref(parts: *const abi::Waker) {
    // SAFETY: called through `HOST_VT`, so the waker is one of the host's.
    let waker = unsafe { borrowed(parts) };
    shield(|| waker.wake_by_ref());
}

unsafe extern "C" fn free(parts: *mut abi::Waker) {
    // SAFETY: called through `HOST_VT` with a waker that `clone` made, once.
    let waker = ManuallyDrop::into_inner(unsafe { borrowed(parts) });
    shield(|| drop(waker));
}

/// A plugin's waker as a waker of the host: all that hyper, h2 and tokio ever see of it.
///
/// They wake and drop wakers inside their own locks, so neither runs the plugin's code there: a wake
/// is noted and passed on, and the waker freed, by way of [`release`].
pub(super) struct Foreign {
    waker: abi::Waker,
    /// Taken when it is dropped.
    lease: Option<LibraryLease>,
    /// A wake is on its way.
    woken: AtomicBool,
}

// SAFETY: every function of `abi::WakerVt` may be called from any thread.
unsafe impl Send for Foreign {}
// SAFETY: as above.
unsafe impl Sync for Foreign {}

impl Foreign {
    /// Passes a wake on. Runs the plugin's code.
    pub(super) fn wake_now(&self) {
        // Before the plugin hears of it: a wake that comes meanwhile is another one.
        self.woken.store(false, Ordering::Release);
        let Some(lease) = &self.lease else { return };
        let _entered = hooks::enter(lease.library());
        // SAFETY: a live waker's table reaches to its base entries; the lease keeps it loaded.
        let wake = unsafe { (&raw const (*self.waker.vt).wake_by_ref).read() };
        // SAFETY: an owned waker, not dropped before `self` is.
        unsafe { wake(&raw const self.waker) };
    }
}

impl Wake for Foreign {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            release::let_go(Leaving::Wake(Arc::clone(self)));
        }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        let abi::Waker { data, aux, vt } = self.waker;
        release::let_go(Leaving::Waker(abi::Waker { data, aux, vt }, lease));
    }
}

/// A waker of the standard library that wakes `waker`: the host's own if it was one, else an
/// owned wrapper that holds the lease which `lease` makes.
///
/// # Safety
/// `waker` must point to a waker that is alive for the call, and `lease` must be of the library
/// that handed it over.
pub unsafe fn to_std(waker: *const abi::Waker, lease: impl FnOnce() -> LibraryLease) -> Waker {
    // SAFETY: alive, as the caller says.
    let vt = unsafe { (*waker).vt };
    if ptr::eq(vt, &raw const HOST_VT) {
        // SAFETY: alive, and one of the host's by its vtable.
        let waker = unsafe { borrowed(waker) };
        return Waker::clone(&waker);
    }
    let lease = lease();
    let entered = hooks::enter(lease.library());
    // SAFETY: a live waker always has its functions.
    let clone = unsafe { (&raw const (*vt).clone).read() };
    // SAFETY: called with the waker that the function belongs to.
    let waker = unsafe { clone(waker) };
    drop(entered);
    Waker::from(Arc::new(Foreign { waker, lease: Some(lease), woken: AtomicBool::new(false) }))
}

#[cfg(test)]
mod tests;
