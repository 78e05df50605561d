//! A request's body that comes when the test says so.
#![expect(unsafe_code, reason = "plays the host's side of the ABI")]

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    fields::{self, List},
    waker::Kept,
    world::{World, lock},
};
use crate::{
    abi::{self, BodyVt, Frame, Headers, Stream, UNKNOWN_LEN, Waker, poll},
    owned::OwnedBytes,
};

/// The body of a request, piece by piece: the plugin waits for each until the test sends it. Cheap to
/// clone, and usable from other threads.
///
/// ```
/// # use hotseat_plugin_api::{Context, Handler, Request, Response, Result};
/// # struct Echo;
/// # impl Handler for Echo {
/// #     fn new(_: &Context) -> Result<Self> { Ok(Self) }
/// #     async fn call(&self, it: Request<'_>) -> Result<Response> { Ok(Response::stream(it.body())) }
/// # }
/// use hotseat_plugin_api::testing::{Host, Upload};
///
/// # fn main() -> Result<()> {
/// let kit = Host::<Echo>::new().start()?;
/// let upload = Upload::new();
/// let mut reply = kit.post("/", "").upload(&upload).send();
/// assert!(reply.try_piece().is_pending());
/// upload.send("one");
/// assert_eq!(reply.piece()?.as_deref(), Some(&b"one"[..]));
/// upload.end();
/// assert_eq!(reply.piece()?, None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Upload {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    steps: VecDeque<Step>,
    /// Whole, from the beginning.
    len: Option<u64>,
    has_ended: bool,
    is_taken: bool,
    is_dropped: bool,
    waiting: Option<Kept>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("steps", &self.steps.len()).finish_non_exhaustive()
    }
}

enum Step {
    Data(Bytes),
    Trailers(List),
    Fail(String),
}

impl Upload {
    /// One without any piece yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All of it at once, with its length.
    pub(super) fn whole(body: Bytes) -> Self {
        let upload = Self::new();
        lock(&upload.state).len = u64::try_from(body.len()).ok();
        upload.send(body);
        upload.end();
        upload
    }

    /// Sends a piece.
    pub fn send(&self, piece: impl Into<Bytes>) {
        let piece = piece.into();
        if !piece.is_empty() {
            self.step(Some(Step::Data(piece)), false);
        }
    }

    /// Ends the body with trailers.
    ///
    /// # Panics
    /// When one is no header field.
    #[track_caller]
    pub fn trailers<N, V>(&self, fields: impl IntoIterator<Item = (N, V)>)
    where
        N: TryInto<HeaderName, Error: fmt::Debug>,
        V: TryInto<HeaderValue, Error: fmt::Debug>,
    {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name.try_into().expect("a name"), value.try_into().expect("a value"));
        }
        self.step(Some(Step::Trailers(List::of(&map))), true);
    }

    /// Breaks the body off, as a client does that goes away.
    pub fn fail(&self, why: impl Into<String>) {
        self.step(Some(Step::Fail(why.into())), true);
    }

    /// Ends the body.
    pub fn end(&self) {
        self.step(None, true);
    }

    /// Whether the plugin has let go of it, read or not.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        lock(&self.state).is_dropped
    }

    fn step(&self, step: Option<Step>, is_last: bool) {
        let waiting = {
            let mut state = lock(&self.state);
            if !state.has_ended {
                state.steps.extend(step);
                state.has_ended = is_last;
            }
            state.waiting.take()
        };
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    /// Bytes that are to come, if that was said.
    pub(super) fn len(&self) -> u64 {
        lock(&self.state).left()
    }

    /// The body for the plugin, the first time.
    pub(super) fn take(&self, world: &'static World) -> Option<Stream> {
        if std::mem::replace(&mut lock(&self.state).is_taken, true) {
            return None;
        }
        let body = Box::new(Taken { world, upload: self.clone() });
        Some(Stream { data: Box::into_raw(body).cast(), vt: (&raw const VT).cast() })
    }
}

impl State {
    fn left(&self) -> u64 {
        let Some(_) = self.len else { return UNKNOWN_LEN };
        let len = |step: &Step| match step {
            Step::Data(data) => data.len() as u64,
            Step::Trailers(_) | Step::Fail(_) => 0,
        };
        self.steps.iter().map(len).sum()
    }
}

/// The body, as the plugin has it.
struct Taken {
    world: &'static World,
    upload: Upload,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let (steps, waiting) = {
            let mut state = lock(&self.upload.state);
            state.is_dropped = true;
            state.has_ended = true;
            (std::mem::take(&mut state.steps), state.waiting.take())
        };
        drop((steps, waiting));
    }
}

static VT: BodyVt =
    BodyVt { size: abi::size_of_u32::<BodyVt>(), poll_next, len, drop: free, any_thread: 1 };

unsafe extern "C" fn poll_next(data: *mut (), waker: *const Waker, out: *mut Frame) -> u32 {
    // SAFETY: made in `take`.
    let taken = unsafe { &*data.cast::<Taken>() };
    // SAFETY: the waker of a poll is valid for it.
    let kept = unsafe { Kept::of(taken.world, waker) };
    let mut state = lock(&taken.upload.state);
    let Some(step) = state.steps.pop_front() else {
        if state.has_ended {
            drop(state);
            return poll::END;
        }
        let before = state.waiting.replace(kept);
        drop(state);
        drop(before);
        return poll::PENDING;
    };
    drop(state);
    let (data, trailers, code) = match step {
        Step::Data(data) => (data.into(), Headers::NONE, poll::READY),
        Step::Trailers(list) => (OwnedBytes::EMPTY, fields::give(list), poll::READY),
        Step::Fail(text) => (text.into(), Headers::NONE, poll::FAILED),
    };
    // SAFETY: room for a frame.
    unsafe { out.write(Frame { data: data.into_abi(), trailers }) };
    code
}

unsafe extern "C" fn len(data: *const ()) -> u64 {
    // SAFETY: made in `take`.
    unsafe { &*data.cast::<Taken>() }.upload.len()
}

unsafe extern "C" fn free(data: *mut ()) {
    // SAFETY: made in `take`, dropped once.
    drop(unsafe { Box::from_raw(data.cast::<Taken>()) });
}
