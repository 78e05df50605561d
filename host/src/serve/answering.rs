//! The way back of one request: the plugin's call, its time, and the answer in the form of its HTTP.
//!
//! Owns the future that hyper and the streams of HTTP/2 poll for an answer. Knows nothing of routes.
//! Invariants: when it ends, the call's future has been let go of and the body that nobody has asked
//! for too; a 101 is answered only after the request's body has come and gone.

use std::{
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header,
    request::Parts,
};
use http_body::Body as _;
use tokio::time::{Instant, Sleep};

use super::{
    aside::{Aside, Upgrade},
    conn::Conn,
    hold::{Exchange, Hold},
    inbound::{Inbound, Upload},
    outbound::{Answered, Outbound},
    own::{self, Answer, Own},
    rules,
};
use crate::{
    plugin::{
        call::{self, Reply},
        exchange::Head,
        future::CallError,
    },
    route::Count,
};

/// A call in flight on this core.
pub(super) type Call = call::Call<Hold, Inbound>;

/// An answer on its way.
#[derive(Debug)]
pub(super) enum Answering {
    /// The host's own; `None` once it is over.
    Own(Option<Answer>),
    /// The plugin's.
    Calling(Calling),
    /// The plugin's, a 101: what is left of the request's body is still coming.
    Upgrading { answer: Box<Response<Outbound>>, upgrade: Option<Upgrade>, aside: Rc<Aside> },
}

#[derive(Debug)]
pub(super) struct Calling {
    call: Call,
    wire: Wire,
    clock: Clock,
    aside: Option<Rc<Aside>>,
}

/// The plugin's time: it stands still while the handler waits for its client's body.
#[derive(Debug)]
pub(super) struct Clock {
    time: Duration,
    upload: Option<Rc<Upload>>,
    /// Armed only if the handler waits.
    timer: Option<Box<Timer>>,
}

#[derive(Debug)]
struct Timer {
    sleep: Pin<Box<Sleep>>,
    since: Instant,
}

impl Clock {
    /// Of a call that may take `time`; `upload` is how its body comes.
    pub(super) fn new(time: Duration, upload: Option<Rc<Upload>>) -> Self {
        Self { time, upload, timer: None }
    }

    /// Ready when the plugin's time is up.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { time, upload, timer } = self;
        let start = || {
            let now = Instant::now();
            Box::new(Timer { sleep: Box::pin(tokio::time::sleep_until(now + *time)), since: now })
        };
        let Timer { sleep, since } = &mut **timer.get_or_insert_with(start);
        loop {
            ready!(sleep.as_mut().poll(cx));
            let now = Instant::now();
            let waited = upload.as_ref().map_or(Duration::ZERO, |upload| upload.waited(now));
            let due = *since + *time + waited;
            if due <= now {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }

    /// What the client did wrong.
    pub(super) fn fault(&self) -> Option<Own> {
        self.upload.as_ref()?.fault()
    }
}

/// What the answer is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wire {
    version: Version,
    head: bool,
}

impl Wire {
    pub(super) fn of(parts: &Parts) -> Self {
        Self { version: parts.version, head: parts.method == Method::HEAD }
    }

    fn is_h2(self) -> bool {
        self.version == Version::HTTP_2
    }

    /// The last touch: a body that must not be there goes, and the last answer of an HTTP/1
    /// connection says that it is the last, upon which hyper ends it.
    #[inline]
    pub(super) fn seal<B: Emptied>(
        self,
        answer: &mut Response<B>,
        conn: &Conn,
        aside: Option<&Aside>,
        last: bool,
    ) {
        self.fit(answer);
        let Some(aside) = aside else { return };
        // Without a length only the end of the connection ends an answer of HTTP/1.0.
        let unending = self.version == Version::HTTP_10 && !answer.body().is_measured();
        let last = last || unending || conn.is_closing() || aside.rest.is_given_up();
        if last && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            aside.rest.give_up();
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            if self.version == Version::HTTP_10 {
                // Else hyper would add `keep-alive` for a client that has asked for it.
                *answer.version_mut() = Version::HTTP_10;
            }
        }
    }

    /// hyper knows when HTTP/1 has no body, but for the one that says so of itself (RFC 9110, 15.3.6).
    #[inline]
    fn fit<B: Emptied>(self, answer: &mut Response<B>) {
        let reset = answer.status() == StatusCode::RESET_CONTENT;
        let bodiless =
            reset || matches!(answer.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        // The length that a HEAD describes need not be that of the body beside it.
        let described = self.head && answer.headers().contains_key(header::CONTENT_LENGTH);
        let here = if self.is_h2() { bodiless || self.head } else { reset || described };
        if !here {
            return;
        }
        let len = answer.body_mut().empty();
        let headers = answer.headers_mut();
        if reset {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        } else if let Some(len) = len.filter(|_| !bodiless) {
            headers.entry(header::CONTENT_LENGTH).or_insert(len.into());
        }
    }
}

/// A body that can be taken out of its answer.
pub(super) trait Emptied {
    /// Whether its length is known.
    fn is_measured(&self) -> bool;

    /// Leaves nothing. Returns how long it was, where that is known and not 0.
    fn empty(&mut self) -> Option<u64>;
}

impl Emptied for bytes::Bytes {
    fn is_measured(&self) -> bool {
        true
    }

    fn empty(&mut self) -> Option<u64> {
        Some(std::mem::take(self).len() as u64).filter(|len| *len > 0)
    }
}

impl Emptied for Outbound {
    fn is_measured(&self) -> bool {
        self.size_hint().exact().is_some()
    }

    fn empty(&mut self) -> Option<u64> {
        let body = std::mem::replace(self, Self::Own(None));
        body.size_hint().exact().filter(|len| *len > 0)
    }
}

impl Answering {
    /// Waits for a call that may take `time`; `upload` is how its body comes.
    #[inline]
    pub(super) fn calling(
        call: Call,
        (wire, time, upload): (Wire, Duration, Option<Rc<Upload>>),
        aside: Option<Rc<Aside>>,
    ) -> Self {
        Self::Calling(Calling { call, wire, clock: Clock::new(time, upload), aside })
    }
}

impl Future for Answering {
    type Output = Result<Response<Outbound>, Infallible>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let calling = match &mut *self {
            Self::Calling(calling) => calling,
            Self::Own(answer) => {
                let answer = answer.take().expect("nobody polls a future that is done");
                return Poll::Ready(Ok(answer.map(Outbound::from)));
            }
            Self::Upgrading { .. } => return self.poll_upgrade(),
        };
        // Filled in place: an answer is moved often enough.
        let mut answer = Response::new(Outbound::Own(None));
        let upgrade = ready!(calling.poll(cx, &mut answer));
        let aside = calling.aside.take();
        if let (Some(upgrade), Some(aside)) = (upgrade, aside) {
            let answer = Box::new(answer);
            *self = Self::Upgrading { answer, upgrade: Some(upgrade), aside };
            return self.poll_upgrade();
        }
        // The call ends here: its future goes before the next request is read.
        *self = Self::Own(None);
        Poll::Ready(Ok(answer))
    }
}

impl Answering {
    /// Answers the 101 once the request's body has gone. Whoever reads it away wakes us.
    #[cold]
    fn poll_upgrade(&mut self) -> Poll<Result<Response<Outbound>, Infallible>> {
        let Self::Upgrading { answer, upgrade, aside } = self else { return Poll::Pending };
        if aside.rest.is_reading() {
            aside.rest.is_awaited();
            return Poll::Pending;
        }
        let mut answer = std::mem::replace(&mut **answer, Response::new(Outbound::Own(None)));
        let upgrade = upgrade.take();
        if aside.rest.is_given_up() {
            let conn = answer.body().exchange().map(|it| it.lease().conn());
            if let Some(conn) = conn {
                conn.count(own::UPGRADE_BODY);
            }
            // The connection closes: the rest was given up.
            let mut refusal = own::UPGRADE_BODY.answer();
            refusal.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            answer = refusal.map(Outbound::from);
        } else if let Some(upgrade) = upgrade {
            aside.upgrade(upgrade);
        }
        *self = Self::Own(None);
        Poll::Ready(Ok(answer))
    }
}

impl Calling {
    /// Runs the handler until it waits or there is an answer, which is written into `answer`; and
    /// what is to become of the connection afterwards.
    #[inline]
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        answer: &mut Response<Outbound>,
    ) -> Poll<Option<Upgrade>> {
        let exchange = self.call.exchange().clone();
        let hold = exchange.lease();
        let reply = match hold.watched(&exchange, || self.call.poll(cx, answer.headers_mut())) {
            Poll::Pending => {
                ready!(self.clock.poll(cx));
                Err(time_out(&exchange))
            }
            Poll::Ready(Ok(reply)) => Ok(reply),
            // The handler may only have passed on what its client did.
            Poll::Ready(Err(error)) => {
                Err(self.clock.fault().unwrap_or_else(|| refuse(&exchange, &error)))
            }
        };
        // Nobody can ask for it any more: it is read away, or goes with its stream.
        drop(exchange.take_body_left());
        let done = reply.and_then(|reply| {
            hold.doing("response body");
            let open = self.clock.upload.as_ref().is_some_and(|upload| upload.is_open());
            let closes = reply.closes;
            let done = finish(answer, reply, &exchange, open).map(|upgrade| (upgrade, closes));
            done.map_err(|wrong| refuse(&exchange, &CallError::Invalid(wrong)))
        });
        let (upgrade, last) = match done {
            Ok(done) => done,
            Err(own) => {
                hold.conn().count(own);
                *answer = own.answer().map(Outbound::from);
                (None, own.is_last())
            }
        };
        self.wire.seal(answer, hold.conn(), self.aside.as_deref(), last);
        Poll::Ready(upgrade)
    }
}

#[cold]
pub(super) fn time_out(exchange: &Exchange) -> Own {
    exchange.lease().counters().add(Count::Timeout);
    let loaded = exchange.lease().lease().loaded();
    if loaded.is_news("the plugin's time was up") {
        tracing::warn!(
            plugin = %loaded.plugin, generation = loaded.version.generation.0,
            request = exchange.id(), path = exchange.path(), "the plugin's time was up"
        );
    }
    own::TIMED_OUT
}

/// Books an end without an answer, and says what to answer.
#[cold]
pub(super) fn refuse(exchange: &Exchange, error: &CallError) -> Own {
    say(exchange, error);
    let (count, own) = match error {
        CallError::Failed(_) => (Count::Error, own::FAILED),
        CallError::Invalid(_) => (Count::Error, own::INVALID),
        CallError::Panicked(_) => (Count::Panic, own::PANICKED),
        CallError::Cut => (Count::Cut, own::CUT),
    };
    exchange.lease().counters().add(count);
    own
}

/// Logs a call that ended without an answer.
pub(super) fn say(exchange: &Exchange, error: &CallError) {
    let loaded = exchange.lease().lease().loaded();
    if loaded.is_news("a call ended without an answer") {
        tracing::warn!(
            plugin = %loaded.plugin, generation = loaded.version.generation.0,
            request = exchange.id(), method = %exchange.method(), path = exchange.path(),
            peer = exchange.peer(), %error,
            "a call ended without an answer"
        );
    }
}

/// Turns a plugin's reply into a response; the header fields are there already. `open`: the plugin
/// still has a body that has not ended. The error says what is wrong with the reply.
#[inline]
fn finish(
    answer: &mut Response<Outbound>,
    reply: Reply<Hold, Inbound>,
    exchange: &Exchange,
    open: bool,
) -> Result<Option<Upgrade>, String> {
    let Reply { status, body, upgrade, closes: _ } = reply;
    if status.is_server_error() {
        exchange.lease().counters().add(Count::Failure);
    }
    let described = shape(answer, status);
    if upgrade.is_some() {
        let protocol = wanted(exchange, answer.headers(), open)?;
        let headers = answer.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
    let answered = Answered(exchange.clone());
    *answer.body_mut() = match described {
        None => Outbound::Plugin(body, answered),
        Some(len) => Outbound::Described(len, answered),
    };
    Ok(upgrade)
}

/// Gives a response its status and what goes with that. Returns how long the body is that a 304
/// does not send, if it says so. Units: bytes.
#[inline]
pub(super) fn shape<B>(answer: &mut Response<B>, status: StatusCode) -> Option<u64> {
    if status == StatusCode::UPGRADE_REQUIRED && answer.headers().contains_key(header::UPGRADE) {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    *answer.status_mut() = status;
    described(status, answer.headers())
}

/// How long the body is that a 304 does not send, if it says so.
#[inline]
fn described(status: StatusCode, headers: &HeaderMap) -> Option<u64> {
    if status != StatusCode::NOT_MODIFIED {
        return None;
    }
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The protocol of a 101: one that the request has asked for. Source: RFC 9110, 7.8.
#[cold]
fn wanted(exchange: &Exchange, answer: &HeaderMap, open: bool) -> Result<HeaderValue, String> {
    // Whoever asks for one is hyper's.
    let Head::Parts { version, headers: request, .. } = exchange.request() else {
        return Err("101 to a request without `Upgrade`".to_owned());
    };
    if *version != Version::HTTP_11 {
        return Err(format!("101 to a request of {version:?}"));
    }
    if !rules::has_token(request, header::CONNECTION, "upgrade") {
        return Err("101 to a request without `Connection: upgrade`".to_owned());
    }
    if open {
        return Err("101 while it still reads the body of the request".to_owned());
    }
    let first = |headers, name: HeaderName| rules::tokens(headers, name).next().map(str::to_owned);
    let protocol = match answer.get(header::UPGRADE) {
        None => first(request, header::UPGRADE)
            .ok_or_else(|| "101 to a request without `Upgrade`".to_owned())?,
        Some(_) => first(answer, header::UPGRADE).unwrap_or_default(),
    };
    if !rules::has_token(request, header::UPGRADE, &protocol) {
        return Err(format!("101 with the protocol `{protocol}`, which nobody has asked for"));
    }
    HeaderValue::from_str(&protocol).map_err(|_| format!("101 with the protocol {protocol:?}"))
}
