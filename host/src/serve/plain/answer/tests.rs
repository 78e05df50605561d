//! What is written is what hyper writes.

mod hyper_writes;
mod refused;

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body::{Frame, SizeHint};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::{
    config::Limits,
    plugin::{call, exchange::Client, take_pairs},
    serve::{
        answering::{self, Emptied, Wire},
        aside::Aside,
        conn::Conn,
        connection::h1_builder,
        own,
    },
};

type Pair = (&'static [u8], &'static [u8]);

/// A body as a plugin gives it: at once, or piece by piece.
#[derive(Clone, Debug, Default)]
struct Given {
    pieces: VecDeque<Bytes>,
    is_stream: bool,
    /// Of a stream that knows it.
    len: Option<u64>,
    trailers: Option<HeaderMap>,
    /// One that is not sent, of so many bytes.
    described: bool,
}

impl Given {
    fn bytes(text: &'static str) -> Self {
        let pieces = Some(Bytes::from(text)).filter(|it| !it.is_empty());
        Self { pieces: pieces.into_iter().collect(), ..Self::default() }
    }

    fn stream(pieces: &[&'static str], is_known: bool) -> Self {
        let pieces: VecDeque<_> = pieces.iter().copied().map(Bytes::from).collect();
        let len = is_known.then(|| pieces.iter().map(|it| it.len() as u64).sum());
        Self { pieces, is_stream: true, len, ..Self::default() }
    }

    fn described(len: u64) -> Self {
        Self { described: true, len: Some(len), ..Self::default() }
    }

    fn total(&self) -> u64 {
        self.pieces.iter().map(|it| it.len() as u64).sum()
    }

    /// As a plugin's body is held to its `content-length`.
    fn promise(&mut self, len: u64) -> Result<(), String> {
        assert_eq!(len, self.total(), "these tests promise well");
        if self.is_stream {
            self.len.get_or_insert(len);
        }
        Ok(())
    }
}

impl Body for Given {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.pop_front().map(Frame::data);
        let frame = piece.or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        !self.is_stream && !self.described && self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self.len {
            Some(len) => SizeHint::with_exact(len),
            None if self.is_stream => SizeHint::default(),
            None => SizeHint::with_exact(self.total()),
        }
    }
}

impl Emptied for Given {
    fn is_measured(&self) -> bool {
        self.size_hint().exact().is_some()
    }

    fn empty(&mut self) -> Option<u64> {
        std::mem::take(self).size_hint().exact().filter(|len| *len > 0)
    }
}

/// An answer of a plugin, and what it answers.
#[derive(Clone, Debug)]
struct Case {
    status: StatusCode,
    fields: Vec<Pair>,
    body: Given,
    method: Method,
    last: bool,
}

impl Case {
    fn framing(&self) -> Framing {
        match self.status {
            StatusCode::UPGRADE_REQUIRED => Framing::Upgrade,
            _ => Framing::Open,
        }
    }

    fn to_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// What the data plane makes of it for hyper.
    fn response(&self, wire: Wire, conn: &Conn, aside: &Aside) -> Response<Given> {
        let mut body = self.body.clone();
        let mut answer = Response::new(Given::default());
        let closes = take_pairs(&self.fields, self.framing(), answer.headers_mut()).unwrap();
        let asked = (self.status, self.to_head());
        call::frame(answer.headers_mut(), asked, |len| body.promise(len)).unwrap();
        let described = answering::shape(&mut answer, self.status);
        *answer.body_mut() = described.map_or(body, Given::described);
        wire.seal(&mut answer, conn, Some(aside), self.last || closes);
        answer
    }

    /// The bytes without hyper, and whether they are the last.
    fn written(&self) -> (Vec<u8>, bool) {
        let mut body = self.body.clone();
        let before = b"what was there".to_vec();
        let mut out = before.clone();
        let mut written = Written::new(&mut out, self.to_head());
        written.begin(self.status);
        let closes = take_pairs(&self.fields, self.framing(), &mut written).unwrap();
        let asked = (self.status, self.to_head());
        call::frame(&mut written, asked, |len| body.promise(len)).unwrap();
        let last = self.last || closes;
        match written.finish(Framed::of(&body), last) {
            Framed::None => {}
            Framed::Length(len) => {
                assert_eq!(len, body.total());
                body.pieces.iter().for_each(|piece| out.extend_from_slice(piece));
            }
            Framed::Chunked => {
                for piece in body.pieces.iter().filter(|piece| !piece.is_empty()) {
                    chunk_head(&mut out, piece.len() as u64);
                    out.extend_from_slice(piece);
                    chunk_end(&mut out);
                }
                last_chunk(&mut out);
            }
        }
        assert!(out.starts_with(&before));
        (out.split_off(before.len()), last)
    }

    fn request(&self) -> String {
        format!("{} / HTTP/1.1\r\nhost: a\r\n\r\n", self.method)
    }
}

/// What hyper, set up as in the data plane, writes for the one request in `request`, and whether it
/// ends the connection behind it.
fn by_hyper<B: Body<Data = Bytes, Error = Infallible> + 'static>(
    request: &str,
    answer: impl Fn(Wire, &Conn, &Aside) -> Response<B>,
) -> (Vec<u8>, bool) {
    let limits = Arc::new(Limits::default());
    let conn = Conn::new(Client::new("test".into()), Arc::default());
    let aside = Aside::new(&conn, &limits);
    let (mut near, far) = tokio::io::duplex(1 << 20);
    near.write_all(request.as_bytes()).now_or_never().expect("there is room").unwrap();
    let service = service_fn(|request: Request<Incoming>| {
        let (parts, _) = request.into_parts();
        std::future::ready(Ok::<_, Infallible>(answer(Wire::of(&parts), &conn, &aside)))
    });
    let mut http = h1_builder(true, &limits).serve_connection(TokioIo::new(far), service);
    let ended = (&mut http).now_or_never().map(Result::unwrap).is_some();
    drop(http);
    let mut all = Vec::new();
    near.read_to_end(&mut all).now_or_never().expect("the other end is gone").unwrap();
    (all, ended)
}

/// A head in lines, and what follows it. The date of now is the same everywhere.
fn taken_apart(bytes: &[u8]) -> (Vec<String>, &[u8]) {
    let end = bytes.windows(4).position(|it| it == b"\r\n\r\n").expect("a head") + 4;
    // Each byte is a character: values need not be UTF-8.
    let head: String = bytes[..end].iter().copied().map(char::from).collect();
    let lines = head.split_inclusive("\r\n").map(|line| {
        let date = line.strip_prefix("date: ").and_then(|it| it.strip_suffix("\r\n"));
        let time = date.and_then(|it| httpdate::parse_http_date(it).ok());
        let is_now = time.is_some_and(|it| it.elapsed().is_ok_and(|it| it.as_secs() < 60));
        if is_now { "date: now\r\n".to_owned() } else { line.to_owned() }
    });
    (lines.collect(), &bytes[end..])
}

/// Holds both to each other. `in_order`: no map changes the order of these fields.
#[track_caller]
fn check(case: &Case, in_order: bool) {
    let (wanted, ends) =
        by_hyper(&case.request(), |wire, conn, aside| case.response(wire, conn, aside));
    let (written, last) = case.written();
    let (mut wanted_head, wanted_rest) = taken_apart(&wanted);
    let (mut head, rest) = taken_apart(&written);
    if !in_order {
        wanted_head.sort();
        head.sort();
    }
    assert_eq!(head, wanted_head, "{case:?}");
    assert_eq!(rest, wanted_rest, "{case:?}");
    assert_eq!(last, ends, "{case:?}");
}
