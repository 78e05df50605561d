//! One request: the rules of HTTP, the way to its generation.
//!
//! Owns what is asked of either HTTP. Knows no sockets; the way back is `answering`.
//! Invariant: the table is read once a request; everything after goes through the lease.

use std::{convert::Infallible, rc::Rc};

use h2::RecvStream;
use http::{Method, Request, Version, header, request::Parts};
use http_body::Body as _;
use hyper::body::Incoming;

use super::{
    answering::{Answering, Call, Wire},
    aside::Aside,
    clock::Moment,
    conn::Conn,
    core::Core,
    hold::{Abort, Exchange, Hold},
    inbound::{Inbound, Leftover, Upload},
    own::{self, Answer, Own},
    plain, rules,
};
use crate::{
    plugin::exchange::{Head, Origin, Prefix},
    route::Route,
};

/// The service of one connection.
#[derive(Debug)]
pub(super) struct Dispatch {
    core: Rc<Core>,
    conn: Rc<Conn>,
    /// HTTP/1.
    aside: Option<Rc<Aside>>,
}

/// Why a request does not reach a plugin.
enum Refusal {
    Own(Own),
    /// Nothing is wrong with it.
    Answer(Box<Answer>),
}

impl From<Own> for Refusal {
    fn from(own: Own) -> Self {
        Self::Own(own)
    }
}

impl Dispatch {
    pub(super) fn h1(core: Rc<Core>, conn: Rc<Conn>, aside: Rc<Aside>) -> Self {
        Self { core, conn, aside: Some(aside) }
    }

    pub(super) fn h2(core: Rc<Core>, conn: Rc<Conn>) -> Self {
        Self { core, conn, aside: None }
    }

    pub(super) fn conn(&self) -> &Rc<Conn> {
        &self.conn
    }

    /// Begins the answer to a stream of HTTP/2. `abort` ends that stream alone; what is left of its
    /// body goes into `leftover`.
    pub(super) fn stream(
        &self,
        request: Request<RecvStream>,
        abort: Rc<Abort>,
        leftover: &Rc<Leftover>,
    ) -> Answering {
        self.conn.head_done(Moment::now());
        let (mut parts, stream) = request.into_parts();
        rules::join_cookies(&mut parts.headers);
        let promised = parts.headers.get(header::CONTENT_LENGTH);
        let promised = promised.and_then(|it| it.to_str().ok()?.parse().ok());
        let whole = stream.is_end_stream();
        let body = (!whole).then(|| Inbound::h2(stream, leftover, promised, &self.core.limits));
        self.answer(parts, body, Some(abort))
    }

    fn answer(&self, parts: Parts, body: Option<Inbound>, abort: Option<Rc<Abort>>) -> Answering {
        let wire = Wire::of(&parts);
        match self.begin(parts, body, abort) {
            Ok((exchange, upload)) => {
                let time = exchange.lease().time();
                Answering::calling(Call::start(exchange), (wire, time, upload), self.aside.clone())
            }
            Err(refusal) => {
                let (mut answer, last) = match refusal {
                    Refusal::Answer(answer) => (*answer, false),
                    Refusal::Own(own) => {
                        self.conn.count(own);
                        (own.answer_of(&self.core.health), own.is_last())
                    }
                };
                // By now the body has been let go of.
                wire.seal(&mut answer, &self.conn, self.aside.as_deref(), last);
                Answering::Own(Some(answer))
            }
        }
    }

    /// Begins a call; what refuses it lets go of the body.
    fn begin(
        &self,
        mut parts: Parts,
        body: Option<Inbound>,
        abort: Option<Rc<Abort>>,
    ) -> Result<(Exchange, Option<Rc<Upload>>), Refusal> {
        let now = Moment::now();
        let limits = &self.core.limits;
        // hyper counts fields for HTTP/1 only, and h2 allows a head some room.
        if parts.headers.len() > limits.headers_count {
            return Err(own::TOO_MANY_HEADERS.into());
        }
        if self.aside.is_none() && rules::list_size(&parts) > limits.head_bytes {
            return Err(own::HEAD_TOO_LARGE.into());
        }
        if body.is_some() && !rules::is_coded_well(&parts.headers) {
            return Err(own::BAD_CODING.into());
        }
        let host = rules::host_name(&mut parts)?;
        self.refuse(&parts)?;
        let table = self.core.view.current();
        let name = host.as_ref().and_then(|host| host.as_str());
        let (lease, mount) = match table.route(name, parts.uri.path()) {
            Route::To(lease, mount) => (lease.clone(), mount),
            Route::Vacant(_) => return Err(own::VACANT.into()),
            Route::Full(_) => return Err(own::FULL.into()),
            Route::Nowhere if table.is_empty() => return Err(own::EMPTY.into()),
            Route::Nowhere => return Err(own::NO_MOUNT.into()),
        };
        let promised = body.as_ref().and_then(|body| body.size_hint().exact()).unwrap_or(0);
        if limits.body_bytes > 0 && promised > limits.body_bytes {
            return Err(own::TOO_LARGE.into());
        }
        let origin = Origin {
            id: self.core.in_flight.next_id(),
            prefix: Prefix { len: mount.prefix_len() },
            peer: self.conn.peer.clone(),
        };
        let upload = body.as_ref().map(Inbound::upload);
        let in_flight = self.core.in_flight.clone();
        let time = mount.rule.plugin_time.unwrap_or(limits.plugin_time);
        let stream = (abort, upload.clone());
        let hold = Hold::new(lease, in_flight, self.conn.clone(), stream, (now, time));
        let exchange = Exchange::new(Head::of(parts, host), body, origin, hold);
        self.core.in_flight.enlist(&exchange);
        Ok((exchange, upload))
    }

    /// What never reaches a plugin.
    fn refuse(&self, parts: &Parts) -> Result<(), Refusal> {
        let path = parts.uri.path();
        match parts.method {
            Method::CONNECT => return Err(own::NO_CONNECT.into()),
            Method::TRACE => return Err(own::NO_TRACE.into()),
            Method::OPTIONS if path == "*" => {
                return Err(Refusal::Answer(Box::new(own::options())));
            }
            _ if path == "*" => return Err(own::BAD_TARGET.into()),
            _ => {}
        }
        if let Some(expect) = parts.headers.get(header::EXPECT)
            && !expect.as_bytes().eq_ignore_ascii_case(b"100-continue")
        {
            return Err(own::BAD_EXPECT.into());
        }
        let Some(prefix) = self.core.health_path.as_deref() else { return Ok(()) };
        let health = |probe| own::health(&self.core.health, probe);
        match path.strip_prefix(prefix).and_then(health) {
            Some(answer) => Err(Refusal::Answer(Box::new(answer))),
            None => Ok(()),
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Dispatch {
    type Response = http::Response<super::outbound::Outbound>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        self.conn.head_done(Moment::now());
        let (parts, incoming) = request.into_parts();
        let body = self.aside.as_ref().filter(|_| !incoming.is_end_stream()).map(|aside| {
            let expects = parts.headers.contains_key(header::EXPECT);
            let expects = expects && parts.version == Version::HTTP_11;
            Inbound::h1(incoming, aside.rest.clone(), expects, &self.core.limits)
        });
        if let Some(aside) = self.aside.as_ref().filter(|_| self.core.thin) {
            aside.request(body.is_none() && plain::head::is_plain(&parts));
        }
        self.answer(parts, body, None)
    }
}
