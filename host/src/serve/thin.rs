//! HTTP/1.1 without hyper: requests that are plain are served from what was read, and their answers
//! written where they are sent from.
//!
//! Owns one connection while its requests are plain. Whatever is not ([`super::plain`] says what that is,
//! and in every doubt it is not) goes to hyper with its bytes untouched; hyper's part gives the connection back
//! when it is plain again ([`super::connection`]). So nothing here answers by itself but for a plugin.
//! For the plugin, the lists and the limits both ways are the same: what differs is what a request costs.
//!
//! Invariants: a request that a plugin was called for is answered here. Between two requests all that
//! was read and is not used lies on the desk, so that whoever goes on begins at the first byte of a
//! request.

use std::{
    future::poll_fn,
    io, mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use http::Method;
use http_body::Body as _;

use super::{
    answering::{Call, Clock, refuse, time_out},
    clock::Moment,
    conn::Conn,
    core::Core,
    ended::{ClientEnd, Ended, leaves, timed_out},
    hold::{self, Exchange, Hold},
    inbound::Inbound,
    io::Stream,
    limit::Limit,
    outbound::Answered,
    own::Own,
    plain::{
        Wire,
        answer::{self, Framed, Written},
        desk::Desk,
        head::{self, Read},
    },
};
use crate::{
    plugin::{
        call::Reply,
        exchange::{Head, Lines, Origin, Prefix},
        future::CallError,
        release,
        stream::ReplyBody,
    },
    route::{Count, Route},
};

/// Requests of one connection before others have their turn.
const BATCH: usize = 64;

/// How a connection left.
#[derive(Debug)]
pub(super) enum Left {
    /// What comes next is hyper's, and begins with this.
    Odd(Bytes),
    /// Between two requests, to be served elsewhere; this was read already.
    Moving(Bytes),
    /// It has ended.
    Ended,
}

/// Serves requests while they are plain. `read` was read before.
pub(super) async fn serve(
    core: &Rc<Core>,
    stream: &Rc<Stream>,
    conn: &Rc<Conn>,
    read: Bytes,
    limit: &mut Limit<'_>,
) -> Left {
    let (mut thin, mut client) = (Thin::new(core, &**stream, conn), ClientEnd::default());
    if !read.is_empty() && !thin.desk().put(&read) {
        return Left::Odd(read);
    }
    drop(read);
    match poll_fn(|cx| thin.poll((stream, &mut client), limit, cx)).await {
        Go::Odd => Left::Odd(thin.desk().take_read()),
        Go::Moving => Left::Moving(thin.desk().take_read()),
        Go::End(ended) => {
            drop(thin);
            ended.see_to(stream, conn, core.limits.unread_time).await;
            Left::Ended
        }
    }
}

/// Serves what comes over `wire` and needs no hyper, until it ends.
pub(super) async fn play(core: &Rc<Core>, conn: &Rc<Conn>, wire: &impl Wire) {
    let mut thin = Thin::new(core, wire, conn);
    // Whatever ends it is the wire's matter.
    let _ = poll_fn(|cx| release::turn(|| thin.work(cx))).await;
}

/// Where a connection goes.
#[derive(Clone, Copy, Debug)]
enum Go {
    Odd,
    Moving,
    End(Ended),
}

/// What a connection is at.
#[derive(Debug)]
enum State {
    /// The next head is awaited.
    Between,
    /// A plugin was called.
    Calling { call: Call, clock: Clock },
    /// The answer's body is made and sent.
    Sending(Sending),
    /// As soon as all is written.
    Leaving(Go),
}

/// An answer whose head is written.
#[derive(Debug)]
struct Sending {
    body: ReplyBody<Hold, Inbound>,
    /// Where the answer begins in the output, and how often something was written before.
    mark: (usize, u32),
    /// Units: bytes still to come; `None`: it is chunked.
    left: Option<u64>,
    /// The connection ends behind it.
    last: bool,
    // Behind the body, whose last handle is not to be its own.
    answered: Answered,
}

struct Thin<'a, S: Wire> {
    core: &'a Rc<Core>,
    stream: &'a S,
    conn: &'a Rc<Conn>,
    /// `None` while nothing is read or written.
    desk: Option<Box<Desk>>,
    state: State,
    /// How often something was read of the head that is not complete.
    reads: u8,
}

impl<'a, S: Wire> Thin<'a, S> {
    fn new(core: &'a Rc<Core>, stream: &'a S, conn: &'a Rc<Conn>) -> Self {
        Self { core, stream, conn, desk: None, state: State::Between, reads: 0 }
    }

    /// Ready when the connection goes.
    fn poll(
        &mut self,
        (stream, client): (&Rc<Stream>, &mut ClientEnd),
        limit: &mut Limit<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Go> {
        self.conn.remember(cx);
        match self.work(cx) {
            Poll::Ready(Ok(go)) => return Poll::Ready(go),
            Poll::Ready(Err(_)) => return Poll::Ready(Go::End(Ended::Broken)),
            Poll::Pending => self.clear_desk(),
        }
        if self.conn.is_aborted() || leaves(stream, self.conn) {
            return Poll::Ready(Go::End(Ended::Broken));
        }
        if client.poll(stream, self.conn, cx).is_ready() {
            return Poll::Ready(Go::End(Ended::Broken));
        }
        timed_out(stream, self.conn, limit, cx).map(Go::End)
    }

    fn desk(&mut self) -> &mut Desk {
        self.desk.get_or_insert_with(|| self.core.desks.take())
    }

    fn clear_desk(&mut self) {
        if let Some(desk) = self.desk.take_if(|desk| desk.is_clean()) {
            self.core.desks.give_back(desk);
        }
    }

    /// Works until there is nothing to do. The error is the socket's.
    fn work(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Go>> {
        for _ in 0..BATCH {
            let done = match &self.state {
                State::Between => self.next(cx),
                State::Calling { .. } => self.call(cx),
                State::Sending(_) => self.send(cx),
                State::Leaving(go) => {
                    let go = *go;
                    ready!(self.flush(cx))?;
                    return Poll::Ready(Ok(go));
                }
            };
            ready!(done)?;
        }
        cx.waker().wake_by_ref();
        self.try_flush(cx)?;
        Poll::Pending
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.desk {
            Some(desk) => desk.output.flush((self.stream, self.conn), cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// What is there goes out, as far as it can; who goes on is woken when there is more room.
    fn try_flush(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.flush(cx) {
            Poll::Ready(done) => done,
            Poll::Pending => Ok(()),
        }
    }

    /// The next request begins, or more of it is awaited.
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.conn.is_moving() {
            self.state = State::Leaving(Go::Moving);
            return Poll::Ready(Ok(()));
        }
        let limits = &self.core.limits;
        let desk = self.desk.get_or_insert_with(|| self.core.desks.take());
        if desk.output.is_full() {
            ready!(desk.output.flush((self.stream, self.conn), cx))?;
        }
        let has_begun = !desk.read().is_empty();
        if has_begun {
            match head::read(desk.read(), limits) {
                Read::Whole { lines, head_len, body_len } => {
                    self.reads = 0;
                    self.begin(lines, head_len, body_len);
                    return Poll::Ready(Ok(()));
                }
                Read::Partial if self.reads < 2 && !desk.is_full() => {}
                // hyper has a quicker look at a head that comes bit by bit, and waits for bodies.
                Read::Partial | Read::Other => {
                    self.state = State::Leaving(Go::Odd);
                    return Poll::Ready(Ok(()));
                }
            }
        }
        // The client waits for these before it says more.
        ready!(desk.output.flush((self.stream, self.conn), cx))?;
        self.conn.has_read(desk.read().len());
        match ready!(desk.poll_read(self.stream, cx))? {
            0 => {
                let go = if has_begun { Go::Odd } else { Go::End(Ended::Answered) };
                self.state = State::Leaving(go);
            }
            count => {
                self.conn.has_read(count);
                self.reads += 1;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Calls the plugin, or leaves the request to hyper: what has no plugin is answered there.
    fn begin(&mut self, lines: Lines, head_len: usize, body_len: usize) {
        let core = self.core;
        let table = core.view.current();
        let is_health = core.health_path.as_deref().is_some_and(|it| lines.path().starts_with(it));
        let (lease, mount) = match table.route(Some(lines.host_name()), lines.path()) {
            Route::To(lease, mount) if !is_health => (lease.clone(), mount),
            _ => {
                self.state = State::Leaving(Go::Odd);
                return;
            }
        };
        let now = Moment::now();
        self.conn.head_done(now);
        core.thin_count.add();
        let desk = self.desk();
        let body = (body_len > 0).then(|| {
            let bytes = &desk.read()[head_len..head_len + body_len];
            Inbound::whole(Bytes::copy_from_slice(bytes), &core.limits)
        });
        desk.use_up(head_len + body_len);
        let origin = Origin {
            id: core.in_flight.next_id(),
            prefix: Prefix { len: mount.prefix_len() },
            peer: self.conn.peer.clone(),
        };
        let time = mount.rule.plugin_time.unwrap_or(core.limits.plugin_time);
        let upload = body.as_ref().map(Inbound::upload);
        let (in_flight, conn) = (core.in_flight.clone(), self.conn.clone());
        let hold = Hold::new(lease, in_flight, conn, (None, upload.clone()), (now, time));
        let exchange = Exchange::new(Head::Lines(lines), body, origin, hold);
        core.in_flight.enlist(&exchange);
        let clock = Clock::new(time, upload);
        self.state = State::Calling { call: Call::start(exchange), clock };
    }

    /// Runs the handler until it waits or there is an answer, whose head is written.
    fn call(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let State::Calling { call, clock } = &mut self.state else { return Poll::Ready(Ok(())) };
        let exchange = call.exchange().clone();
        let hold = exchange.lease();
        let output = &mut self.desk.get_or_insert_with(|| self.core.desks.take()).output;
        let mark = output.mark();
        let is_head = *exchange.method() == Method::HEAD;
        let mut written = Written::new(output.bytes(), is_head);
        let reply = match hold.watched(&exchange, || call.poll(cx, &mut written)) {
            Poll::Ready(reply) => {
                reply.map_err(|error| clock.fault().unwrap_or_else(|| refuse(&exchange, &error)))
            }
            Poll::Pending if clock.poll(cx).is_ready() => Err(time_out(&exchange)),
            Poll::Pending => {
                // Answers before this one are not to wait for it.
                self.try_flush(cx)?;
                return Poll::Pending;
            }
        };
        // Nobody can ask for it any more.
        drop(exchange.take_body_left());
        let closing = self.conn.is_closing();
        let state = reply.and_then(|reply| {
            hold.doing("response body");
            if reply.upgrade.is_some() {
                let wrong = "101 to a request without `Upgrade`".to_owned();
                return Err(refuse(&exchange, &CallError::Invalid(wrong)));
            }
            if reply.status.is_server_error() {
                hold.counters().add(Count::Failure);
            }
            let Reply { body, closes, .. } = reply;
            let last = closes || closing;
            let answered = Answered(exchange.clone());
            let left = match written.finish(Framed::of(&body), last) {
                Framed::None => return Ok(State::after(last)),
                Framed::Length(len) => Some(len),
                Framed::Chunked => None,
            };
            let mark = (mark, self.conn.writes());
            Ok(State::Sending(Sending { body, mark, left, last, answered }))
        });
        // The call ends here: its future goes before the next request is read.
        let state = state.unwrap_or_else(|own| self.answer_for(own, mark, is_head));
        drop(mem::replace(&mut self.state, state));
        Poll::Ready(Ok(()))
    }

    /// The host's own answer where the plugin has none.
    #[cold]
    fn answer_for(&mut self, own: Own, mark: usize, is_head: bool) -> State {
        self.conn.count(own);
        let last = own.is_last() || self.conn.is_closing();
        let output = &mut self.desk().output;
        output.take_back(mark);
        answer::put_own(output.bytes(), &own.answer(), is_head, last);
        State::after(last)
    }

    /// Sends what there is of the body, and asks for more.
    fn send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let desk = self.desk.get_or_insert_with(|| self.core.desks.take());
            if desk.output.is_full() {
                ready!(desk.output.flush((self.stream, self.conn), cx))?;
            }
            let output = &mut desk.output;
            let State::Sending(sending) = &mut self.state else { return Poll::Ready(Ok(())) };
            let Sending { body, mark, left, last, answered: Answered(exchange) } = sending;
            let polled = if body.is_stream() {
                exchange.lease().watched(exchange, || Pin::new(&mut *body).poll_frame(cx))
            } else {
                Pin::new(&mut *body).poll_frame(cx)
            };
            let state = match polled {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        *left = left.map(|left| left.saturating_sub(data.remaining() as u64));
                        output.put(data, left.is_none());
                        match *left {
                            // Who has given all that was promised is asked for no more.
                            Some(0) => State::after(*last),
                            _ => continue,
                        }
                    }
                    // Trailers, for a client that has not asked for any.
                    Err(_) => continue,
                },
                Poll::Ready(None) => {
                    if left.is_none() {
                        answer::last_chunk(output.bytes());
                    }
                    State::after(*last)
                }
                Poll::Ready(Some(Err(error))) => {
                    exchange.lease().body_failed(&error);
                    let (mark, writes) = *mark;
                    if writes == self.conn.writes() {
                        // Nothing of it has gone out: there is still time to say so.
                        let own = hold::answer_to(&error);
                        self.conn.count(own);
                        output.take_back(mark);
                        output.bytes().extend_from_slice(&own.to_bytes());
                        State::Leaving(Go::End(Ended::Unread))
                    } else {
                        State::Leaving(Go::End(Ended::Broken))
                    }
                }
                Poll::Pending => {
                    self.try_flush(cx)?;
                    return Poll::Pending;
                }
            };
            drop(mem::replace(&mut self.state, state));
            return Poll::Ready(Ok(()));
        }
    }
}

impl State {
    fn after(last: bool) -> Self {
        if last { Self::Leaving(Go::End(Ended::Answered)) } else { Self::Between }
    }
}

impl<S: Wire> Drop for Thin<'_, S> {
    fn drop(&mut self) {
        self.clear_desk();
    }
}
