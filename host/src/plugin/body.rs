//! A request's body, lent to a plugin.
//!
//! Owns every conversion to [`abi::Bytes`], [`abi::Frame`] and [`abi::Stream`]; the way back is
//! [`stream`](super::stream)'s. Knows nothing of sockets or time limits.
#![expect(unsafe_code, reason = "crosses the ABI")]

use std::{
    pin::Pin,
    ptr,
    task::{Context, Poll},
};

use bytes::Bytes;
use hotseat_plugin_api::abi;
use http_body::{Body, Frame};

use super::{
    header,
    lent::{Owner, Shell},
    release,
    shield::shield,
    waker,
};

/// The body of a request as the host reads it. Polls and drops may reach hyper and h2.
pub trait RequestBody: Body<Data = Bytes, Error = String> + Unpin + 'static {}

impl<B: Body<Data = Bytes, Error = String> + Unpin + 'static> RequestBody for B {}

/// A request's body in the plugin's hands. May outlive the call.
pub(super) struct HostBody<B, O>(std::marker::PhantomData<(B, O)>);

/// What a body says that was taken back.
const SEVERED: &str = "the request was cut at the drain limit";

impl<B: RequestBody, O: Owner> HostBody<B, O> {
    const VT: &'static abi::StreamVt = &abi::StreamVt {
        size: abi::size_of_u32::<abi::StreamVt>(),
        poll_next: Self::poll_next,
        len: Self::len,
        drop: Self::drop,
    };

    pub(super) fn into_abi(body: B, owner: O) -> abi::Stream {
        abi::Stream { data: Shell::lend(body, owner), vt: Self::VT }
    }

    unsafe extern "C" fn poll_next(
        data: *mut (),
        waker: *const abi::Waker,
        out: *mut abi::Frame,
    ) -> u32 {
        let poll = |body: &mut B, owner: &O| {
            let lease = || owner.waker_lease();
            // SAFETY: the plugin lends its waker for the call.
            let waker = unsafe { waker::to_std(waker, lease) };
            match Pin::new(body).poll_frame(&mut Context::from_waker(&waker)) {
                Poll::Pending => (abi::poll::PENDING, None),
                Poll::Ready(None) => (abi::poll::END, None),
                Poll::Ready(Some(Err(text))) => {
                    (abi::poll::FAILED, Some(data_frame(Bytes::from(text))))
                }
                Poll::Ready(Some(Ok(frame))) => (abi::poll::READY, Some(into_frame(frame))),
            }
        };
        // SAFETY: `data` was made by `into_abi`, is not freed yet, and only this thread's.
        let polled = shield(|| release::scope(|| unsafe { Shell::with(data, poll) }));
        let severed =
            || (abi::poll::FAILED, Some(data_frame(Bytes::from_static(SEVERED.as_bytes()))));
        let (code, frame) = match polled {
            Some(polled) => polled.unwrap_or_else(severed),
            None => (abi::poll::PANICKED, None),
        };
        if let Some(frame) = frame {
            // SAFETY: the plugin gave a place for one frame.
            unsafe { out.write(frame) };
        }
        code
    }

    unsafe extern "C" fn len(data: *const ()) -> u64 {
        let len = |body: &mut B, _: &O| body.size_hint().exact();
        // SAFETY: as in `poll_next`.
        let len = shield(|| unsafe { Shell::with(data, len) });
        len.flatten().flatten().unwrap_or(abi::UNKNOWN_LEN)
    }

    unsafe extern "C" fn drop(data: *mut ()) {
        // SAFETY: as in `poll_next`; called once.
        shield(|| release::scope(|| unsafe { Shell::<B, O>::free(data) }));
    }
}

fn into_frame(frame: Frame<Bytes>) -> abi::Frame {
    match frame.into_data() {
        Ok(data) => data_frame(data),
        Err(frame) => {
            let trailers = frame.into_trailers().unwrap_or_default();
            abi::Frame { data: lend(Bytes::new()), trailers: header::owned(trailers) }
        }
    }
}

fn data_frame(data: Bytes) -> abi::Frame {
    abi::Frame { data: lend(data), trailers: abi::Headers::NONE }
}

/// Hands bytes of the host to a plugin, without copying them.
fn lend(bytes: Bytes) -> abi::Bytes {
    unsafe extern "C" fn free(owner: *mut (), _: *const u8, _: usize) {
        // SAFETY: the box made below; the receiver calls this once.
        let bytes = unsafe { Box::from_raw(owner.cast::<Bytes>()) };
        shield(|| drop(bytes));
    }
    let (ptr, len) = (bytes.as_ptr(), bytes.len());
    if len == 0 {
        return abi::Bytes { ptr, len, owner: ptr::null_mut(), drop: None };
    }
    abi::Bytes { ptr, len, owner: Box::into_raw(Box::new(bytes)).cast(), drop: Some(free) }
}
