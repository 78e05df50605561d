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
/// It ends by [`end`](Self::end), [`trailers`](Self::trailers) or [`fail`](Self::fail). When its last
/// clone is dropped before, its client has gone away: the body breaks off as by `fail`. A test that keeps
/// it open and waits for an answer that the plugin gives behind the end of the body is stuck, and told so.
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
    client: Arc<Client>,
}

/// The end of a body that the test has.
#[derive(Debug, Default)]
struct Client(Source);

impl Drop for Client {
    fn drop(&mut self) {
        self.0.step(Some(Step::Fail("the test has dropped its `Upload`".to_owned())), true);
    }
}

/// The body itself, which a request has as well.
#[derive(Clone, Debug, Default)]
pub(super) struct Source {
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

    /// Sends a piece.
    pub fn send(&self, piece: impl Into<Bytes>) {
        let piece = piece.into();
        if !piece.is_empty() {
            self.client.0.step(Some(Step::Data(piece)), false);
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
        self.client.0.step(Some(Step::Trailers(List::of(&map))), true);
    }

    /// Breaks the body off, as a client does that goes away.
    pub fn fail(&self, why: impl Into<String>) {
        self.client.0.step(Some(Step::Fail(why.into())), true);
    }

    /// Ends the body.
    pub fn end(&self) {
        self.client.0.step(None, true);
    }

    /// Whether the plugin has let go of it, read or not.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        lock(&self.client.0.state).is_dropped
    }

    /// What a request has of it, which keeps no client.
    pub(super) fn source(&self) -> Source {
        self.client.0.clone()
    }
}

impl Source {
    /// All of it at once, with its length.
    pub(super) fn whole(body: Bytes) -> Self {
        let upload = Upload::new();
        let source = upload.source();
        lock(&source.state).len = u64::try_from(body.len()).ok();
        upload.send(body);
        upload.end();
        source
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
        world.bodies.add(self);
        let body = Box::new(Taken { world, source: self.clone() });
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

/// Bodies that the plugin has not let go of.
#[derive(Debug, Default)]
pub(super) struct Bodies(Mutex<Vec<Source>>);

impl Bodies {
    fn add(&self, source: &Source) {
        lock(&self.0).push(source.clone());
    }

    fn remove(&self, source: &Source) {
        lock(&self.0).retain(|it| !Arc::ptr_eq(&it.state, &source.state));
    }

    /// Whether the plugin waits for what the test has to send.
    pub(super) fn are_waited_for(&self) -> bool {
        lock(&self.0).iter().any(|it| lock(&it.state).waiting.is_some())
    }
}

/// The body, as the plugin has it.
struct Taken {
    world: &'static World,
    source: Source,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let (steps, waiting) = {
            let mut state = lock(&self.source.state);
            state.is_dropped = true;
            state.has_ended = true;
            (std::mem::take(&mut state.steps), state.waiting.take())
        };
        self.world.bodies.remove(&self.source);
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
    let mut state = lock(&taken.source.state);
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
    unsafe { &*data.cast::<Taken>() }.source.len()
}

unsafe extern "C" fn free(data: *mut ()) {
    // SAFETY: made in `take`, dropped once.
    drop(unsafe { Box::from_raw(data.cast::<Taken>()) });
}
