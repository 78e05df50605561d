//! A plugin's waker, woken and freed outside every lock that is not ours.
#![expect(unsafe_code, reason = "calls a plugin's wake function")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Wake,
};

use hotseat_plugin_api::abi;

use super::{Leaving, let_go};
use hotseat_unload::{LibraryLease, enter};

/// A plugin's waker as a waker of the host: all that hyper, h2 and tokio ever see of it.
///
/// They wake and drop wakers inside their own locks, so neither runs the plugin's code there: a wake
/// is noted and passed on, and the waker freed, by way of [`let_go`].
pub(in crate::plugin) struct Foreign {
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
    /// Takes `waker` over, whose functions lie in the library of `lease`.
    pub(in crate::plugin) fn new(waker: abi::Waker, lease: LibraryLease) -> Arc<Self> {
        Arc::new(Self { waker, lease: Some(lease), woken: AtomicBool::new(false) })
    }

    /// Passes a wake on. Runs the plugin's code.
    pub(super) fn wake_now(&self) {
        // Before the plugin hears of it: a wake that comes meanwhile is another one.
        self.woken.store(false, Ordering::Release);
        let Some(lease) = &self.lease else { return };
        let _entered = enter(lease.library());
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
            let_go(Leaving::Wake(Arc::clone(self)));
        }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        let abi::Waker { data, aux, vt } = self.waker;
        let_go(Leaving::Waker(abi::Waker { data, aux, vt }, lease));
    }
}
