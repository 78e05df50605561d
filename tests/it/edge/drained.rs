//! The drain limit at the edge: it ends the requests of its generation, and nobody else's.

use std::io;

use hotseat_test_support::{Connection, Host, eventually, fault, http2::RawHttp2, library};

use super::{ALIVE, edge};

/// The same library as another version, with a byte more at its end.
#[track_caller]
fn swap(host: &Host) -> u64 {
    let before = host.active("edge");
    let bytes = [library::bytes(&fault("edge")), vec![0]].concat();
    host.deploy_bytes(&bytes, "libedge_v2.so").swapped();
    before
}

/// Streams of two plugins on one connection: one is swapped, and its drain limit cuts its streams
/// alone, those that were answered in part and those that were not.
#[test]
fn a_drain_limit_cuts_its_own_streams_alone() {
    let builder = edge().arg("--generation-drain=400ms");
    let host = builder.with(fault("edge"), "libother_v1.so").start();
    let mut client = RawHttp2::open(host.data(), &[]).unwrap();
    let begin = |client: &mut RawHttp2, target: &str| client.post(target, b"half", false).unwrap();
    let cut = [
        begin(&mut client, "/edge?answer=never"),
        begin(&mut client, "/edge?read=all"),
        begin(&mut client, "/edge?answer=early"),
    ];
    let kept = begin(&mut client, "/other?answer=early");
    for stream in [cut[2], kept] {
        client.first_piece(stream).unwrap();
    }
    let mut events = host.events();
    let before = swap(&host);
    for stream in cut {
        let over = client.finish(stream).unwrap();
        // Where nothing was answered yet, an answer can say what happened.
        let told = over.answer.as_ref().is_some_and(|it| it.error_code() == Some("drain_timeout"));
        assert!(over.reset.is_some() && !over.ended || told, "stream {stream}: {over:?}");
    }
    events.wait_generation(before, "unloaded");
    assert_eq!(client.goaway, None, "the connection goes on");
    assert!(client.body(kept, b"-and-half", true).unwrap());
    let over = client.finish(kept).unwrap();
    let answer = over.answer.as_ref().expect("an answer");
    assert_eq!((over.ended, answer.text().as_str()), (true, "early;13"), "{over:?}");
    let next = client.get(ALIVE).unwrap();
    assert!(next.ended && next.answer.is_some_and(|it| it.status == 200));
    host.assert_at_rest(ALIVE);
}

/// The same over HTTP/1: the answer of the one breaks off, that of the other goes on.
#[test]
fn a_drain_limit_cuts_its_own_answers_alone() {
    let builder = edge().arg("--generation-drain=400ms");
    let host = builder.with(fault("edge"), "libother_v1.so").start();
    let begin = |target: &str| {
        let mut connection = host.connect();
        connection.send(super::post_head(target, "Content-Length: 8\r\n") + "half").unwrap();
        let head = connection.read_head().unwrap();
        assert_eq!(connection.read_chunk().unwrap(), b"early;");
        (connection, head)
    };
    let (mut cut, head) = begin("/edge?answer=early");
    let (mut kept, _) = begin("/other?answer=early");
    let mut events = host.events();
    let before = swap(&host);
    events.wait_generation(before, "unloaded");
    // It has promised no length: a proper end would make it look whole.
    cut.read_body(&head).expect_err("a cut answer must not look whole");
    kept.send("half").unwrap();
    assert_eq!(kept.read_chunk().unwrap(), b"8");
    assert!(kept.read_chunk().unwrap().is_empty());
    super::assert_goes_on(&mut kept);
    host.assert_at_rest(ALIVE);
}

/// Events that do not heed the drain: none of them is the last, so they end properly at the limit, and
/// their client begins anew.
#[test]
fn events_end_at_the_limit() {
    let host = edge().arg("--generation-drain=400ms").start();
    let target = "/edge?answer=events";
    let mut old = host.connect();
    old.send(super::post_head(target, "Content-Length: 8\r\n") + "half").unwrap();
    let head = old.read_head().unwrap();
    assert_eq!(old.read_chunk().unwrap(), b"early;");
    let mut client = RawHttp2::open(host.data(), &[]).unwrap();
    let stream = client.post(target, b"half", false).unwrap();
    client.first_piece(stream).unwrap();
    let mut events = host.events();
    let before = swap(&host);
    assert_eq!(old.read_body(&head).unwrap(), b"");
    let over = client.finish(stream).unwrap();
    assert!(over.ended, "{over:?}");
    events.wait_generation(before, "unloaded");
    // What the client still sends is read away.
    old.send("half").unwrap();
    super::assert_goes_on(&mut old);
    assert!(client.get(ALIVE).unwrap().ended);
    host.assert_at_rest(ALIVE);
}

/// An answer that has promised its length is not ended as if it had kept the promise.
#[test]
fn a_cut_answer_does_not_look_whole() {
    let host = edge().arg("--generation-drain=400ms").start();
    let target = "/edge?answer=known&size=100000000";
    let mut old = host.connect();
    old.send_request("GET", target, "").unwrap();
    let head = old.read_head().unwrap();
    let mut client = RawHttp2::open(host.data(), &[]).unwrap();
    client.grants = false;
    // One that waits for its plugin, and one that waits for its client.
    let waits = client.begin("POST", "/edge?answer=early&length=100", &[], false).unwrap();
    client.first_piece(waits).unwrap();
    let stream = client.begin("GET", target, &[], true).unwrap();
    client.first_piece(stream).unwrap();
    let mut events = host.events();
    let before = swap(&host);
    for cut in [stream, waits] {
        let over = client.finish(cut).unwrap();
        assert!(over.reset.is_some() && !over.ended && client.goaway.is_none(), "{:?}", over.reset);
    }
    client.grant(0, 1 << 20).unwrap();
    assert!(client.get(ALIVE).unwrap().ended);
    events.wait_generation(before, "unloaded");
    let error = old.read_body(&head).expect_err("a cut answer must not look whole");
    assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "it was cut");
    host.assert_at_rest(ALIVE);
}

/// A swap whose generation's limit passes while a thread-local holds a body or a byte stream.
#[track_caller]
fn check_stash(host: &Host, ask: impl Fn(&Host)) {
    for _ in 0..4 {
        ask(host);
    }
    let mut events = host.events();
    let before = swap(host);
    events.wait_generation(before, "unloaded");
    host.assert_at_rest(ALIVE);
}

/// A body in a thread-local is no hold beyond the limit, whether its request was answered or not.
#[test]
fn a_stashed_body_does_not_hold_its_generation() {
    let stash = "/edge?read=held&keep=stash";
    for (body, length) in [("hello", 5), ("half", 10)] {
        let host = edge().arg("--generation-drain=300ms").start();
        check_stash(&host, |host| {
            let mut connection = host.connect();
            let length = format!("Content-Length: {length}\r\n");
            connection.send(super::post_head(stash, &length) + body).unwrap();
            connection.read_answer().unwrap().assert_status(200);
        });
    }
}

/// The same over HTTP/2, where the connection lives on.
#[test]
fn a_body_stashed_over_http2_does_not_hold_its_generation() {
    let host = edge().arg("--generation-drain=300ms").start();
    let mut client = RawHttp2::open(host.data(), &[]).unwrap();
    let stashed: Vec<u32> = (0..4)
        .map(|_| {
            let target = "/edge?read=held&keep=stash";
            let stream = client.post(target, b"half", false).unwrap();
            client.first_piece(stream).unwrap();
            stream
        })
        .collect();
    let mut events = host.events();
    let before = swap(&host);
    events.wait_generation(before, "unloaded");
    assert!(client.get(ALIVE).unwrap().ended && client.goaway.is_none());
    assert!(stashed.iter().all(|stream| client.at(*stream).heads == 1));
    host.assert_at_rest(ALIVE);
}

/// A byte stream after a 101, in a thread-local: its connection is closed at the limit.
#[test]
fn a_stashed_byte_stream_does_not_hold_its_generation() {
    let host = edge().arg("--generation-drain=300ms").start();
    let mut open: Vec<Connection> = Vec::new();
    for _ in 0..4 {
        let mut connection = host.connect();
        let asks = "Connection: upgrade\r\nUpgrade: echo\r\n";
        connection.send_request("GET", "/edge?answer=upgrade&keep=stash", asks).unwrap();
        connection.read_head().unwrap().assert_status(101);
        open.push(connection);
    }
    let mut events = host.events();
    let before = swap(&host);
    events.wait_generation(before, "unloaded");
    for connection in &mut open {
        connection.wait_closed().expect("closed at the limit");
    }
    host.assert_at_rest(ALIVE);
}

/// What a plugin stashed is let go of by itself long after: nothing is freed twice, and no thread
/// stops.
#[test]
fn stashed_bodies_are_let_go_of_later() {
    let host = edge().start();
    let mut client = RawHttp2::open(host.data(), &[]).unwrap();
    for round in 0..20 {
        for ends in [true, false] {
            let target = "/edge?read=held&keep=stash";
            let stream = client.post(target, &[b'x'; 5000], ends).unwrap();
            client.finish(stream).unwrap();
        }
        // On the same thread: another stream's handler, or its wakers, let go of all of them.
        if round % 4 == 3 {
            let over = client.get("/edge?unstash=1").unwrap();
            assert!(over.ended, "{over:?}");
        }
    }
    assert!(client.get("/edge?unstash=1").unwrap().ended && client.goaway.is_none());
    let window = client.windows(1).1;
    assert!(window > 0, "what was let go of is given back: {window}");
    host.assert_at_rest(ALIVE);
}

/// A client that goes away leaves a stashed body behind, which then holds nothing of hyper's.
#[test]
fn a_stashed_body_outlives_its_connection() {
    let host = edge().start();
    for _ in 0..4 {
        let mut client = RawHttp2::open(host.data(), &[]).unwrap();
        let stream = client.post("/edge?read=held&keep=stash", b"half", false).unwrap();
        client.first_piece(stream).unwrap();
        client.into_connection().reset().unwrap();
    }
    let open = || host.status()["connections"]["h2"].as_u64();
    eventually!(open() == Some(0), "{}", host.status());
    // On each thread; their number is small, so a few requests meet all.
    for _ in 0..16 {
        host.get("/edge?unstash=1").assert_status(200);
    }
    host.assert_at_rest(ALIVE);
}
