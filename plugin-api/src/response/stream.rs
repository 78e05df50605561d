//! A body of this library, as the host polls it.
//!
//! Owns the adapter from `http_body` to [`abi::Stream`]. Knows nothing of who writes the body.
//! Invariant: poll and drop let no panic out; the host's waker is passed through.
#![expect(unsafe_code, reason = "functions that the host calls with raw pointers")]

use std::{
    marker::PhantomData,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};
use http_body::Body;

use super::{Payload, fields::Fields};
use crate::{
    Error,
    abi::{self, Headers, Stream, StreamVt, UNKNOWN_LEN, poll},
    guard::guard,
    owned::{OwnedBytes, OwnedStream},
    waker,
};

/// A body whose error can be told.
trait Source: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>> {}

impl<B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>> Source for B {}

struct State<B: Body> {
    /// A frame that was looked at before the host asked.
    first: Option<http_body::Frame<B::Data>>,
    body: B,
}

/// Boxes `body` for the host.
pub(super) fn export<B>(body: B) -> OwnedStream
where
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    boxed(Box::pin(State { first: None, body }))
}

/// `body` in its cheapest form: nothing, one piece, or a stream.
pub(super) fn payload<B>(body: B) -> Payload
where
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if body.is_end_stream() {
        return Payload::Empty;
    }
    let fixed = body.size_hint().exact();
    let mut state = Box::pin(State { first: None, body });
    if fixed.is_some() {
        // What is there whole needs no waker; what is not will be polled again with one.
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(Some(Ok(frame))) = body_of(state.as_mut()).poll_frame(&mut cx) {
            match frame.into_data() {
                Ok(data) if state.body.is_end_stream() => {
                    return Payload::Bytes(piece(data).into());
                }
                Ok(data) => put_first(state.as_mut(), http_body::Frame::data(data)),
                Err(frame) => put_first(state.as_mut(), frame),
            }
        }
    }
    Payload::Stream(boxed(state))
}

fn boxed<B>(state: Pin<Box<State<B>>>) -> OwnedStream
where
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // SAFETY: the host treats the box as pinned: it only passes the pointer back to the table.
    let state = unsafe { Pin::into_inner_unchecked(state) };
    OwnedStream(Stream { data: Box::into_raw(state).cast(), vt: Table::<B>::TABLE })
}

fn body_of<B: Body>(state: Pin<&mut State<B>>) -> Pin<&mut B> {
    // SAFETY: the body is pinned whenever its state is; nothing moves it out.
    unsafe { state.map_unchecked_mut(|state| &mut state.body) }
}

fn put_first<B: Body>(state: Pin<&mut State<B>>, frame: http_body::Frame<B::Data>) {
    // SAFETY: `first` is never pinned.
    unsafe { state.get_unchecked_mut() }.first = Some(frame);
}

fn take_first<B: Body>(state: Pin<&mut State<B>>) -> Option<http_body::Frame<B::Data>> {
    // SAFETY: `first` is never pinned.
    unsafe { state.get_unchecked_mut() }.first.take()
}

/// Free of copies where the data is [`Bytes`] already.
fn piece(mut data: impl Buf) -> Bytes {
    data.copy_to_bytes(data.remaining())
}

struct Table<B>(PhantomData<B>);

impl<B: Source> Table<B> {
    const TABLE: &'static StreamVt = &StreamVt {
        size: crate::abi::size_of_u32::<StreamVt>(),
        poll_next: poll_next::<B>,
        len: len::<B>,
        drop: free::<B>,
    };
}

unsafe extern "C" fn poll_next<B: Source>(
    data: *mut (),
    waker: *const abi::Waker,
    out: *mut abi::Frame,
) -> u32 {
    // SAFETY: the box made in `boxed`, used by one thread at a time and pinned for good.
    let mut state = unsafe { Pin::new_unchecked(&mut *data.cast::<State<B>>()) };
    // SAFETY: the caller gives room for one frame.
    let out = unsafe { &mut *out.cast::<MaybeUninit<abi::Frame>>() };
    let code = guard(|| {
        let polled = match take_first(state.as_mut()) {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            // SAFETY: the caller's waker is valid for the call.
            None => unsafe { waker::with_std(waker, |cx| body_of(state).poll_frame(cx)) },
        };
        match polled {
            Poll::Pending => poll::PENDING,
            Poll::Ready(None) => poll::END,
            Poll::Ready(Some(Ok(frame))) => {
                out.write(wire(frame));
                poll::READY
            }
            Poll::Ready(Some(Err(error))) => {
                let error: Box<dyn std::error::Error + Send + Sync> = error.into();
                let text = OwnedBytes::from(Error::from(error).into_text());
                out.write(abi::Frame { data: text.into_abi(), trailers: Headers::NONE });
                poll::FAILED
            }
        }
    });
    code.unwrap_or(poll::PANICKED)
}

fn wire<D: Buf>(frame: http_body::Frame<D>) -> abi::Frame {
    match frame.into_data() {
        Ok(data) => {
            abi::Frame { data: OwnedBytes::from(piece(data)).into_abi(), trailers: Headers::NONE }
        }
        Err(frame) => {
            let trailers = frame.into_trailers().unwrap_or_default();
            abi::Frame {
                data: OwnedBytes::EMPTY.into_abi(),
                trailers: Fields::from(trailers).give(),
            }
        }
    }
}

unsafe extern "C" fn len<B: Source>(data: *const ()) -> u64 {
    // SAFETY: as in `poll_next`.
    let state = unsafe { &*data.cast::<State<B>>() };
    let len = guard(|| {
        let first = state.first.as_ref().and_then(|frame| frame.data_ref());
        let first = first.map_or(0, |data| data.remaining() as u64);
        state.body.size_hint().exact().map(|rest| rest.saturating_add(first))
    });
    len.flatten().unwrap_or(UNKNOWN_LEN)
}

unsafe extern "C" fn free<B: Source>(data: *mut ()) {
    // SAFETY: the box made in `boxed`; the host frees a stream once.
    let state = unsafe { Box::from_raw(data.cast::<State<B>>()) };
    guard(|| drop(state));
}
