//! Futures of the kit that plugin code polls.
#![expect(unsafe_code, reason = "plays the host's side of the ABI")]

use crate::{
    abi::{self, Done, Waker, poll},
    owned::OwnedBytes,
};

type Poll = Box<dyn FnMut(*const Waker) -> Option<Result<(), &'static str>> + Send>;

/// One that ends when `poll` gives something; that must keep the waker else.
pub(super) fn of(
    poll: impl FnMut(*const Waker) -> Option<Result<(), &'static str>> + Send + 'static,
) -> abi::Future<Done> {
    let poll: Box<Poll> = Box::new(Box::new(poll));
    abi::Future { data: Box::into_raw(poll).cast(), poll: poll_one, drop: free }
}

unsafe extern "C" fn poll_one(data: *mut (), waker: *const Waker, out: *mut Done) -> u32 {
    // SAFETY: made in `of`, and polled by one thread at a time.
    let poll = unsafe { &mut *data.cast::<Poll>() };
    let (code, error) = match poll(waker) {
        None => return poll::PENDING,
        Some(Ok(())) => (poll::READY, OwnedBytes::EMPTY),
        Some(Err(text)) => (poll::FAILED, OwnedBytes::from_static(text.as_bytes())),
    };
    // SAFETY: room for the result.
    unsafe { out.write(Done { error: error.into_abi() }) };
    code
}

unsafe extern "C" fn free(data: *mut ()) {
    // SAFETY: made in `of`, dropped once.
    drop(unsafe { Box::from_raw(data.cast::<Poll>()) });
}
