//! hyper, set up as it serves connections here, reads the same heads.

use std::{cell::RefCell, convert::Infallible, pin::pin, task::Context, task::Waker};

use futures_util::FutureExt as _;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::serve::connection::h1_builder;

/// Plain requests, as clients write them and as they might.
pub(super) const PLAIN: [&[u8]; 36] = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /index.html HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n",
    b"GET /a/b?c=d&e=%20f HTTP/1.1\r\nHost: example.org\r\nConnection: keep-alive\r\nAccept-Encoding: gzip, deflate, br\r\nCookie: a=b; c=d\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
    b"OPTIONS /a HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\nAccess-Control-Request-Method: PUT\r\n\r\n",
    b"DELETE /a HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0000003\r\n\r\nabc",
    b"PATCH /a HTTP/1.1\r\nContent-Length:3\r\nHost:a\r\n\r\nabcGET / HTTP/1.1\r\nHost: b\r\n\r\n",
    b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\n\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\n\n",
    b"GET / HTTP/1.1\r\nHost: a\nA: b\r\n\n",
    b"GET / HTTP/1.1\nHost: a\r\nA: b\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: \x80\xff\xfe\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: a\tb\r\nY:\t \tb \t \r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX:\r\nY: \r\nZ:   \t\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nX: 2\r\nx: 3\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: 1\r\nHost: a\r\nX: 2\r\nY: 1\r\nX: 3\r\nY: 2\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nCONNECTION: Keep-Alive\r\nConnection: keep-alive\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^_`|~09azAZ: a\r\n\r\n",
    b"GET //a//b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /? HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /?? HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /a?b?c HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /%00%zz% HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /../..;a=b/./@:!$&'()*+,;=~ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET //b:80/c HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: A.B.:1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\nTrailer: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\0\0\0",
];

/// What hyper may or may not take, but not the thin path.
const OTHER: [&[u8]; 40] = [
    b"",
    b"\r\n",
    b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
    b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
    b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET ?a HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /{}|^`\" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
    b"GET / HTTP/1.1\r\n A: b\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nA: b\rC: d\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nA: \0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 2\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
];

/// Heads that are long, or have many fields.
fn large() -> Vec<Vec<u8>> {
    let fields = |count: usize| get(&"Name: value\r\n".repeat(count - 1));
    let long = |len: usize| get(&format!("A: {}\r\n", "b".repeat(len - get("A: \r\n").len())));
    let named = |len: usize| get(&format!("{}: b\r\n", "N".repeat(len)));
    let to = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(len - 1));
    let body = |len: usize| with("PUT", &format!("Content-Length: {len}\r\n")) + &"b".repeat(len);
    let all = [
        fields(99),
        fields(100),
        fields(101),
        long(8 << 10),
        long(HEAD_MAX - 1),
        long(HEAD_MAX),
        long(HEAD_MAX + 1),
        long((64 << 10) + 1),
        named(100),
        named(30_000),
        named(65_000),
        named(66_000),
        to(TARGET_MAX),
        to(TARGET_MAX + 1),
        to(65_000),
        body(8 << 10),
        body(100_000),
    ];
    all.into_iter().map(String::into_bytes).collect()
}

/// A request as hyper gives it to the service.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    method: Method,
    path: String,
    query: Option<String>,
    host: Option<String>,
    fields: Vec<(String, Vec<u8>)>,
    body_len: usize,
    /// The answer says that it is the last.
    closes: bool,
}

impl Seen {
    fn new(request: Request<()>, body_len: usize) -> Self {
        let (mut parts, ()) = request.into_parts();
        let fields = parts.headers.iter();
        let fields = fields.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
        let fields = fields.collect();
        let host = rules::host_name(&mut parts).ok().flatten();
        Self {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().map(str::to_owned),
            host: host.and_then(|it| it.as_str().map(str::to_owned)),
            fields,
            body_len,
            closes: false,
        }
    }
}

/// The first request that hyper finds in `input`; `None` if it takes it for none, or waits for more.
fn by_hyper(input: &[u8], limits: &Limits) -> Option<Seen> {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    client.write_all(input).now_or_never().expect("there is room").unwrap();
    let seen = RefCell::new(None);
    let service = service_fn(async |request: Request<Incoming>| {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let request = Seen::new(Request::from_parts(parts, ()), body.len());
        seen.borrow_mut().get_or_insert(request);
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    {
        let io = TokioIo::new(server);
        let mut connection = pin!(h1_builder(false, limits).serve_connection(io, service));
        // All that it could wait for is there; a poll need not come to the end of it.
        for _ in 0..64 {
            if connection.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                break;
            }
        }
    }
    let mut answers = String::new();
    client.read_to_string(&mut answers).now_or_never().expect("it is closed").unwrap();
    let mut seen = seen.into_inner()?;
    let first = answers.split("\r\n\r\n").next().unwrap_or_default();
    assert!(first.starts_with("HTTP/1.1 200 OK\r\n") || first.starts_with("HTTP/1.0"), "{first}");
    seen.closes = first.contains("connection: close");
    Some(seen)
}

/// A header map lists a name's values one behind the other, at the place of the first.
fn by_name(lines: &Lines) -> Vec<(String, Vec<u8>)> {
    let mut groups: Vec<Vec<(String, Vec<u8>)>> = Vec::new();
    for (name, value) in lines.iter() {
        let field = (name.to_owned(), value.to_vec());
        match groups.iter_mut().find(|group| group[0].0 == name) {
            Some(group) => group.push(field),
            None => groups.push(vec![field]),
        }
    }
    groups.concat()
}

/// Whether `input` is plain; then hyper sees the same in it.
#[track_caller]
fn agreed(input: &[u8], limits: &Limits) -> bool {
    let Read::Whole { lines, body_len, .. } = read(input, limits) else { return false };
    let here = Seen {
        method: lines.method().clone(),
        path: lines.path().to_owned(),
        query: lines.query().map(str::to_owned),
        host: Some(lines.host_name().to_owned()),
        fields: by_name(&lines),
        body_len,
        closes: false,
    };
    let text = String::from_utf8_lossy(&input[..input.len().min(200)]);
    assert_eq!(Some(here), by_hyper(input, limits), "{text:?}");
    true
}

#[test]
fn hyper_sees_the_same() {
    for input in PLAIN {
        assert!(agreed(input, &Limits::default()), "{:?}", String::from_utf8_lossy(input));
    }
    for input in OTHER {
        assert!(!agreed(input, &Limits::default()), "{:?}", String::from_utf8_lossy(input));
    }
}

#[test]
fn hyper_has_the_same_limits() {
    let large = large();
    let taken = large.iter().filter(|input| agreed(input, &Limits::default())).count();
    assert_eq!(taken, 11);
    let generous = Limits { head_bytes: 1 << 20, headers_count: 500, ..Limits::default() };
    let tight = Limits { head_bytes: 1 << 10, headers_count: 10, ..Limits::default() };
    for input in PLAIN.into_iter().map(<[u8]>::to_vec).chain(large) {
        agreed(&input, &generous);
        agreed(&input, &tight);
    }
}

/// The comparison sees something: a request that hyper reads in another way is told from it.
#[test]
fn hyper_is_asked_indeed() {
    let seen = by_hyper(b"GET /a HTTP/1.0\r\nHost: b\r\n\r\n", &Limits::default()).unwrap();
    assert_eq!((seen.path.as_str(), seen.host.as_deref()), ("/a", Some("b")));
    assert!(by_hyper(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", &Limits::default()).is_none());
    assert!(by_hyper(b"GET / HTTP/1.1\r\nHost: a\r\n", &Limits::default()).is_none());
    let closing = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert!(by_hyper(closing, &Limits::default()).unwrap().closes);
}

/// One changed byte, at every place of some heads: nothing that is plain then is not so for hyper.
#[test]
fn hyper_sees_the_same_in_changed_heads() {
    let strange = b"\0\t\n\r !\"#,/0:?Aa[\x7f\x80\xff";
    let (mut taken, mut all) = (0, 0);
    for head in &PLAIN[..12] {
        for at in 0..head.len() {
            for byte in strange {
                let mut input = head.to_vec();
                input[at] = *byte;
                all += 1;
                taken += usize::from(agreed(&input, &Limits::default()));
            }
        }
    }
    assert!(taken > all / 10 && taken < all, "{taken} of {all}");
}
