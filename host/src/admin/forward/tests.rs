//! The relay between a control plane and one that a test writes.

use std::time::{Duration, UNIX_EPOCH};

use axum::body::Body;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
    time::timeout,
};

use super::*;
use crate::{
    admin::{
        Transport,
        testing::{PORT, Plane, connection, plane, request},
    },
    metrics::fixture,
};

/// Long enough for anything that happens at all.
const PATIENCE: Duration = Duration::from_secs(10);

const ANSWER: &str = "HTTP/1.1 418 I'm a teapot\r\nhotseat-error: tea\r\ncontent-type: text/plain\r\n\
                      connection: keep-alive\r\ncontent-length: 4\r\n\r\ntea\n";

/// A host whose next accept is done by `next`, which gives what it was sent.
struct Pair {
    plane: Plane,
    back: Address,
    next: JoinHandle<String>,
}

async fn pair(body: &'static str) -> Pair {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let back = Address::Tcp(listener.local_addr().unwrap());
    let next = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        while !bytes.ends_with(body.as_bytes()) || !bytes.windows(4).any(|it| it == b"\r\n\r\n") {
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "the request is whole");
        }
        stream.write_all(ANSWER.as_bytes()).await.unwrap();
        String::from_utf8(bytes).unwrap()
    });
    Pair { plane: plane(fixture::serving(UNIX_EPOCH)), back, next }
}

fn on(back: &Address, mut request: Request) -> Request {
    let mut from = connection(Transport::Tcp { port: PORT });
    from.back = Some(back.clone());
    request.extensions_mut().insert(from);
    request
}

#[tokio::test]
async fn a_request_is_passed_on_as_it_is_and_its_answer_comes_back() {
    let Pair { plane, back, next } = pair("{\"plugin\": \"a\"}").await;
    plane.relay.set(Elsewhere::Everything);
    let mut post = request("POST", "/v1/rollback?x=%20y", "{\"plugin\": \"a\"}");
    post.headers_mut().insert("accept", "text/plain".parse().unwrap());
    post.headers_mut().insert("origin", "http://localhost:28000".parse().unwrap());
    post.headers_mut().insert("te", "trailers".parse().unwrap());
    let answer = timeout(PATIENCE, plane.send(on(&back, post))).await.unwrap();
    assert_eq!((answer.status.as_u16(), &*answer.body), (418, "tea\n"));
    assert_eq!((answer.header("hotseat-error"), answer.header("connection")), ("tea", "close"));
    let seen = next.await.unwrap();
    assert!(seen.starts_with("POST /v1/rollback?x=%20y HTTP/1.1\r\n"), "{seen}");
    for line in ["host: localhost:28000", "accept: text/plain", "origin: http://localhost:28000"] {
        assert!(seen.contains(&format!("\r\n{line}\r\n")), "{seen}");
    }
    assert!(!seen.contains("\r\nte:"), "{seen}");
}

/// The desk is frozen while the request is under way: it was read here, and is answered there.
#[tokio::test]
async fn an_order_that_comes_too_late_for_the_desk_is_passed_on_whole() {
    let Pair { plane, back, next } = pair("./libhandler_v2.so\n").await;
    plane.desk.freeze();
    let post = request("POST", "/", "./libhandler_v2.so\n");
    let answer = timeout(PATIENCE, plane.send(on(&back, post))).await.unwrap();
    assert_eq!(answer.status.as_u16(), 418);
    assert!(next.await.unwrap().ends_with("\r\n\r\n./libhandler_v2.so\n"));
}

#[tokio::test]
async fn what_this_worker_knows_best_is_answered_here() {
    let Pair { plane, back, next } = pair("").await;
    plane.relay.set(Elsewhere::Changes);
    for path in ["/v1/status", "/livez"] {
        let answer = plane.send(on(&back, request("GET", path, Body::empty()))).await;
        assert_eq!(answer.status.as_u16(), 200, "{path}");
    }
    plane.relay.set(Elsewhere::Everything);
    let answer = plane.send(on(&back, request("GET", "/livez", Body::empty()))).await;
    assert_eq!((answer.status.as_u16(), answer.header("connection")), (200, "close"));
    let answer = plane.send(on(&back, request("GET", "/v1/status", Body::empty()))).await;
    assert_eq!(answer.status.as_u16(), 418);
    next.await.unwrap();
}

/// The next worker begins with what was counted when this one was frozen: a page with more than
/// that, followed by one of the next worker's, would be a counter that goes down.
#[tokio::test]
async fn the_next_worker_tells_the_counters() {
    let Pair { plane, back, next } = pair("").await;
    plane.relay.set(Elsewhere::Changes);
    let answer = plane.send(on(&back, request("GET", "/metrics", Body::empty()))).await;
    assert_eq!(answer.status.as_u16(), 418);
    next.await.unwrap();
}

#[tokio::test]
async fn the_guard_stands_before_the_relay() {
    let Pair { plane, back, next } = pair("").await;
    plane.relay.set(Elsewhere::Everything);
    let mut foreign = request("POST", "/", "./a.so");
    foreign.headers_mut().insert("host", "example.com".parse().unwrap());
    let answer = plane.send(on(&back, foreign)).await;
    assert_eq!(answer.header("hotseat-error"), "foreign_host");
    assert!(!next.is_finished(), "nobody was asked");
    next.abort();
}

#[tokio::test]
async fn without_anybody_who_accepts_it_is_said() {
    let Pair { plane, back, next } = pair("").await;
    next.abort();
    let _ = next.await;
    plane.relay.set(Elsewhere::Everything);
    let answer = plane.send(on(&back, request("POST", "/", "./a.so"))).await;
    assert_eq!((answer.status.as_u16(), answer.header("hotseat-error")), (502, "handed_over"));
}
