//! A subscription in a plugin's hands.
//!
//! What it gets is a handle of the reader, which the generation's end takes off all lists: a plugin that
//! keeps it has an empty shell, which says that there are no more messages.
#![expect(unsafe_code, reason = "polled by plugins through raw pointers")]

use std::{sync::Arc, task::Poll};

use hotseat_plugin_api::abi;

use hotseat_unload::{Holding, LibraryLease};

use super::Context;
use crate::plugin::{
    desk::{self, Errand},
    release,
    shield::shield,
    topics::{Reader, Subscriptions, Waiting},
    waker,
};

/// What a plugin has.
struct Lent {
    reader: Arc<Reader>,
    /// Of the context, which lives until the library is closed, as its plugin's code does.
    subscriptions: *const Subscriptions,
}

static VT: abi::topic::SubscriptionVt = abi::topic::SubscriptionVt {
    size: abi::size_of_u32::<abi::topic::SubscriptionVt>(),
    poll_next,
    drop: free,
};

/// Gives `reader` to the plugin of `context`.
pub(super) fn lend(context: &Context, reader: Arc<Reader>) -> abi::topic::Subscription {
    let lent = Lent { reader, subscriptions: &raw const context.subscriptions };
    abi::topic::Subscription { data: Box::into_raw(Box::new(lent)).cast(), vt: &raw const VT }
}

/// Wakes who waits for what `context`'s plugin has published.
///
/// A waker is code of its own generation (a runtime's, say) and leaves thread-locals where it runs. A
/// thread that another generation has started is asked by nobody to purge itself of them, and would keep
/// that library for as long as it lives itself: so those are woken on a data thread.
pub(super) fn wake(context: &Context, waiting: Waiting) {
    let (own, is_ours) = (context.record.id(), desk::own().is_some());
    let (here, there): (Waiting, Waiting) =
        waiting.into_iter().partition(|(library, _)| is_ours || *library == own);
    here.into_iter().for_each(|(_, waker)| waker.wake());
    if there.is_empty() {
        return;
    }
    let errand: Errand =
        Box::new(|| release::scope(|| there.into_iter().for_each(|(_, waker)| waker.wake())));
    let refused = match context.services.threads.next() {
        Some(desk) => desk.send(errand).err(),
        None => Some(errand),
    };
    if let Some(errand) = refused {
        errand();
    }
}

unsafe extern "C" fn poll_next(
    data: *mut (),
    waker: *const abi::Waker,
    out: *mut abi::topic::Message,
) -> u32 {
    // SAFETY: the box that `lend` made; called by one thread at a time, and not after `free`.
    let reader = unsafe { &(*data.cast::<Lent>()).reader };
    let lease = || {
        // Its own code polls.
        let lease = LibraryLease::new(Arc::clone(reader.record()), Holding::Waker);
        lease.expect("the library is open")
    };
    // SAFETY: the waker is alive for the call and comes from the record's library.
    let waker = || unsafe { waker::to_std(waker, lease) };
    match shield(|| release::scope(|| reader.poll(waker))) {
        Some(Poll::Pending) => abi::poll::PENDING,
        Some(Poll::Ready(Some(received))) => {
            let message =
                abi::topic::Message { missed: received.missed, bytes: shared(received.message) };
            // SAFETY: the caller's out value has room for it.
            unsafe { out.write(message) };
            abi::poll::READY
        }
        Some(Poll::Ready(None)) | None => abi::poll::END,
    }
}

unsafe extern "C" fn free(data: *mut ()) {
    // SAFETY: the box that `lend` made; called once.
    let lent = unsafe { Box::from_raw(data.cast::<Lent>()) };
    // SAFETY: called by code of the library, which the context outlives.
    let subscriptions = unsafe { &*lent.subscriptions };
    shield(|| release::scope(|| subscriptions.leave(&lent.reader)));
}

/// A message as ABI bytes: one of those that share it.
fn shared(message: Arc<[u8]>) -> abi::Bytes {
    unsafe extern "C" fn free(_: *mut (), ptr: *const u8, len: usize) {
        let message = std::ptr::slice_from_raw_parts(ptr, len);
        // SAFETY: pointer and length of the handle that `shared` gave away, given back once.
        drop(unsafe { Arc::from_raw(message) });
    }
    let len = message.len();
    let ptr = Arc::into_raw(message).cast();
    abi::Bytes { ptr, len, owner: std::ptr::null_mut(), drop: Some(free) }
}
