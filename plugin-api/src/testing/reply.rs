//! What the plugin has answered.
#![expect(unsafe_code, reason = "plays the host's side of the ABI")]

use std::{fmt, mem::MaybeUninit, sync::Arc, task::Poll};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

use super::{
    Running,
    driver::{End, Inside},
    fields,
    head::Client,
    peer::Peer,
    waker::Lent,
};
use crate::{
    BodyError,
    abi::{Answer, Frame, Stream, body, poll},
    owned::{OwnedBytes, OwnedStream},
    upgrade::OwnedUpgrade,
};

/// An answer. Where the handler failed, panicked or was too late it is what the host makes of that,
/// with the reason in [`error`](Self::error).
///
/// When it is dropped its client goes away: a body that is not at its end is dropped.
pub struct Reply<'k> {
    kit: &'k Running,
    what: String,
    status: StatusCode,
    headers: HeaderMap,
    trailers: Option<HeaderMap>,
    body: Body,
    error: Option<String>,
    client: Arc<Client>,
}

enum Body {
    Ended,
    Whole(Bytes),
    Stream(Inside<OwnedStream>, Lent),
    Upgrade(Inside<OwnedUpgrade>),
}

impl<'k> Reply<'k> {
    /// `None`: it was too late.
    pub(super) fn new(
        kit: &'k Running,
        what: String,
        end: Option<End<Answer>>,
        client: Arc<Client>,
    ) -> Self {
        let mut reply = Self {
            kit,
            what,
            status: StatusCode::INTERNAL_SERVER_ERROR,
            headers: HeaderMap::new(),
            trailers: None,
            body: Body::Ended,
            error: None,
            client,
        };
        let Some(End { code, value, panic }) = end else {
            reply.status = StatusCode::GATEWAY_TIMEOUT;
            reply.error = Some("the deadline has passed".to_owned());
            return reply;
        };
        let inside = kit.world().enter();
        match (code, value) {
            (poll::READY, Some(answer)) => reply.read(answer),
            (poll::FAILED, Some(answer)) => {
                // SAFETY: on FAILED the text is the receiver's, and nothing else is there.
                let text = unsafe { OwnedBytes::from_abi(answer.bytes) }.to_text();
                reply.error = Some(text);
            }
            _ => reply.error = Some(panic.unwrap_or_else(|| "a panic".to_owned())),
        }
        drop(inside);
        reply
    }

    fn read(&mut self, answer: Answer) {
        let world = self.kit.world();
        match StatusCode::from_u16(answer.status) {
            Ok(status) => self.status = status,
            Err(_) => self.error = Some(format!("{} is no status", answer.status)),
        }
        match fields::take(answer.headers) {
            Ok(headers) => self.headers = headers,
            Err(error) => self.error = Some(error.to_string()),
        }
        self.body = match answer.body {
            body::BYTES => {
                // SAFETY: valid with this body, and the receiver's.
                let bytes = unsafe { OwnedBytes::from_abi(answer.bytes) };
                Body::Whole(Bytes::copy_from_slice(bytes.as_ref()))
            }
            body::STREAM => {
                Body::Stream(Inside::new(world, OwnedStream(answer.stream)), Lent::new(world))
            }
            body::UPGRADE => Body::Upgrade(Inside::new(world, OwnedUpgrade(answer.upgrade))),
            _ => Body::Ended,
        };
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The header fields.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The first value of the field `name` as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The trailers, once the body has been read.
    #[must_use]
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    /// Why the handler gave no answer: its error, its panic with the place, or that it was too late.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Waits for the next piece of the body; `None` at its end. Of a body that is whole it is all.
    ///
    /// # Errors
    /// When the plugin breaks the body off.
    ///
    /// # Panics
    /// When nothing comes within the [patience](super::Host::patience) of the kit.
    #[track_caller]
    pub fn piece(&mut self) -> Result<Option<Bytes>, BodyError> {
        let what = format!("the body of {}", self.what);
        let kit = self.kit;
        kit.driver().wait(&what, || match self.poll_piece() {
            Poll::Ready(piece) => Some(piece),
            Poll::Pending => None,
        })
    }

    /// The next piece if there is one without time passing, once everything has gone on that can.
    ///
    /// # Errors
    /// As [`piece`](Self::piece).
    ///
    /// # Panics
    /// When the kit does not come to rest within its [patience](super::Host::patience).
    #[track_caller]
    pub fn try_piece(&mut self) -> Poll<Result<Option<Bytes>, BodyError>> {
        self.kit.settle();
        let polled = self.poll_piece();
        if polled.is_ready() {
            return polled;
        }
        // What that has begun may have come to something.
        self.kit.settle();
        self.poll_piece()
    }

    /// The whole rest of the body.
    ///
    /// # Panics
    /// When it breaks off, or as [`piece`](Self::piece).
    #[track_caller]
    pub fn bytes(&mut self) -> Bytes {
        let mut all = Vec::new();
        loop {
            match self.piece() {
                Ok(Some(piece)) => all.extend_from_slice(&piece),
                Ok(None) => return all.into(),
                Err(error) => panic!("{}: {error}", self.what),
            }
        }
    }

    /// The whole rest of the body as text. Without a body, and with an [`error`](Self::error), it is
    /// that.
    ///
    /// # Panics
    /// When it is no text, or as [`bytes`](Self::bytes).
    #[track_caller]
    pub fn text(&mut self) -> String {
        if let Some(error) = &self.error {
            return error.clone();
        }
        let text = String::from_utf8(self.bytes().into());
        text.unwrap_or_else(|error| panic!("{}: the body is no text: {error}", self.what))
    }

    /// The whole rest of the body, read as JSON.
    ///
    /// # Panics
    /// When it is none of a `T`, or as [`text`](Self::text).
    #[track_caller]
    pub fn json<T: DeserializeOwned>(&mut self) -> T {
        let text = self.text();
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error} in `{text}`", self.what))
    }

    /// The client's end of the connection, after a 101.
    ///
    /// # Panics
    /// When the answer is another one.
    #[track_caller]
    pub fn upgraded(mut self) -> Peer<'k> {
        let body = std::mem::replace(&mut self.body, Body::Ended);
        let Body::Upgrade(upgrade) = body else {
            self.body = body;
            let text = self.text();
            panic!("{}: no upgrade but {} {text:?}", self.what, self.status);
        };
        Peer::new(self.kit, self.what.clone(), upgrade)
    }

    fn poll_piece(&mut self) -> Poll<Result<Option<Bytes>, BodyError>> {
        match &mut self.body {
            Body::Ended | Body::Upgrade(_) => Poll::Ready(Ok(None)),
            Body::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.body = Body::Ended;
                Poll::Ready(Ok(Some(bytes).filter(|it| !it.is_empty())))
            }
            Body::Stream(stream, waker) => {
                if !waker.take() {
                    return Poll::Pending;
                }
                let world = self.kit.world();
                let inside = world.enter();
                let polled = poll_stream(stream, waker);
                drop(inside);
                self.settle_piece(polled)
            }
        }
    }

    fn settle_piece(&mut self, polled: Polled) -> Poll<Result<Option<Bytes>, BodyError>> {
        match polled {
            Polled::Pending => return Poll::Pending,
            Polled::Data(bytes) => {
                // It may have more at once.
                if let Body::Stream(_, waker) = &self.body {
                    waker.wake();
                }
                return Poll::Ready(Ok(Some(bytes)));
            }
            Polled::Trailers(trailers) => self.trailers = Some(trailers),
            Polled::End => {}
            Polled::Broken(text) => {
                self.body = Body::Ended;
                return Poll::Ready(Err(BodyError::Broken(text)));
            }
        }
        self.body = Body::Ended;
        Poll::Ready(Ok(None))
    }
}

enum Polled {
    Pending,
    Data(Bytes),
    Trailers(HeaderMap),
    End,
    Broken(String),
}

fn poll_stream(stream: &OwnedStream, waker: &Lent) -> Polled {
    let Stream { data, vt } = stream.0;
    let mut out = MaybeUninit::<Frame>::uninit();
    // SAFETY: the stream is alive and has not ended; waker and room are there for the call.
    let code = unsafe { ((*vt).poll_next)(data, waker.raw(), out.as_mut_ptr()) };
    match code {
        poll::PENDING => Polled::Pending,
        poll::READY => {
            // SAFETY: filled on READY.
            let Frame { data, trailers } = unsafe { out.assume_init() };
            // SAFETY: a frame is the receiver's.
            let data = unsafe { OwnedBytes::from_abi(data) };
            if trailers.vt.is_null() {
                return Polled::Data(Bytes::copy_from_slice(data.as_ref()));
            }
            match fields::take(trailers) {
                Ok(trailers) => Polled::Trailers(trailers),
                Err(error) => Polled::Broken(error.to_string()),
            }
        }
        poll::FAILED => {
            // SAFETY: on FAILED the frame's data is an error's text.
            let text = unsafe { (&raw const (*out.as_ptr()).data).read() };
            // SAFETY: the receiver's.
            Polled::Broken(unsafe { OwnedBytes::from_abi(text) }.to_text())
        }
        poll::END => Polled::End,
        _ => Polled::Broken("its code panicked".to_owned()),
    }
}

impl Drop for Reply<'_> {
    fn drop(&mut self) {
        if matches!(self.body, Body::Stream(..)) {
            self.client.leave();
        }
    }
}

impl fmt::Debug for Reply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("to", &self.what)
            .field("status", &self.status)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}
