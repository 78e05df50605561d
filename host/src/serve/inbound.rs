//! A request's body as a plugin reads it, with the limits that hyper and h2 do not have.
//!
//! Owns the clock of a body: how long its client may send nothing, and how long the handler has
//! waited for its client, which is not the plugin's time. Invariant: a body that is let go of before
//! its end is handed over to be read away: to [`Rest`], or to the task of its HTTP/2 stream.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::{
    own::{self, Own},
    rest::Rest,
};
use crate::{config::Limits, plugin::release};

/// A request's body: bounded in size and in the time between two pieces.
#[derive(Debug)]
pub(super) struct Inbound {
    source: Source,
    gap: Duration,
    /// Units: bytes that may still come.
    left: u64,
    /// Armed only while a piece is being waited for.
    timer: Option<Pin<Box<Sleep>>>,
    upload: Rc<Upload>,
}

#[derive(Debug)]
enum Source {
    /// It has come already.
    Whole(Option<Bytes>),
    H1 {
        /// Taken when it is let go of.
        incoming: Option<Incoming>,
        rest: Rc<Rest>,
        request: u32,
        /// The client sends without being asked, or was asked.
        asked: bool,
    },
    H2 {
        /// Taken when it is let go of.
        stream: Option<RecvStream>,
        leftover: Weak<Leftover>,
        /// Units: bytes still to come, where the client has said so.
        promised: Option<u64>,
        /// Only trailers may still come.
        data_ended: bool,
    },
}

/// Where an HTTP/2 body goes that nobody reads any more.
#[derive(Debug, Default)]
pub(super) struct Leftover {
    stream: RefCell<Option<RecvStream>>,
    waker: RefCell<Option<Waker>>,
}

impl Leftover {
    fn put(&self, stream: RecvStream) {
        self.stream.replace(Some(stream));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Puts back what was only looked at.
    pub(super) fn put_back(&self, stream: RecvStream) {
        self.stream.replace(Some(stream));
    }

    /// What has been put here; else whoever asks is woken when something is.
    pub(super) fn take(&self, cx: &Context<'_>) -> Option<RecvStream> {
        let stream = self.stream.take();
        if stream.is_none() {
            self.waker.replace(Some(cx.waker().clone()));
        }
        stream
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stream.borrow().is_none()
    }
}

/// How a body's upload goes, for whoever waits for the handler that reads it.
#[derive(Debug, Default)]
pub(super) struct Upload {
    fault: Cell<Option<Own>>,
    gap: Cell<Duration>,
    /// Since when the handler waits for its client.
    waiting: Cell<Option<Instant>>,
    /// How long it has waited before.
    waited: Cell<Duration>,
    /// Counts how often somebody has asked for a piece; wraps.
    polls: Cell<u32>,
    /// It has come whole, or nobody reads it any more.
    over: Cell<bool>,
}

impl Upload {
    /// What the client did wrong: the answer that says so, where the handler fails of it.
    pub(super) fn fault(&self) -> Option<Own> {
        self.fault.get()
    }

    /// How often somebody has asked for a piece; wraps.
    pub(super) fn polls(&self) -> u32 {
        self.polls.get()
    }

    /// Whether somebody waits for a piece, and may: after a gap there is something to hear.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.get().is_some_and(|since| since.elapsed() <= self.gap.get())
    }

    /// Whether somebody may still read it.
    pub(super) fn is_open(&self) -> bool {
        !self.over.get()
    }

    /// How long the handler has waited for its client. A wait that the handler does not come back
    /// from counts up to the limit of a gap: then the body has something to tell, and it is the
    /// handler that does not ask.
    pub(super) fn waited(&self, now: Instant) -> Duration {
        let waiting = self.waiting.get().map_or(Duration::ZERO, |since| now - since);
        self.waited.get() + waiting.min(self.gap.get())
    }

    fn wait(&self) {
        if self.waiting.get().is_none() {
            self.waiting.set(Some(Instant::now()));
        }
    }

    fn go_on(&self) {
        if self.waiting.get().is_some() {
            self.waited.set(self.waited(Instant::now()));
            self.waiting.set(None);
        }
    }
}

impl Inbound {
    /// A body of HTTP/1. `expects`: the client waits for a `100 Continue`.
    pub(super) fn h1(incoming: Incoming, rest: Rc<Rest>, expects: bool, limits: &Limits) -> Self {
        let (incoming, request) = (Some(incoming), rest.request());
        Self::new(Source::H1 { incoming, rest, request, asked: !expects }, limits)
    }

    /// A body of HTTP/2, of `promised` bytes.
    pub(super) fn h2(
        stream: RecvStream,
        leftover: &Rc<Leftover>,
        promised: Option<u64>,
        limits: &Limits,
    ) -> Self {
        let (stream, leftover) = (Some(stream), Rc::downgrade(leftover));
        Self::new(Source::H2 { stream, leftover, promised, data_ended: false }, limits)
    }

    /// A body that has come already.
    pub(super) fn whole(bytes: Bytes, limits: &Limits) -> Self {
        Self::new(Source::Whole(Some(bytes)), limits)
    }

    fn new(source: Source, limits: &Limits) -> Self {
        let left = if limits.body_bytes == 0 { u64::MAX } else { limits.body_bytes };
        let upload = Rc::new(Upload::default());
        upload.gap.set(limits.body_gap);
        Self { source, gap: limits.body_gap, left, timer: None, upload }
    }

    /// How it goes.
    pub(super) fn upload(&self) -> Rc<Upload> {
        self.upload.clone()
    }

    fn fail(&self, own: Own, text: String) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        self.upload.fault.set(Some(own));
        Poll::Ready(Some(Err(text)))
    }

    fn count(&mut self, frame: Frame<Bytes>) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        let len = frame.data_ref().map_or(0, |data| data.len() as u64);
        match self.left.checked_sub(len) {
            None => self.fail(own::TOO_LARGE, own::TOO_LARGE.text.to_owned()),
            Some(left) => {
                self.left = left;
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }
}

/// What hyper or h2 have to say of a body.
type Fault = Box<dyn std::error::Error + Send + Sync>;

impl Source {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::H1 { incoming, rest, request, asked } => {
                *asked = true;
                // hyper tells the end of a body that is read after its answer only at the next head.
                let incoming = incoming.as_mut().filter(|incoming| !incoming.is_end_stream());
                let Some(incoming) = incoming else { return Poll::Ready(None) };
                let frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
                if frame.is_none() || incoming.is_end_stream() {
                    rest.has_whole(*request);
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Self::H2 { stream, promised, data_ended, .. } => {
                let Some(stream) = stream else { return Poll::Ready(None) };
                if !*data_ended {
                    if let Some(data) = ready!(stream.poll_data(cx)) {
                        let data = data?;
                        // Taken: the client may send as much again.
                        stream.flow_control().release_capacity(data.len())?;
                        if let Some(promised) = promised {
                            *promised = promised.saturating_sub(data.len() as u64);
                        }
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    *data_ended = true;
                }
                let trailers = ready!(stream.poll_trailers(cx))?;
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
        }
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        let this = &mut *self;
        this.upload.polls.set(this.upload.polls.get().wrapping_add(1));
        let Poll::Ready(frame) = this.source.poll_frame(cx) else {
            this.upload.wait();
            let gap = this.gap;
            let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(gap)));
            ready!(timer.as_mut().poll(cx));
            this.upload.go_on();
            return this.fail(own::BODY_TIMEOUT, format!("nothing of the body came for {gap:?}"));
        };
        this.upload.go_on();
        this.timer = None;
        match frame {
            None => {
                this.upload.over.set(true);
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                let text = format!("the client's body broke off: {error}");
                this.fail(own::BODY_BROKEN, text)
            }
            Some(Ok(frame)) => this.count(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Whole(bytes) => bytes.is_none(),
            Source::H1 { incoming, .. } => incoming.as_ref().is_none_or(Incoming::is_end_stream),
            Source::H2 { stream, .. } => stream.as_ref().is_none_or(RecvStream::is_end_stream),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Source::H1 { incoming, .. } => {
                incoming.as_ref().map_or(SizeHint::with_exact(0), Incoming::size_hint)
            }
            Source::H2 { promised, .. } => promised.map(SizeHint::with_exact).unwrap_or_default(),
        }
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        self.upload.go_on();
        self.upload.over.set(true);
        match &mut self.source {
            Source::Whole(_) => {}
            Source::H1 { incoming, rest, request, asked } => {
                if let Some(incoming) = incoming.take() {
                    rest.put(incoming, *request, *asked);
                }
            }
            // h2 may throw away what it has of the answer with it, inside its lock.
            Source::H2 { stream, leftover, .. } => release::scope(|| {
                let stream = stream.take().filter(|stream| !stream.is_end_stream());
                // Without anybody to read it away it is reset here.
                if let (Some(leftover), Some(stream)) = (leftover.upgrade(), stream) {
                    leftover.put(stream);
                }
            }),
        }
    }
}
