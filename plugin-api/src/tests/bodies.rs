//! Bodies in both directions, driven as a host drives them.
//!
//! Owns the tests of request bodies, streams and fixed answers.
//! Invariant: nothing here reaches into the SDK but through the ABI.

use std::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::Bomb;
use crate::{
    Bytes, Context, Error, Handler, HeaderMap, HeaderValue, Request, Response, Result,
    abi::{self, poll},
    testing::{
        Instance,
        io::Wire,
        panics,
        request::{FakeRequest, Pulled, Step, fixed},
    },
    upgrade::OwnedUpgrade,
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

fn ask(request: &FakeRequest) -> (u32, Option<abi::Answer>) {
    Instance::<Bodies>::new().call(request).finish()
}

#[test]
fn body_comes_in_pieces_and_is_freed() {
    let trailers = Step::Trailers(vec![("x-sum", "1"), ("x-sum", "2")]);
    let steps = [Step::Data("ab"), Step::Pending, Step::Data("c"), trailers];
    let request = FakeRequest::get("/pieces").with_body(&steps);
    let instance = Instance::<Bodies>::new();
    let mut call = instance.call(&request);
    let (_, answer) = call.finish();
    let (_, _, text) = fixed(answer.expect("ready"));
    assert_eq!(text, "b\"ab\" b\"c\" Some({\"x-sum\": \"1\", \"x-sum\": \"2\"}) ");
    assert_eq!(request.alive(), 0);
}

#[test]
fn limits_and_faults_of_a_body_are_errors() {
    let ask = |steps: &[Step]| {
        let request = FakeRequest::get("/text").with_body(steps);
        let instance = Instance::<Bodies>::new();
        let (code, answer) = instance.call(&request).finish();
        let text = answer.map(|it| crate::testing::take(it.bytes)).unwrap_or_default();
        assert_eq!(request.alive(), 0);
        (code, text)
    };
    assert_eq!(ask(&[Step::Data("12345678")]), (poll::READY, "12345678".to_owned()));
    assert_eq!(ask(&[Step::Data("1234"), Step::Data("5")]), (poll::READY, "12345".to_owned()));
    let failed = |text: &str| (poll::FAILED, text.to_owned());
    let long = [Step::Data("12345678"), Step::Data("9")];
    assert_eq!(ask(&long), failed("the body is longer than 8 bytes"));
    assert_eq!(ask(&[Step::Fail("reset")]), failed("the body broke off: reset"));
}

#[test]
fn body_can_be_answered_as_it_comes() {
    let trailers = Step::Trailers(vec![("x-sum", "1")]);
    let steps = [Step::Data("ab"), Step::Pending, Step::Data("c"), trailers];
    let request = FakeRequest::get("/echo").with_body(&steps);
    let instance = Instance::<Bodies>::new();
    let (_, answer) = instance.call(&request).finish();
    let mut pulled = Pulled::new(answer.expect("ready"));
    assert_eq!(pulled.next(), "data ab");
    assert_eq!(pulled.next(), poll::PENDING.to_string());
    assert_eq!(pulled.waker.woken.times.load(Ordering::Relaxed), 1, "the waker went through");
    assert_eq!(pulled.next(), "data c");
    assert_eq!(pulled.next(), "trailers x-sum: 1");
    assert_eq!(pulled.next(), poll::END.to_string());
    assert_eq!(request.alive(), 0);
}

#[test]
fn written_body_waits_for_its_reader() {
    let request = FakeRequest::get("/count");
    let (_, answer) = ask(&request);
    assert_eq!(SENT.load(Ordering::Relaxed), 0, "nothing is made before it is asked for");
    let mut pulled = Pulled::new(answer.expect("ready"));
    assert_eq!(pulled.next(), "data 1");
    assert_eq!(SENT.load(Ordering::Relaxed), 2, "one piece waits, no more");
    assert_eq!(pulled.next(), "data 2");
    assert_eq!(pulled.next(), "data 3");
    assert_eq!(pulled.next(), "trailers x-end: yes");
    assert_eq!(pulled.next(), poll::END.to_string());
}

#[test]
fn written_body_may_break_off() {
    let mut pulled = Pulled::new(ask(&FakeRequest::get("/break")).1.expect("ready"));
    assert_eq!(pulled.next(), "data a");
    assert_eq!(pulled.next(), "failed the body broke off: lost my thread");
}

#[test]
fn drop_of_a_stream_may_panic() {
    let instance = Instance::<Bodies>::new();
    let request = FakeRequest::get("/bomb");
    let (_, answer) = instance.call(&request).finish();
    let mut pulled = Pulled::new(answer.expect("ready"));
    assert_eq!(pulled.next(), "data a");
    drop(pulled);
    assert!(panics()[0].starts_with("the bomb went off"));
}

#[test]
fn response_of_the_http_crate_is_handed_over_whole() {
    let request = FakeRequest::new("GET", "/http?q=1", vec![("b", "1"), ("c", "2")]);
    let instance = Instance::<Bodies>::new();
    let mut call = instance.call(&request);
    let (_, answer) = call.finish();
    let (status, headers, text) = fixed(answer.expect("ready"));
    assert_eq!((status, text.as_str()), (203, "/http?q=1 2"));
    assert_eq!(headers, ["a: 1", "a: 2"]);
}

#[test]
fn owned_bytes_cross_with_their_owner() {
    let instance = Instance::<Bodies>::new();
    let request = FakeRequest::get("/bytes");
    let mut call = instance.call(&request);
    let (_, answer) = call.finish();
    let (status, headers, text) = fixed(answer.expect("ready"));
    assert_eq!((status, text.as_str()), (200, "xxx"));
    assert_eq!(headers, ["content-type: application/octet-stream", "a: b"]);
}

#[test]
fn upgraded_connection_is_a_byte_stream() {
    let request = FakeRequest::get("/upgrade");
    let (_, answer) = ask(&request);
    let wire = Wire::default();
    let mut talk = wire.start(&answer.expect("ready"));
    wire.send(b"hello there");
    assert_eq!(talk.poll().0, poll::PENDING);
    assert_eq!(wire.received(), b"HELLO THERE");
    wire.hang_up();
    assert_eq!(talk.poll().0, poll::READY);
    assert!(wire.is_closed());
    drop(talk);
    assert_eq!(HELD_DROPS.get(), 1);
}

#[test]
fn upgrade_that_never_starts_is_freed() {
    let (_, answer) = ask(&FakeRequest::get("/upgrade"));
    let upgrade = answer.expect("ready").upgrade;
    assert_eq!(HELD_DROPS.get(), 0);
    drop(OwnedUpgrade(upgrade));
    assert_eq!(HELD_DROPS.get(), 1);
}
