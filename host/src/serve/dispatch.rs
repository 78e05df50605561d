//! One request: the rules of HTTP, the way to its generation, the way back.
//!
//! Owns hyper's service. Knows no sockets.
//! Invariant: the table is read once a request; everything after goes through the lease.

use std::{
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::{
    body::{Call, ClientFault, Inbound, Outbound},
    clock::Moment,
    conn::Conn,
    core::{Core, Hold},
    own::{self, Own},
};
use crate::{
    plugin::call::{self, CallError, HostName, Origin, Prefix, Reply},
    route::{Count, Route},
};

/// hyper's service of one connection.
#[derive(Debug)]
pub(super) struct Dispatch {
    core: Rc<Core>,
    conn: Rc<Conn>,
    h2: bool,
}

impl Dispatch {
    pub(super) fn new(core: Rc<Core>, conn: Rc<Conn>, h2: bool) -> Self {
        Self { core, conn, h2 }
    }

    pub(super) fn conn(&self) -> &Rc<Conn> {
        &self.conn
    }

    /// Begins a call, or answers by itself.
    fn begin(&self, request: Request<Incoming>) -> Answering {
        let now = Moment::now();
        self.conn.head_done(now);
        // hyper counts them for HTTP/1 only.
        if request.headers().len() > self.core.limits.headers_count {
            return own::TOO_MANY_HEADERS.into();
        }
        let host = match host_name(&request) {
            Ok(host) => host,
            Err(own) => return own.into(),
        };
        if let Some(answer) = self.answer_own(&request) {
            return Answering::Own(Some(answer));
        }
        let table = self.core.view.current();
        let name = match &host {
            Some(host) => host.value.to_str().ok().and_then(|value| value.get(..host.len)),
            None => request.uri().host(),
        };
        let (lease, prefix) = match table.route(name, request.uri().path()) {
            Route::To(lease, prefix) => (lease.clone(), prefix),
            Route::Vacant(_) => return own::VACANT.into(),
            Route::Nowhere if table.is_empty() => return own::EMPTY.into(),
            Route::Nowhere => return own::NO_MOUNT.into(),
        };
        let limits = &self.core.limits;
        let promised = request.body().size_hint().exact().unwrap_or(0);
        if limits.body_bytes > 0 && promised > limits.body_bytes {
            return own::TOO_LARGE.into();
        }
        let (parts, incoming) = request.into_parts();
        let body = (!incoming.is_end_stream())
            .then(|| Inbound::new(incoming, limits.body_gap, limits.body_bytes));
        let origin = Origin {
            id: self.core.next_request(),
            prefix: Prefix { len: prefix },
            host,
            peer: self.conn.peer.clone(),
        };
        let fault = body.as_ref().map(Inbound::fault);
        let wire = self.wire(&parts.method, parts.version);
        let hold = Hold::new(lease, self.core.clone(), self.conn.clone(), now);
        let exchange = call::Exchange::new(parts, body, origin, hold);
        self.core.enlist(&exchange);
        let call = Call::start(exchange);
        Answering::Calling { call, core: self.core.clone(), timer: None, fault, wire }
    }

    fn wire(&self, method: &Method, version: Version) -> Wire {
        match (self.h2, *method == Method::HEAD) {
            (false, _) if version == Version::HTTP_10 => Wire::H1Old,
            (false, _) => Wire::H1,
            (true, false) => Wire::H2,
            (true, true) => Wire::H2Head,
        }
    }

    /// What never reaches a plugin.
    fn answer_own(&self, request: &Request<Incoming>) -> Option<Response<Outbound>> {
        let path = request.uri().path();
        match *request.method() {
            Method::CONNECT => return Some(own::NO_CONNECT.response()),
            Method::TRACE => return Some(own::NO_TRACE.response()),
            Method::OPTIONS if path == "*" => return Some(own::options()),
            _ if path == "*" => return Some(own::BAD_TARGET.response()),
            _ => {}
        }
        if let Some(expect) = request.headers().get(header::EXPECT)
            && !expect.as_bytes().eq_ignore_ascii_case(b"100-continue")
        {
            return Some(own::BAD_EXPECT.response());
        }
        let prefix = self.core.health_path.as_deref()?;
        own::health(&self.core.health, path.strip_prefix(prefix)?)
    }
}

impl hyper::service::Service<Request<Incoming>> for Dispatch {
    type Response = Response<Outbound>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let wire = self.wire(request.method(), request.version());
        let mut answering = self.begin(request);
        if let Answering::Own(Some(answer)) = &mut answering {
            wire.fit(answer);
            wire.say_last(&self.conn, answer);
        }
        answering
    }
}

/// The host name that a request is for, checked. Source: RFC 9112, 3.2.
///
/// `None` where the target itself names the host (absolute form, HTTP/2) or, in HTTP/1.0, nobody
/// does.
pub(super) fn host_name(request: &Request<Incoming>) -> Result<Option<HostName>, Own> {
    let mut fields = request.headers().get_all(header::HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(own::BAD_HOST);
    }
    let named = match field {
        Some(value) => {
            let len = host_len(value.as_bytes()).ok_or(own::BAD_HOST)?;
            Some(HostName { value: value.clone(), len })
        }
        None if request.version() == Version::HTTP_11 => return Err(own::BAD_HOST),
        None => None,
    };
    // The target's authority is nobody's user.
    let authority = request.uri().authority();
    if authority.is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(own::BAD_HOST);
    }
    let in_target = authority.is_some() && *request.method() != Method::CONNECT;
    Ok(named.filter(|_| !in_target))
}

/// How much of `host[:port]` is the host; `None` when it is neither a name nor an address.
/// Source: RFC 3986, 3.2.2.
fn host_len(field: &[u8]) -> Option<usize> {
    let (len, port) = if field.first() == Some(&b'[') {
        let end = field.iter().position(|c| *c == b']')?;
        let inside = &field[1..end];
        inside.iter().all(|c| c.is_ascii_hexdigit() || matches!(c, b':' | b'.')).then_some(())?;
        (end + 1, &field[end + 1..])
    } else {
        let end = field.iter().position(|c| *c == b':').unwrap_or(field.len());
        let name = |c: &u8| c.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(c);
        field[..end].iter().all(name).then_some(())?;
        (end, &field[end..])
    };
    match port {
        [] => Some(len),
        [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => Some(len),
        _ => None,
    }
}

/// An answer on its way.
#[derive(Debug)]
pub(super) enum Answering {
    /// The host's own.
    Own(Option<Response<Outbound>>),
    /// The plugin's. The timer is armed only if the handler waits.
    Calling {
        call: Call,
        core: Rc<Core>,
        timer: Option<Pin<Box<Sleep>>>,
        fault: Option<ClientFault>,
        wire: Wire,
    },
}

/// What the answer is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    H1,
    /// HTTP/1.0.
    H1Old,
    H2,
    H2Head,
}

impl Wire {
    fn is_h1(self) -> bool {
        matches!(self, Self::H1 | Self::H1Old)
    }

    /// Says in the last answer of a connection that it is the last; hyper ends it then.
    #[inline]
    fn say_last(self, conn: &Conn, answer: &mut Response<Outbound>) {
        let last = conn.is_closing() && self.is_h1();
        if last && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            if self == Self::H1Old {
                // Else hyper would add `keep-alive` for a client that has asked for it.
                *answer.version_mut() = Version::HTTP_10;
            }
        }
    }

    /// Removes a body that must not be there; hyper does so for HTTP/1 only.
    fn fit(self, answer: &mut Response<Outbound>) {
        let bodiless = matches!(answer.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if self.is_h1() || !(bodiless || self == Self::H2Head) {
            return;
        }
        let body = std::mem::replace(answer.body_mut(), Outbound::Own(None));
        if let Some(len) = body.size_hint().exact().filter(|_| !bodiless) {
            answer.headers_mut().entry(header::CONTENT_LENGTH).or_insert(len.into());
        }
    }
}

impl From<Own> for Answering {
    fn from(own: Own) -> Self {
        Self::Own(Some(own.response()))
    }
}

impl Future for Answering {
    type Output = Result<Response<Outbound>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (call, core, timer, fault, wire) = match &mut *self {
            Self::Own(answer) => {
                let answer = answer.take().expect("hyper polls no future that is done");
                return Poll::Ready(Ok(answer));
            }
            Self::Calling { call, core, timer, fault, wire } => (call, core, timer, fault, *wire),
        };
        let exchange = call.exchange().clone();
        let hold = exchange.lease();
        // Filled in place: an answer is moved often enough.
        let mut answer = Response::new(Outbound::Own(None));
        match hold.watched(&exchange, || call.poll(cx, answer.headers_mut())) {
            Poll::Ready(Ok(reply)) => {
                hold.doing("response body");
                if let Err(error) = finish(&mut answer, reply, &exchange, wire) {
                    answer = refuse(core, &exchange, &error);
                }
            }
            Poll::Ready(Err(error)) => {
                answer = match fault.as_ref().and_then(ClientFault::get) {
                    // The handler only passed on what its client did.
                    Some(own) => own.response(),
                    None => refuse(core, &exchange, &error),
                };
            }
            Poll::Pending => {
                let time = core.limits.plugin_time;
                let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
                std::task::ready!(timer.as_mut().poll(cx));
                answer = time_out(&exchange);
            }
        }
        wire.fit(&mut answer);
        wire.say_last(hold.conn(), &mut answer);
        // The call ends here: its future is dropped before the answer is written.
        *self = Self::Own(None);
        Poll::Ready(Ok(answer))
    }
}

#[cold]
fn time_out(exchange: &super::body::Exchange) -> Response<Outbound> {
    exchange.lease().counters().add(Count::Timeout);
    let loaded = exchange.lease().lease().loaded();
    tracing::warn!(
        plugin = %loaded.plugin, generation = %loaded.version.generation,
        request = exchange.id(), path = exchange.path(), "the plugin's time was up"
    );
    own::TIMED_OUT.response()
}

#[cold]
fn refuse(core: &Core, exchange: &super::body::Exchange, error: &CallError) -> Response<Outbound> {
    core.say_call_error(Some(exchange), error);
    let (count, own) = match error {
        CallError::Failed(_) => (Count::Error, own::FAILED),
        CallError::Invalid(_) => (Count::Error, own::INVALID),
        CallError::Panicked(_) => (Count::Panic, own::PANICKED),
        CallError::Cut => (Count::Cut, own::CUT),
    };
    exchange.lease().counters().add(count);
    own.response()
}

/// Turns a plugin's reply into hyper's response; the header fields are there already.
#[inline]
fn finish(
    answer: &mut Response<Outbound>,
    reply: Reply<Hold, Inbound>,
    exchange: &Rc<super::body::Exchange>,
    wire: Wire,
) -> Result<(), CallError> {
    let Reply { status, body, upgrade } = reply;
    if status.is_server_error() {
        exchange.lease().counters().add(Count::Failure);
    }
    if let Some(upgrade) = upgrade {
        let wanted = exchange.header(header::UPGRADE).filter(|_| wire.is_h1());
        let Some(wanted) = wanted else {
            return Err(CallError::Invalid("101 to a request without `Upgrade`".to_owned()));
        };
        let headers = answer.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.entry(header::UPGRADE).or_insert_with(|| wanted.clone());
        exchange.lease().conn().upgrade(upgrade);
    }
    *answer.body_mut() = Outbound::Plugin(body, exchange.clone());
    *answer.status_mut() = status;
    Ok(())
}

#[cfg(test)]
mod tests;
