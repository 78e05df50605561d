//! Bodies in both directions, driven as a host drives them.
//!
//! Owns the tests of request bodies, streams and fixed answers.
//! Invariant: nothing here reaches into the SDK but through the ABI.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Bomb, lines};
use crate::{
    BodyError, Bytes, Context, Error, Handler, HeaderMap, HeaderValue, Request, Response, Result,
    testing::{Host, Reply, Running, Upload},
};

static SENT: AtomicUsize = AtomicUsize::new(0);

/// Tells when whoever converses is freed.
struct Held;

impl Drop for Held {
    fn drop(&mut self) {
        HELD_DROPS.set(HELD_DROPS.get() + 1);
    }
}

thread_local! {
    static HELD_DROPS: Cell<usize> = const { Cell::new(0) };
}

struct Bodies;

impl Handler for Bodies {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        match request.path() {
            "/echo" => Ok(Response::stream(request.body())),
            "/text" => Ok(Response::text(request.body().text(8).await?)),
            "/pieces" => {
                let mut body = request.body();
                let mut text = String::new();
                while let Some(piece) = body.next().await? {
                    text.push_str(&format!("{piece:?} "));
                }
                Ok(Response::text(format!(
                    "{text}{:?} {}",
                    body.trailers(),
                    request.body().text(1).await?
                )))
            }
            "/count" => Ok(Response::streaming(|mut out| async move {
                for n in 1..=3 {
                    SENT.store(n, Ordering::Relaxed);
                    out.send(n.to_string()).await;
                }
                let mut trailers = HeaderMap::new();
                trailers.insert("x-end", HeaderValue::from_static("yes"));
                out.trailers(trailers).await;
                Ok(())
            })),
            "/break" => Ok(Response::streaming(|mut out| async move {
                out.send("a").await;
                std::future::ready(()).await;
                Err(Error::new("lost my thread"))
            })),
            "/bomb" => Ok(Response::streaming(|mut out| async move {
                let _bomb = Bomb;
                out.send("a").await;
                std::future::pending().await
            })),
            "/upgrade" => {
                let held = Held;
                Ok(Response::upgrade("shout", |mut io| async move {
                    let _held = held;
                    let mut buf = [0; 8];
                    while let n @ 1.. = io.read(&mut buf).await? {
                        buf.make_ascii_uppercase();
                        io.write_all(&buf[..n]).await?;
                    }
                    io.flush().await?;
                    Ok(io.shutdown().await?)
                }))
            }
            "/http" => {
                let request = request.into_http()?;
                let text = format!("{} {}", request.uri(), request.headers().len());
                let response = http::Response::builder().status(203);
                let response = response.header("a", "1").header("a", "2").body(text)?;
                Ok(response.into())
            }
            _ => Ok(Response::bytes(Bytes::from_owner(vec![b'x'; 3])).with_header("a", "b")),
        }
    }
}

fn kit() -> Running {
    Host::<Bodies>::new().start().unwrap()
}

#[test]
fn body_comes_in_pieces_and_is_freed() {
    let kit = kit();
    let upload = Upload::new();
    let call = kit.post("/pieces", "").upload(&upload).begin();
    let alive = Arc::new(());
    upload.send(Bytes::from_owner(Counted("ab", Arc::clone(&alive))));
    assert!(!call.is_answered());
    upload.send(Bytes::from_owner(Counted("c", Arc::clone(&alive))));
    upload.trailers([("x-sum", "1"), ("x-sum", "2")]);
    let text = call.answer().text();
    assert_eq!(text, "b\"ab\" b\"c\" Some({\"x-sum\": \"1\", \"x-sum\": \"2\"}) ");
    assert!(upload.is_dropped());
    assert_eq!(Arc::strong_count(&alive), 1);
}

/// A piece that is missed.
struct Counted(&'static str, #[expect(dead_code, reason = "counts")] Arc<()>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[test]
fn limits_and_faults_of_a_body_are_errors() {
    let kit = kit();
    let ask = |pieces: &[&'static str]| {
        let pieces = pieces.iter().map(|piece| piece.as_bytes());
        kit.post("/text", "").pieces(pieces).send().text()
    };
    assert_eq!(ask(&["12345678"]), "12345678");
    assert_eq!(ask(&["1234", "5"]), "12345");
    assert_eq!(ask(&["12345678", "9"]), "the body is longer than 8 bytes");
    let whole = kit.post("/text", "123456789").send();
    assert_eq!(whole.error(), Some("the body is longer than 8 bytes"));
    let upload = Upload::new();
    upload.fail("reset");
    let reply = kit.post("/text", "").upload(&upload).send();
    assert_eq!(reply.error(), Some("the body broke off: reset"));
    assert!(upload.is_dropped());
}

#[test]
fn body_can_be_answered_as_it_comes() {
    let kit = kit();
    let upload = Upload::new();
    let mut reply = kit.post("/echo", "").upload(&upload).send();
    upload.send("ab");
    assert_eq!(piece(&mut reply), "ab");
    assert!(reply.try_piece().is_pending());
    upload.send("c");
    assert_eq!(piece(&mut reply), "c");
    upload.trailers([("x-sum", "1")]);
    assert_eq!(reply.piece(), Ok(None));
    assert_eq!(reply.trailers().unwrap()["x-sum"], "1");
    assert!(upload.is_dropped());
}

fn piece(reply: &mut Reply<'_>) -> String {
    let piece = reply.piece().unwrap().unwrap();
    String::from_utf8(piece.into()).unwrap()
}

#[test]
fn written_body_waits_for_its_reader() {
    let kit = kit();
    let mut reply = kit.get("/count").send();
    assert_eq!(SENT.load(Ordering::Relaxed), 0, "nothing is made before it is asked for");
    assert_eq!(piece(&mut reply), "1");
    assert_eq!(SENT.load(Ordering::Relaxed), 2, "one piece waits, no more");
    assert_eq!(piece(&mut reply), "2");
    assert_eq!(piece(&mut reply), "3");
    assert_eq!(reply.piece(), Ok(None));
    assert_eq!(reply.trailers().unwrap()["x-end"], "yes");
}

#[test]
fn written_body_may_break_off() {
    let kit = kit();
    let mut reply = kit.get("/break").send();
    assert_eq!(piece(&mut reply), "a");
    let broken = BodyError::Broken("the body broke off: lost my thread".to_owned());
    assert_eq!(reply.piece(), Err(broken));
}

#[test]
fn drop_of_a_stream_may_panic() {
    let kit = kit();
    let mut reply = kit.get("/bomb").send();
    assert_eq!(piece(&mut reply), "a");
    drop(reply);
    assert_eq!(kit.panics()[0].message, "the bomb went off");
}

#[test]
fn response_of_the_http_crate_is_handed_over_whole() {
    let kit = kit();
    let mut reply = kit.get("/http?q=1").header("b", "1").header("c", "2").send();
    assert_eq!((reply.status().as_u16(), reply.text().as_str()), (203, "/http?q=1 3"));
    assert_eq!(lines(&reply), ["a: 1", "a: 2"]);
}

#[test]
fn owned_bytes_cross_with_their_owner() {
    let kit = kit();
    let mut reply = kit.get("/bytes").send();
    assert_eq!((reply.status().as_u16(), reply.text().as_str()), (200, "xxx"));
    assert_eq!(lines(&reply), ["content-type: application/octet-stream", "a: b"]);
}

#[test]
fn upgraded_connection_is_a_byte_stream() {
    let kit = kit();
    let mut peer = kit.get("/upgrade").send().upgraded();
    peer.send("hello there");
    assert_eq!(peer.received(), b"HELLO THERE");
    peer.hang_up();
    peer.end().unwrap();
    assert!(peer.is_closed());
    assert_eq!(HELD_DROPS.get(), 1);
}

#[test]
fn upgrade_that_never_starts_is_freed() {
    let kit = kit();
    let reply = kit.get("/upgrade").send();
    assert_eq!(HELD_DROPS.get(), 0);
    drop(reply);
    assert_eq!(HELD_DROPS.get(), 1);
}
