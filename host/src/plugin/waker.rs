//! Wakers across the border, in both directions.
//!
//! A host waker goes out with its raw parts in it, so that it is recognised when it comes back
//! (through a stream or timer of the host that the plugin polls) and no wrapper is made. A waker
//! that the plugin made (a `join` or `select` wraps the host's) becomes a `Foreign` around a clone
//! of it. Owns every waker of the standard library that is made of a plugin's.
#![expect(unsafe_code, reason = "takes wakers apart and puts them together")]

use std::{
    mem::ManuallyDrop,
    ptr,
    task::{RawWakerVTable, Waker},
};

use hotseat_plugin_api::abi;

use hotseat_unload::{LibraryLease, enter};

use super::{release::Foreign, shield::shield};

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
    let entered = enter(lease.library());
    // SAFETY: a live waker always has its functions.
    let clone = unsafe { (&raw const (*vt).clone).read() };
    // SAFETY: called with the waker that the function belongs to.
    let waker = unsafe { clone(waker) };
    drop(entered);
    Waker::from(Foreign::new(waker, lease))
}

#[cfg(test)]
mod tests;
