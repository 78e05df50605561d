//! One stream of HTTP/2: its answer, as fast as its client takes it.
//!
//! Owns the way of an answer into h2. h2 is given no more than the client's windows allow, so what a
//! plugin made waits here, where it can be dropped, and not in h2's buffers.
//!
//! # Invariants
//! - A stream ends whole or by a reset, never silently.
//! - The end of an answer is said last: after the request's body, where that is not too long.
//! - A client that takes less than [`TAKEN_BYTES_MIN`] within `body_gap` is cut; the others of the
//!   connection go on.

use std::{
    cell::RefCell,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use bytes::Buf;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{HeaderValue, Request, Response, header};
use http_body::{Body as _, Frame};
use tokio::time::Sleep;

use super::unread::Unread;
use crate::{
    config::Limits,
    plugin::stream::StreamError,
    serve::{
        answering::Answering,
        conn::Conn,
        dispatch::Dispatch,
        hold::{Abort, answer_to},
        outbound::{Data, Outbound},
        own,
    },
};

/// Units: bytes, unless the rest is less. A client that grants a byte a second takes nothing.
const TAKEN_BYTES_MIN: usize = 1 << 10;

/// A piece of an answer in h2's hands.
#[derive(Debug)]
pub(super) struct Given {
    data: Data,
    conn: Rc<Conn>,
}

impl Given {
    fn new(data: Data, conn: &Rc<Conn>) -> Self {
        conn.piece_given();
        Self { data, conn: conn.clone() }
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        self.conn.piece_gone();
    }
}

impl Buf for Given {
    fn remaining(&self) -> usize {
        self.data.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.data.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.data.advance(count);
        self.conn.piece_moved();
    }
}

/// Says how many streams of a connection have a task, and to whoever wants to end one that it has
/// none any more.
struct Counted(Rc<Conn>, Rc<Abort>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.stream_ended();
        self.1.is_over();
    }
}

/// Why an answer does not go on.
pub(super) enum Stopped {
    /// The client has reset the stream, or is gone.
    ByClient,
    /// It is to be reset for this reason.
    Reset(Reason),
}

/// Answers one request.
pub(super) async fn serve(
    dispatch: Rc<Dispatch>,
    limits: Arc<Limits>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Given>,
) {
    let conn = dispatch.conn().clone();
    conn.stream_began();
    let abort = Rc::new(Abort::default());
    let _counted = Counted(conn.clone(), abort.clone());
    let leftover = Rc::default();
    let answering = dispatch.stream(request, abort.clone(), &leftover);
    let mut unread = Unread::new(leftover, &limits);
    let stopped = match answer(answering, &mut respond, &abort, &mut unread).await {
        Ok(answer) => {
            let end = (&*abort, &conn, &mut unread);
            send(answer, &mut respond, end, limits.body_gap).await
        }
        Err(stopped) => Err(stopped),
    };
    if let Err(Stopped::Reset(reason)) = stopped {
        respond.send_reset(reason);
    }
    // With the last handle h2 resets what is left of a request's body, with NO_ERROR where the
    // answer was whole. Source: RFC 9113, 8.1.
}

/// Whether somebody wants the stream to end.
fn poll_stopped(
    abort: &Abort,
    reset: impl FnOnce(&mut Context<'_>) -> Poll<Result<Reason, h2::Error>>,
    cx: &mut Context<'_>,
) -> Poll<Stopped> {
    if abort.is_asked(cx) {
        return Poll::Ready(Stopped::Reset(Reason::CANCEL));
    }
    reset(cx).map(|_| Stopped::ByClient)
}

/// Waits for the answer's head.
async fn answer(
    mut answering: Answering,
    respond: &mut SendResponse<Given>,
    abort: &Abort,
    unread: &mut Unread,
) -> Result<Response<Outbound>, Stopped> {
    poll_fn(|cx| {
        if let Poll::Ready(stopped) = poll_stopped(abort, |cx| respond.poll_reset(cx), cx) {
            return Poll::Ready(Err(stopped));
        }
        if let Poll::Ready(Ok(answer)) = Pin::new(&mut answering).poll(cx) {
            return Poll::Ready(Ok(answer));
        }
        let _ = unread.poll(cx);
        Poll::Pending
    })
    .await
}

/// Sends an answer, head and body.
async fn send(
    answer: Response<Outbound>,
    respond: &mut SendResponse<Given>,
    (abort, conn, unread): (&Abort, &Rc<Conn>, &mut Unread),
    gap: Duration,
) -> Result<(), Stopped> {
    let (mut head, mut body) = answer.into_parts();
    let mut len = body.size_hint().exact();
    // Asked before the head goes out: a body that fails at once can still be answered for.
    let mut first = poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx))).await;
    if let Poll::Ready(Some(Err(error))) = &first {
        let own = answer_to(error);
        conn.count(own);
        (head, body) = own.answer().map(Outbound::from).into_parts();
        (len, first) = (body.size_hint().exact(), Poll::Pending);
    }
    let is_empty = matches!(first, Poll::Ready(None));
    // Its end is said later, as in `Sending::end`.
    let ends = is_empty && !unread.is_there();
    if !is_empty && let Some(len) = len {
        head.headers.entry(header::CONTENT_LENGTH).or_insert(len.into());
    }
    head.headers.entry(header::DATE).or_insert_with(date);
    // A connection of its own has no meaning here. Source: RFC 9113, 8.2.2.
    head.headers.remove(header::CONNECTION);
    head.headers.remove(header::UPGRADE);
    let sent = respond.send_response(Response::from_parts(head, ()), ends);
    let stream = sent.map_err(|_| Stopped::Reset(Reason::INTERNAL_ERROR))?;
    if ends {
        return Ok(());
    }
    Sending { stream, first, body, abort, conn, unread, gap, pace: None }.run().await
}

type Piece = Result<Frame<Data>, StreamError>;

/// The body of an answer on its way.
struct Sending<'a> {
    stream: SendStream<Given>,
    /// What the first poll of the body has given.
    first: Poll<Option<Piece>>,
    body: Outbound,
    abort: &'a Abort,
    conn: &'a Rc<Conn>,
    unread: &'a mut Unread,
    gap: Duration,
    /// While the client has no window: until when it must take how much, in bytes.
    pace: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Sending<'_> {
    async fn run(mut self) -> Result<(), Stopped> {
        loop {
            let Some(frame) = poll_fn(|cx| self.poll_frame(cx)).await? else {
                return self.end(Data::empty()).await;
            };
            match frame.into_data() {
                Ok(data) => {
                    let last = self.body.is_end_stream();
                    let left = self.send(data).await?;
                    if last {
                        return self.end(left).await;
                    }
                    if left.has_remaining() {
                        self.give(left, false)?;
                    }
                }
                Err(frame) => {
                    self.wait_for_the_end().await?;
                    let trailers = frame.into_trailers().unwrap_or_default();
                    let sent = self.stream.send_trailers(trailers);
                    return sent.map_err(|_| Stopped::Reset(Reason::INTERNAL_ERROR));
                }
            }
        }
    }

    /// Whether somebody wants the stream to end. What nobody reads is read away meanwhile: a client
    /// may take nothing of the answer before it has sent all of its body.
    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<Stopped> {
        let _ = self.unread.poll(cx);
        poll_stopped(self.abort, |cx| self.stream.poll_reset(cx), cx)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Data>>, Stopped>> {
        if let Poll::Ready(stopped) = self.poll_stopped(cx) {
            return Poll::Ready(Err(stopped));
        }
        let frame = match std::mem::replace(&mut self.first, Poll::Pending) {
            Poll::Ready(first) => first,
            Poll::Pending => ready!(Pin::new(&mut self.body).poll_frame(cx)),
        };
        // The plugin's, and booked: the client must not take it for the whole.
        Poll::Ready(frame.transpose().map_err(|_| Stopped::Reset(Reason::INTERNAL_ERROR)))
    }

    /// Hands a piece to h2, as the client takes it. Returns what the client takes of it at last.
    async fn send(&mut self, mut data: Data) -> Result<Data, Stopped> {
        loop {
            let left = data.remaining();
            if left == 0 {
                return Ok(data);
            }
            self.stream.reserve_capacity(left);
            let taken = poll_fn(|cx| self.poll_capacity(cx, left)).await?;
            if taken >= left {
                self.pace = None;
                return Ok(data);
            }
            let (first, others) = data.split(taken);
            self.give(first, false)?;
            data = others;
        }
    }

    /// Ends the answer with `last`, which the client takes. While the rest of the request's body is read
    /// away it has all but the end: one that waits for the answer before it sends more has it at once.
    async fn end(&mut self, mut last: Data) -> Result<(), Stopped> {
        if last.has_remaining() && self.unread.is_there() {
            self.give(std::mem::replace(&mut last, Data::empty()), false)?;
        }
        self.wait_for_the_end().await?;
        self.give(last, true)
    }

    /// The answer does not end before the rest of the request's body is read away: a client that has
    /// all of it may no longer send, nor listen (curl).
    async fn wait_for_the_end(&mut self) -> Result<(), Stopped> {
        poll_fn(|cx| {
            let stopped = poll_stopped(self.abort, |cx| self.stream.poll_reset(cx), cx);
            self.unread.poll_over(stopped, cx)
        })
        .await
    }

    fn give(&mut self, data: Data, last: bool) -> Result<(), Stopped> {
        let given = Given::new(data, self.conn);
        self.stream.send_data(given, last).map_err(|_| Stopped::ByClient)
    }

    /// How much the client takes now; an error when it has taken too little for too long.
    fn poll_capacity(&mut self, cx: &mut Context<'_>, left: usize) -> Poll<Result<usize, Stopped>> {
        if let Poll::Ready(stopped) = self.poll_stopped(cx) {
            return Poll::Ready(Err(stopped));
        }
        loop {
            let capacity = self.stream.capacity();
            if capacity > 0 {
                if let Some((_, wanted)) = &mut self.pace {
                    *wanted = wanted.saturating_sub(capacity);
                    if *wanted == 0 {
                        self.pace = None;
                    }
                }
                return Poll::Ready(Ok(capacity));
            }
            match self.stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Err(Stopped::ByClient)),
                Poll::Pending => break,
            }
        }
        let gap = self.gap;
        let start = || (Box::pin(tokio::time::sleep(gap)), TAKEN_BYTES_MIN.min(left));
        let (timer, _) = self.pace.get_or_insert_with(start);
        ready!(timer.as_mut().poll(cx));
        self.conn.count(own::GONE);
        Poll::Ready(Err(Stopped::Reset(Reason::CANCEL)))
    }
}

thread_local! {
    /// The date as a field says it, and for which second.
    static DATE: RefCell<Option<(u64, HeaderValue)>> = const { RefCell::new(None) };
}

fn date() -> HeaderValue {
    let now = SystemTime::now();
    let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    DATE.with_borrow_mut(|known| match known {
        Some((of, value)) if *of == second => value.clone(),
        _ => {
            let text = httpdate::fmt_http_date(now);
            let value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
            *known = Some((second, value.clone()));
            value
        }
    })
}
