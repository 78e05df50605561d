//! Bodies that nobody reads: the connection goes on, or says that it does not.

use std::{
    thread,
    time::{Duration, Instant},
};

use hotseat_test_support::{
    Host,
    http2::{RawHttp2, raw::code},
};

use super::{ALIVE, assert_goes_on, assert_not_smuggled, assert_well, edge, post, post_head};

/// Five answers that each wait half a second for a body that has come take longer.
const FIVE_WAITS: Duration = Duration::from_millis(2500);
/// Units: bytes.
const KIB: usize = 1 << 10;
/// Units: bytes.
const MIB: usize = 1 << 20;

/// Streams of one connection whose bodies are let lie; one of them does not end.
fn unread_streams(host: &Host, count: usize) -> std::io::Result<()> {
    let mut client = RawHttp2::open(host.data(), &[])?;
    let body = [b'x'; 16 << 10];
    let hows = ["ignored", "dropped", "piece", "held&keep=owner"];
    for number in 0..count {
        let how = hows[number % hows.len()];
        let target = format!("/edge?id={number}&read={how}");
        let stream = client.post(&target, &body[..(number % 3) * 8000 + 1], number != 5)?;
        let over = client.finish(stream)?;
        let answer = over.answer.as_ref().filter(|_| over.ended);
        let id = number.to_string();
        assert_eq!(
            answer.map(|it| (it.status, it.header("x-id"))),
            Some((200, Some(id.as_str()))),
            "stream {stream}: {over:?}"
        );
    }
    let last = client.get(ALIVE)?;
    assert!(last.ended && client.goaway.is_none(), "{last:?} {:?}", client.goaway);
    let resets: Vec<u32> = (0..count)
        .filter_map(|number| client.at(u32::try_from(2 * number + 1).unwrap()).reset)
        .collect();
    assert!(resets.iter().all(|reset| *reset == code::NO_ERROR), "{resets:?}");
    Ok(())
}

/// Two thousand POSTs over HTTP/2 whose bodies nobody reads. More is sent on a connection than its
/// window holds, so what is not read must be given back.
#[test]
fn http2_posts_stop_nobody() {
    let host = edge().start();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10 {
                    unread_streams(&host, 25).expect("every stream is answered");
                }
            });
        }
    });
    assert_well(&host);
}

/// A body that was sent whole holds up no answer, and one whose end does not come only the end of
/// its own, for a moment.
#[test]
fn answers_to_unread_bodies_are_not_late() {
    let host = edge().start();
    let mut client = RawHttp2::open(host.data(), &[]).unwrap();
    let mut old = host.connect();
    for how in ["ignored", "dropped", "piece", "held&keep=owner", "held&keep=stream"] {
        for answer in ["bytes", "known", "chunked", "trailers", "empty", "error"] {
            let target = format!("/edge?read={how}&answer={answer}");
            let mut ask = |ends: bool| {
                let begun = Instant::now();
                let stream = client.post(&target, b"a piece", ends).unwrap();
                assert!(client.finish(stream).unwrap().ended, "{target}");
                begun.elapsed()
            };
            let took: Duration = (0..5).map(|_| ask(true)).sum();
            assert!(took < FIVE_WAITS, "{target}: 5 answers took {took:?}");
            let begun = Instant::now();
            for _ in 0..5 {
                post(&mut old, &target, b"a piece").unwrap();
            }
            let took = begun.elapsed();
            assert!(took < FIVE_WAITS, "{target}: 5 answers took {took:?}");
            let took = if answer == "bytes" { ask(false) } else { Duration::ZERO };
            assert!(took < FIVE_WAITS, "{target}: an open body: {took:?}");
        }
    }
    assert_well(&host);
}

/// curl as it was seen to stop a host: a connection for each, a byte each.
#[test]
fn single_http2_posts_stop_nobody() {
    let host = edge().start();
    for _ in 0..50 {
        unread_streams(&host, 1).expect("it is answered");
    }
    assert_well(&host);
}

/// Bodies of every size on kept connections: every one is answered, no connection ends.
#[test]
fn kept_connections_go_on_behind_unread_bodies() {
    let host = edge().start();
    let body = vec![b'x'; 40 * MIB];
    for (size, count) in [(KIB, 300), (200 * KIB, 60), (8 * MIB, 6), (40 * MIB, 3)] {
        for how in ["ignored", "dropped", "piece"] {
            let mut connection = host.connect();
            for number in 0..count {
                let target = format!("/edge?read={how}&id={number}");
                let answer = post(&mut connection, &target, &body[..size]);
                let answer = answer.unwrap_or_else(|error| {
                    panic!("{how}, {size} bytes, request {number}: {error}");
                });
                answer.assert_status(200);
                assert_eq!(answer.header("connection"), None, "{how}, {size} bytes: {answer:?}");
            }
            assert_goes_on(&mut connection);
        }
    }
    assert_well(&host);
}

/// The same where a client sends the whole request before it reads, and pipelines the next one.
#[test]
fn a_pipelined_request_behind_an_unread_body_is_answered() {
    let host = edge().start();
    for size in [1, KIB, 200 * KIB] {
        let mut connection = host.connect();
        let head = post_head("/edge?id=first", &format!("Content-Length: {size}\r\n"));
        let next = format!("GET {ALIVE} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let bytes = [head.as_bytes(), &vec![b'x'; size], next.as_bytes()].concat();
        connection.send(bytes).unwrap();
        for id in ["first", "alive"] {
            let answer = connection.read_answer().unwrap();
            assert_eq!((answer.status, answer.header("x-id")), (200, Some(id)), "{size} bytes");
        }
        assert_goes_on(&mut connection);
    }
    assert_well(&host);
}

/// A body that looks like a request is none.
#[test]
fn an_unread_body_is_no_request() {
    let host = edge().start();
    let inner = "GET /edge?id=smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(20);
    for how in ["ignored", "dropped", "piece", "held&keep=owner"] {
        let mut connection = host.connect();
        let target = format!("/edge?id=first&read={how}");
        let answer = post(&mut connection, &target, inner.as_bytes()).unwrap();
        assert_eq!(answer.header("x-id"), Some("first"));
        assert_goes_on(&mut connection);
    }
    assert_well(&host);
}

/// What is left of a chunked body and is no body ends the connection; what follows it is never
/// taken for a request.
#[test]
fn a_malformed_rest_is_no_request() {
    let host = edge().start();
    let smuggled = "GET /edge?id=smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let rests = [
        "5\r\nhello\r\nz\r\n",
        "5\r\nhello\r\n-1\r\n",
        "5\r\nhello\r\n0x5\r\nhello\r\n",
        "5\r\nhello\r\nffffffffffffffffff\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\nhello\n0\n\n",
        "\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nbad trailer\r\n\r\n",
        "5\r\nhello\r\n0\r\n: none\r\n\r\n",
    ];
    for how in ["ignored", "dropped", "piece", "all"] {
        for rest in rests {
            let mut connection = host.connect();
            let head =
                post_head(&format!("/edge?id=first&read={how}"), "Transfer-Encoding: chunked\r\n");
            // The rest comes with the head, or when the answer is there already.
            for late in [false, true] {
                let bytes = format!("{rest}{smuggled}{smuggled}");
                if late {
                    connection = host.connect();
                    connection.send(&head).unwrap();
                    if how != "all" && how != "piece" {
                        connection.read_answer().unwrap().assert_status(200);
                    }
                    // It may be refused, and closed, at its first bytes.
                    let _ = connection.send(&bytes);
                } else {
                    connection.send(format!("{head}{bytes}")).unwrap();
                }
                let _ = connection.half_close();
                let answers = assert_not_smuggled(&mut connection);
                assert!(answers <= 2, "{answers} answers to `{rest:?}` ({how}, late: {late})");
            }
        }
    }
    assert_well(&host);
}

/// A body that its handler has put away is taken back after the answer, whole or not: nothing waits
/// for it for ever.
#[test]
fn a_body_that_is_put_away_is_taken_back() {
    let host = edge().start();
    let target = "/edge?read=held&keep=stash";
    let mut whole = host.connect();
    let next = format!("GET {ALIVE} HTTP/1.1\r\nHost: a\r\n\r\n");
    whole.send(post_head(target, "Content-Length: 4\r\n") + "body" + &next).unwrap();
    whole.read_answer().unwrap().assert_status(200);
    let mut half = host.connect();
    half.send(post_head(target, "Content-Length: 8\r\n") + "half").unwrap();
    half.read_answer().unwrap().assert_status(200);
    drop(half);
    whole.read_answer().unwrap().assert_status(200);
    host.assert_at_rest(ALIVE);
}
