//! How far reading away goes, over HTTP/2: as long as a body comes, within its bounds.

use std::time::{Duration, Instant};

use hotseat_test_support::{
    http2::{
        RawHttp2,
        frame::{flag, kind},
        raw::code,
    },
    patience::pass,
};

use super::{ALIVE, assert_goes_on, assert_well, edge, post_head};

/// For what a limit has cut, beyond the limit.
const SLACK: Duration = Duration::from_secs(5);

/// A body that comes is heard to its end, over several windows: there are clients (curl) that take
/// an end of their stream before for a failure.
#[test]
fn a_body_that_comes_is_heard_to_its_end() {
    let host = edge().start();
    let mut client = RawHttp2::open(host.data(), &[]).unwrap();
    for how in ["ignored", "dropped", "piece"] {
        for answer in ["bytes", "chunked", "empty", "empty&status=204"] {
            let target = format!("/edge?read={how}&answer={answer}");
            let stream = client.begin("POST", &target, &[], false).unwrap();
            for step in 0..8 {
                let wanted = client.body(stream, &[b'x'; 128 << 10], false).unwrap();
                assert!(wanted, "{target}, step {step}: {:?}", client.at(stream));
                client.ping().unwrap();
            }
            assert!(client.body(stream, b"its end", true).unwrap(), "{target}");
            let over = client.finish(stream).unwrap();
            assert_eq!((over.ended, over.reset), (true, None), "{target}: {over:?}");
        }
    }
    assert!(client.get(ALIVE).unwrap().ended);
    assert_well(&host);
}

/// One that is too long, or does not end in time although it comes, is reset behind its answer.
#[test]
fn a_body_beyond_its_bounds_is_reset() {
    let host = edge().arg("--unread-bytes=64KiB").arg("--unread-time=600ms").start();
    let mut client = RawHttp2::open(host.data(), &[]).unwrap();
    let long = client.begin("POST", "/edge?id=long", &[], false).unwrap();
    assert!(!client.body(long, &vec![b'x'; 4 << 20], true).unwrap(), "4 MiB were read away");
    let begun = Instant::now();
    let slow = client.begin("POST", "/edge?id=slow", &[], false).unwrap();
    while client.body(slow, b"x", false).unwrap() {
        assert!(begun.elapsed() < Duration::from_millis(600) + SLACK, "it is still heard");
        pass(Duration::from_millis(50));
    }
    assert!(begun.elapsed() >= Duration::from_millis(500), "cut after {:?}", begun.elapsed());
    assert!(client.get(ALIVE).unwrap().ended && client.goaway.is_none());
    for stream in [long, slow] {
        let over = client.at(stream);
        assert_eq!((over.ended, over.reset), (true, Some(code::NO_ERROR)), "{over:?}");
    }
    assert_well(&host);
}

/// A client that waits for its answer before it sends more has all of it at once but the end, which
/// waits for the rest of its body.
#[test]
fn an_early_answer_is_not_held_back() {
    let host = edge().start();
    let mut client = RawHttp2::open(host.data(), &[]).unwrap();
    for how in ["ignored", "dropped", "piece"] {
        for answer in ["bytes", "known", "chunked"] {
            let target = format!("/edge?read={how}&answer={answer}");
            let stream = client.post(&target, b"half", false).unwrap();
            client.first_piece(stream).unwrap();
            assert!(!client.at(stream).is_over(), "{target}: {:?}", client.at(stream));
            assert!(client.body(stream, b"-and-half", true).unwrap());
            let over = client.finish(stream).unwrap();
            let answer = over.answer.as_ref().expect("an answer");
            assert!(over.ended && answer.status == 200, "{target}: {over:?}");
            assert_eq!(answer.body.len(), 16, "{target}: {over:?}");
        }
    }
    assert_well(&host);
}

/// A body that was put away and has come whole takes the place of nobody's when it is let go of.
#[test]
fn a_body_let_go_of_late_takes_nobodys_place() {
    let host = edge().start();
    let mut connection = host.connect();
    let stash = post_head("/edge?read=held&keep=stash", "Content-Length: 5\r\n");
    connection.send(stash + "hello").unwrap();
    connection.read_answer().unwrap().assert_status(200);
    let next = post_head("/edge?id=next", "Content-Length: 10\r\n");
    connection.send(next + "half").unwrap();
    connection.read_answer().unwrap().assert_status(200);
    host.ask_threads("/edge?unstash=1").unwrap();
    connection.send("-half!").unwrap();
    assert_goes_on(&mut connection);
    assert_well(&host);
}

/// A body that is still read behind its answer is not taken back, however long its client takes.
#[test]
fn a_body_that_is_still_read_is_not_taken_back() {
    let host = edge().start();
    let mut client = RawHttp2::open(host.data(), &[]).unwrap();
    let stash = client.post("/edge?read=held&keep=stash", b"half", false).unwrap();
    assert!(client.finish(stash).unwrap().ended);
    let reads = client.begin("GET", "/edge?read=stashed", &[], true).unwrap();
    // Two times as long as one is left to a plugin that does not read it, and more.
    pass(Duration::from_secs(11));
    client.send(kind::DATA, flag::END_STREAM, stash, b"-half").unwrap();
    let answer = client.finish(reads).unwrap().answer.expect("an answer");
    assert_eq!((answer.status, answer.header("x-length")), (200, Some("9")), "{answer:?}");
    assert_well(&host);
}
