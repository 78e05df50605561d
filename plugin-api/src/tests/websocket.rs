//! WebSocket conversations over the fake host's connection.
//!
//! Owns a client that writes and reads small frames. Knows nothing of tungstenite.
//! Invariant: what the client expects is spelled in bytes of RFC 6455.

use std::time::Duration;

use super::lines;
use crate::{
    Context, Error, Handler, Method, Request, Response, Result, Version, WebSocket,
    testing::{Host, Peer, RequestBuilder, Running},
};

struct Chat;

impl Handler for Chat {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        match request.path() {
            "/early" => Response::websocket(&request, |mut ws: WebSocket| {
                ws.end_on_drain();
                echo(ws)
            }),
            "/deaf" => Response::websocket(&request, |_: WebSocket| std::future::pending()),
            _ => Response::websocket(&request, echo),
        }
    }
}

async fn echo(mut ws: WebSocket) -> Result<()> {
    ws.limit_messages(100_000);
    while let Some(message) = ws.recv().await? {
        if message == "fail".into() {
            return Err(Error::new("as told"));
        }
        ws.send(message).await?;
    }
    Ok(())
}

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

const OPENING: [(&str, &str); 4] = [
    ("connection", "keep-alive, Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", KEY),
];

fn kit() -> Running {
    Host::<Chat>::new().start().unwrap()
}

fn opening<'k>(kit: &'k Running, path: &str) -> RequestBuilder<'k> {
    OPENING.iter().fold(kit.get(path), |request, (name, value)| request.header(name, value))
}

fn talk<'k>(kit: &'k Running, path: &str) -> Peer<'k> {
    let reply = opening(kit, path).send();
    assert_eq!(
        lines(&reply),
        [
            "connection: upgrade",
            "upgrade: websocket",
            // The example of RFC 6455, section 1.3.
            "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        ]
    );
    reply.upgraded()
}

/// A client's frame: masked, with a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).expect("short");
    assert!(len < 126, "short");
    [&[first, 0x80 | len, 0, 0, 0, 0], payload].concat()
}

fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
    [&[0x88, u8::try_from(payload.len()).expect("short")], payload.as_slice()].concat()
}

#[test]
fn opening_is_checked() {
    let kit = kit();
    let with = |name: &str, other: &str| {
        let fields =
            OPENING.iter().map(|(it, value)| (it, if *it == name { other } else { value }));
        fields.fold(kit.get("/"), |request, (name, value)| request.header(name, value))
    };
    let status = |request: RequestBuilder<'_>| {
        let mut reply = request.send();
        let text = reply.text();
        assert!(text.len() > 20, "{text}");
        reply.status().as_u16()
    };
    assert_eq!(status(kit.get("/")), 426);
    assert_eq!(status(kit.request(Method::POST, "/")), 405);
    assert_eq!(status(opening(&kit, "/").version(Version::HTTP_2)), 400);
    assert_eq!(status(with("connection", "close")), 426);
    assert_eq!(status(with("sec-websocket-version", "8")), 426);
    assert_eq!(status(with("sec-websocket-key", "dGhl")), 400);
}

#[test]
fn messages_and_pings_are_answered() {
    let kit = kit();
    let mut talk = talk(&kit, "/");
    assert!(talk.received().is_empty());
    talk.send(frame(0x81, b"hello"));
    talk.send(frame(0x82, &[0, 255]));
    talk.send(frame(0x89, b"p"));
    assert_eq!(talk.received(), b"\x81\x05hello\x82\x02\x00\xff\x8a\x01p");
    talk.send(frame(0x88, &1000_u16.to_be_bytes()));
    talk.end().unwrap();
    assert_eq!(talk.received(), close_frame(1000, ""));
    assert!(talk.is_closed());
}

#[test]
fn slow_client_holds_the_sender_back() {
    let kit = kit();
    let talk = talk(&kit, "/");
    talk.stall(true);
    talk.send(frame(0x81, b"one"));
    talk.send(frame(0x81, b"two"));
    assert!(talk.received().is_empty());
    talk.stall(false);
    assert_eq!(talk.received(), b"\x81\x03one\x81\x03two");
}

#[test]
fn message_over_the_limit_ends_with_1009() {
    let kit = kit();
    let mut talk = talk(&kit, "/");
    let len = 100_001_u64.to_be_bytes();
    assert!(talk.received().is_empty());
    talk.send([&[0x82, 0xff][..], &len, &[0; 4]].concat());
    talk.hang_up();
    let error = talk.end().unwrap_err().to_string();
    assert!(error.contains("100001"), "{error}");
    assert_eq!(talk.received(), close_frame(1009, ""));
}

#[test]
fn failed_conversation_ends_with_1011() {
    let kit = kit();
    let mut talk = talk(&kit, "/");
    talk.send(frame(0x81, b"fail"));
    assert_eq!(talk.received(), close_frame(1011, ""));
    assert!(!talk.is_closed(), "the peer's close frame is waited for");
    talk.send(frame(0x88, &1011_u16.to_be_bytes()));
    assert_eq!(talk.end().unwrap_err().to_string(), "as told");
}

#[test]
fn client_that_goes_away_is_no_error() {
    let kit = kit();
    let mut talk = talk(&kit, "/");
    talk.hang_up();
    talk.end().unwrap();
    assert!(talk.is_closed());
}

#[test]
fn drain_closes_with_1012_when_wanted() {
    let kit = kit();
    let (early, mut late) = (talk(&kit, "/early"), talk(&kit, "/"));
    assert!(early.received().is_empty() && late.received().is_empty());
    kit.drain();
    assert_eq!(early.received(), close_frame(1012, "service restart"));
    assert!(late.received().is_empty());
    kit.last_call();
    assert_eq!(late.received(), close_frame(1012, "service restart"));
    late.send(frame(0x88, &1012_u16.to_be_bytes()));
    late.end().unwrap();
}

#[test]
fn deaf_author_and_silent_client_do_not_hold_the_end() {
    let kit = kit();
    let mut talk = talk(&kit, "/deaf");
    assert!(talk.received().is_empty());
    kit.last_call();
    assert_eq!(talk.received(), close_frame(1012, "service restart"));
    assert_eq!(kit.now(), Duration::ZERO);
    talk.end().unwrap();
    assert_eq!(kit.now(), Duration::from_secs(2), "one for the author, one for the client");
}
