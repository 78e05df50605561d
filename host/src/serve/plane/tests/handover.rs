use std::{
    io::{Read as _, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::*;

#[test]
fn an_idle_connection_goes_over() {
    let pair = Pair::new();
    let mut connection = pair.connect();
    check_who(&mut connection, "before");
    connection.get("/x").unwrap().assert_status(200).assert_contains("gate 1");
    assert_eq!(pair.before.classes().idle, 1);
    pair.hand_over();
    pair.wait_all_gone(1);
    check_who(&mut connection, "after");
    connection.get("/x").unwrap().assert_status(200).assert_contains("gate 1");
}

#[test]
fn a_fresh_connection_goes_over() {
    let pair = Pair::new();
    let mut connection = pair.connect();
    eventually!(pair.before.classes().fresh == 1, "it was accepted");
    pair.hand_over();
    pair.wait_all_gone(1);
    check_who(&mut connection, "after");
}

/// `first` is sent before, `rest` after.
#[track_caller]
fn check_partial(begin: impl Fn(&mut Connection), first: &str) {
    let pair = Pair::new();
    let mut connection = pair.connect();
    begin(&mut connection);
    connection.send(first).unwrap();
    eventually!(pair.before.classes().head == 1, "{:?}", pair.before.classes());
    pair.hand_over();
    pair.wait_all_gone(1);
    eventually!(pair.after.classes().head == 1, "{:?}", pair.after.classes());
    connection
        .send(&"GET /health/readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"[first.len()..])
        .unwrap();
    check_from(&connection.read_answer().unwrap(), "after");
    check_who(&mut connection, "after");
}

#[test]
fn a_part_of_a_head_goes_over() {
    check_partial(|_| (), "GET /health/readyz HTTP/1.1\r\nHo");
}

#[test]
fn a_part_of_a_second_head_goes_over() {
    check_partial(|it| check_who(it, "before"), "GET /hea");
}

/// A head that may still become HTTP/2's preface.
#[test]
fn bytes_that_say_nothing_yet_go_over() {
    let pair = Pair::new();
    let mut connection = pair.connect();
    connection.send("P").unwrap();
    eventually!(pair.before.classes().head == 1, "{:?}", pair.before.classes());
    pair.hand_over();
    pair.wait_all_gone(1);
    connection.send("OST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").unwrap();
    connection.read_answer().unwrap().assert_status(200);
}

#[test]
fn a_busy_connection_goes_over_when_it_is_done() {
    let pair = Pair::new();
    let gate = Gate::new();
    let mut connection = pair.connect();
    connection.send_request("GET", &format!("/?{}", gate.query()), "").unwrap();
    let held = gate.entered();
    pair.hand_over();
    assert_eq!((pair.before.classes().busy, pair.after.connection_count()), (1, 0));
    held.release();
    let answer = connection.read_answer().unwrap();
    answer.assert_status(200).assert_contains("gate 1");
    assert_eq!(answer.header("connection"), None);
    pair.wait_all_gone(1);
    check_who(&mut connection, "after");
}

/// An answer that has begun ends where it began, and its connection goes over then.
#[test]
fn a_stream_ends_before_its_connection_goes_over() {
    let pair = Pair::new();
    let gate = Gate::new();
    let mut connection = pair.connect();
    connection.send_request("GET", &format!("/stream?{}", gate.query()), "").unwrap();
    let head = connection.read_head().unwrap();
    assert_eq!(connection.read_chunk().unwrap(), b"gate 1;");
    pair.hand_over();
    gate.entered().release();
    assert_eq!(connection.read_body(&head).unwrap(), b"gate 1;");
    pair.wait_all_gone(1);
    check_who(&mut connection, "after");
}

/// More requests at once than are answered in one go: each is answered once and in order, wherever;
/// a part of one more goes over.
#[test]
fn pipelined_requests_go_over() {
    let pair = Pair::new();
    let gate = Gate::new();
    let mut connection = pair.connect();
    let held = format!("GET /?{} HTTP/1.1\r\nHost: a\r\n\r\n", gate.query());
    let count = 100;
    let one = "GET /health/readyz HTTP/1.1\r\nHost: a\r\n\r\n";
    let many = one.repeat(count);
    connection.send(held + &many + "GET /health/re").unwrap();
    let held = gate.entered();
    pair.hand_over();
    held.release();
    connection.read_answer().unwrap().assert_status(200).assert_contains("gate 1");
    let from: Vec<_> = (0..count).map(|_| connection.read_answer().unwrap().text()).collect();
    assert!(from.iter().all(|it| matches!(it.trim_end(), "before" | "after")), "{from:?}");
    assert!(from.is_sorted_by_key(|it| it.trim_end() == "after"), "{from:?}");
    pair.wait_all_gone(1);
    connection.send("adyz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    check_from(&connection.read_answer().unwrap(), "after");
}

/// The rest of a body that nobody wanted is not taken for a request by the next process.
#[test]
fn the_rest_of_a_body_is_no_request() {
    let pair = Pair::new();
    let gate = Gate::new();
    let mut connection = pair.connect();
    let inside = "GET /health/readyz HTTP/1.1\r\nHost: a\r\n\r\n";
    let extra = format!("Content-Length: {}\r\n", inside.len());
    connection.send_request("POST", &format!("/?{}", gate.query()), &extra).unwrap();
    let held = gate.entered();
    pair.hand_over();
    held.release();
    connection.read_answer().unwrap().assert_status(200).assert_contains("gate 1");
    // It stays here until the rest has come and was read away.
    connection.send(inside).unwrap();
    pair.wait_all_gone(1);
    connection.send("GET /health/readyz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    check_from(&connection.read_answer().unwrap(), "after");
    drop(connection);
    pair.wait_all_gone(0);
}

/// A body that nobody wanted, but that came whole, is in nobody's way.
#[test]
fn a_small_body_that_was_not_read_is_no_hindrance() {
    let pair = Pair::new();
    let gate = Gate::new();
    let (mut waits, mut idle) = (pair.connect(), pair.connect());
    let request = |target: &str| {
        format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
    };
    idle.send(request("/x")).unwrap();
    idle.read_answer().unwrap().assert_status(200);
    waits.send(request(&format!("/?{}", gate.query()))).unwrap();
    let held = gate.entered();
    pair.hand_over();
    held.release();
    waits.read_answer().unwrap().assert_status(200);
    pair.wait_all_gone(2);
    check_who(&mut waits, "after");
    check_who(&mut idle, "after");
}

/// More bytes than a datagram takes stay with their socket, and none is lost.
#[test]
fn a_huge_part_of_a_head_stays() {
    let limits = || Limits { head_bytes: 512 << 10, ..patient() };
    let pair = Pair::with(plane("before", limits()), plane("after", limits()));
    let mut connection = pair.connect();
    let huge = "x".repeat(200 << 10);
    connection.send(format!("GET /health/readyz HTTP/1.1\r\nHost: a\r\nx: {huge}")).unwrap();
    eventually!(pair.before.classes().head == 1, "{:?}", pair.before.classes());
    pair.hand_over();
    connection.send("\r\n\r\n").unwrap();
    connection.read_answer().unwrap().assert_status(200);
}

#[test]
fn many_idle_connections_go_over() {
    let pair = Pair::new();
    let mut connections: Vec<_> = (0..150).map(|_| pair.connect()).collect();
    connections.iter_mut().for_each(|it| check_who(it, "before"));
    pair.hand_over();
    pair.wait_all_gone(150);
    connections.iter_mut().for_each(|it| check_who(it, "after"));
}

/// Clients that send all the while, each on one connection for good: no request fails.
#[test]
fn nobody_notices_under_load() {
    let pair = Pair::new();
    let address = pair.address;
    let stop = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = Connection::open(address).unwrap();
                    let mut names = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let answer = connection.get("/health/readyz").unwrap();
                        assert_eq!(answer.header("connection"), None);
                        names.push(answer.text());
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    names.dedup();
                    assert_eq!(names, ["before", "after"]);
                })
            })
            .collect();
        let answered = || answered.load(Ordering::Relaxed);
        let begun = || pair.before.classes().fresh == 0 && pair.before.connection_count() == 16;
        eventually!(begun() && answered() > 200, "all clients are at it");
        pair.hand_over();
        eventually!(pair.before.connection_count() == 0, "{:?}", pair.before.classes());
        let soon = answered() + 200;
        eventually!(answered() > soon, "the clients go on");
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|it| it.join().unwrap());
    });
}

/// Who answers. A short answer of the host's own comes in one piece.
fn who(stream: &mut UnixStream) -> String {
    write!(stream, "GET /health/readyz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut buf = [0; 4096];
    let count = stream.read(&mut buf).unwrap();
    let text = String::from_utf8_lossy(&buf[..count]);
    text.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned()
}

#[test]
fn a_unix_connection_goes_over() {
    let pair = Pair::new();
    let (mut client, served) = UnixStream::pair().unwrap();
    pair.before.serve_one(OwnedFd::from(served), "unix").unwrap();
    assert_eq!(who(&mut client), "before");
    pair.hand_over();
    pair.wait_all_gone(1);
    assert_eq!(who(&mut client), "after");
}

/// What is no connection is dropped, and the next one is served.
#[test]
fn nonsense_is_not_taken_over() {
    let pair = Pair::new();
    let (here, there) = datagrams();
    pair.after.take_over(there).unwrap();
    let (mut client, served) = UnixStream::pair().unwrap();
    let none: [&[u8]; 3] = [b"\x02\x00", b"\x01\xffshort", b"\x01\x02\xff\xff"];
    for datagram in none {
        let parts = [std::io::IoSlice::new(datagram)];
        crate::sys::passing::send(&here, &parts, served.as_fd()).unwrap();
    }
    let parts = [std::io::IoSlice::new(b"\x01\x04unix")];
    crate::sys::passing::send(&here, &parts, here.as_fd()).unwrap();
    crate::sys::passing::send(&here, &parts, served.as_fd()).unwrap();
    drop(served);
    assert_eq!(who(&mut client), "after");
    assert_eq!(pair.after.connection_count(), 1);
}

/// Reads answers until one is the last. Those that were on their way are not.
#[track_caller]
fn check_closed_in_the_end(mut connection: Connection) {
    loop {
        let answer = connection.read_answer().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "before"));
        if answer.header("connection") == Some("close") {
            return connection.wait_closed().unwrap();
        }
        connection.send_request("GET", "/health/readyz", "").unwrap();
    }
}

/// A successor that is gone: the connection stays, and is closed without a request lost.
#[test]
fn without_a_taker_it_stays() {
    let pair = Pair::new();
    let (mut idle, mut partial) = (pair.connect(), pair.connect());
    check_who(&mut idle, "before");
    partial.send("GET /health/readyz HTTP/1.1\r\n").unwrap();
    eventually!(pair.before.classes().head == 1, "{:?}", pair.before.classes());
    let (here, there) = datagrams();
    drop(there);
    pair.before.drain(Drain { successor: Some(here) }).unwrap();
    idle.send_request("GET", "/health/readyz", "").unwrap();
    check_closed_in_the_end(idle);
    partial.send("Host: a\r\n\r\n").unwrap();
    check_closed_in_the_end(partial);
    pair.wait_all_gone(0);
}
