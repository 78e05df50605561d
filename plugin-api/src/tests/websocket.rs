//! WebSocket conversations over the fake host's connection.
//!
//! Owns a client that writes and reads small frames. Knows nothing of tungstenite.
//! Invariant: what the client expects is spelled in bytes of RFC 6455.

use std::sync::atomic::Ordering;

use crate::{
    Context, Error, Handler, Request, Response, Result, WebSocket,
    abi::{Done, drain, poll},
    testing::{
        Instance, Running,
        io::Wire,
        request::{FakeRequest, fixed, lines},
        take,
    },
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

fn opening(path: &'static str) -> FakeRequest {
    let headers = vec![
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY),
    ];
    FakeRequest::new("GET", path, headers)
}

struct Talk {
    wire: Wire,
    running: Running<Done>,
    instance: Instance<Chat>,
}

fn talk(path: &'static str) -> Talk {
    let instance = Instance::<Chat>::new();
    let request = opening(path);
    let mut call = instance.call(&request);
    let answer = call.finish().1.expect("ready");
    assert_eq!(
        lines(answer.headers),
        [
            "connection: upgrade",
            "upgrade: websocket",
            // The example of RFC 6455, section 1.3.
            "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        ]
    );
    instance.host.clock_stands.store(true, Ordering::Relaxed);
    let wire = Wire::default();
    let running = wire.start(&answer);
    Talk { wire, running, instance }
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
    let with = |name: &str, value: &'static str| {
        let mut headers = vec![
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
        ];
        headers.iter_mut().filter(|it| it.0 == name).for_each(|it| it.1 = value);
        FakeRequest::new("GET", "/", headers)
    };
    let status = |request: FakeRequest| {
        let instance = Instance::<Chat>::new();
        let mut call = instance.call(&request);
        let answer = call.finish().1.expect("ready");
        let (status, _, text) = fixed(answer);
        assert!(text.len() > 20, "{text}");
        status
    };
    assert_eq!(status(FakeRequest::get("/")), 426);
    assert_eq!(status(FakeRequest::new("POST", "/", vec![])), 405);
    assert_eq!(status(opening("/").with_version(20)), 400);
    assert_eq!(status(with("connection", "close")), 426);
    assert_eq!(status(with("sec-websocket-version", "8")), 426);
    assert_eq!(status(with("sec-websocket-key", "dGhl")), 400);
}

#[test]
fn messages_and_pings_are_answered() {
    let mut talk = talk("/");
    assert_eq!(talk.running.poll().0, poll::PENDING);
    talk.wire.send(&frame(0x81, b"hello"));
    talk.wire.send(&frame(0x82, &[0, 255]));
    talk.wire.send(&frame(0x89, b"p"));
    assert_eq!(talk.running.poll().0, poll::PENDING);
    assert_eq!(talk.wire.received(), b"\x81\x05hello\x82\x02\x00\xff\x8a\x01p");
    talk.wire.send(&frame(0x88, &1000_u16.to_be_bytes()));
    assert_eq!(talk.running.finish().0, poll::READY);
    assert_eq!(talk.wire.received(), close_frame(1000, ""));
    assert!(talk.wire.is_closed());
}

#[test]
fn slow_client_holds_the_sender_back() {
    let mut talk = talk("/");
    talk.wire.take_nothing(true);
    talk.wire.send(&frame(0x81, b"one"));
    talk.wire.send(&frame(0x81, b"two"));
    assert_eq!(talk.running.poll().0, poll::PENDING);
    assert!(talk.wire.received().is_empty());
    talk.wire.take_nothing(false);
    assert_eq!(talk.running.poll().0, poll::PENDING);
    assert_eq!(talk.wire.received(), b"\x81\x03one\x81\x03two");
}

#[test]
fn message_over_the_limit_ends_with_1009() {
    let mut talk = talk("/");
    let len = 100_001_u64.to_be_bytes();
    let head = [&[0x82, 0xff][..], &len, &[0; 4]].concat();
    assert_eq!(talk.running.poll().0, poll::PENDING);
    talk.wire.send(&head);
    talk.wire.hang_up();
    let (code, done) = talk.running.finish();
    let text = done.map(|it| take(it.error)).unwrap_or_default();
    assert_eq!(code, poll::FAILED, "{text}");
    assert_eq!(talk.wire.received(), close_frame(1009, ""));
}

#[test]
fn failed_conversation_ends_with_1011() {
    let mut talk = talk("/");
    talk.wire.send(&frame(0x81, b"fail"));
    assert_eq!(talk.running.poll().0, poll::PENDING, "the peer's close frame is waited for");
    assert_eq!(talk.wire.received(), close_frame(1011, ""));
    talk.wire.send(&frame(0x88, &1011_u16.to_be_bytes()));
    let (code, done) = talk.running.finish();
    assert_eq!((code, done.map(|it| take(it.error)).as_deref()), (poll::FAILED, Some("as told")));
}

#[test]
fn client_that_goes_away_is_no_error() {
    let mut talk = talk("/");
    talk.wire.hang_up();
    assert_eq!(talk.running.finish().0, poll::READY);
    assert!(talk.wire.is_closed());
}

#[test]
fn drain_closes_with_1012_when_wanted() {
    let mut early = talk("/early");
    let mut late = talk("/");
    assert_eq!((early.running.poll().0, late.running.poll().0), (poll::PENDING, poll::PENDING));
    early.instance.drain(drain::REQUESTED);
    late.instance.drain(drain::REQUESTED);
    assert_eq!((early.running.poll().0, late.running.poll().0), (poll::PENDING, poll::PENDING));
    assert_eq!(early.wire.received(), close_frame(1012, "service restart"));
    assert!(late.wire.received().is_empty());
    late.instance.drain(drain::LAST_CALL);
    assert_eq!(late.running.poll().0, poll::PENDING);
    assert_eq!(late.wire.received(), close_frame(1012, "service restart"));
    late.wire.send(&frame(0x88, &1012_u16.to_be_bytes()));
    assert_eq!(late.running.finish().0, poll::READY);
}

#[test]
fn deaf_author_and_silent_client_do_not_hold_the_end() {
    let mut talk = talk("/deaf");
    assert_eq!(talk.running.poll().0, poll::PENDING);
    talk.instance.drain(drain::LAST_CALL);
    assert_eq!(talk.running.poll().0, poll::PENDING);
    assert_eq!(talk.wire.received(), close_frame(1012, "service restart"));
    talk.instance.host.clock_stands.store(false, Ordering::Relaxed);
    assert_eq!(talk.running.finish().0, poll::READY);
}
