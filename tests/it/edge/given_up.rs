//! Bodies that are not read away: too long, too late, not asked for, or their client has gone.

use std::{
    thread,
    time::{Duration, Instant},
};

use hotseat_test_support::{Connection, eventually, patience::pass};

use super::{assert_goes_on, assert_well, edge, post, post_head};

/// Units: bytes.
const KIB: usize = 1 << 10;

/// More than `unread_bytes` is not read away: the answer says so, and arrives although its client is
/// still sending.
#[test]
fn a_body_that_is_too_long_to_read_away_ends_the_connection() {
    let host = edge().arg("--unread-bytes=64KiB").start();
    for size in [65 * KIB, 200 * KIB, 8192 * KIB] {
        for target in ["/edge?id=first", "/nowhere", "/edge?answer=error"] {
            let mut connection = host.connect();
            let head = post_head(target, &format!("Content-Length: {size}\r\n"));
            let body = vec![b'x'; size];
            // All is sent before anything is read, as simple clients do.
            let sent = connection.send([head.as_bytes(), &body].concat());
            let answer = connection.read_answer().unwrap_or_else(|error| {
                panic!("no answer to {size} bytes at {target}: {error} ({sent:?})");
            });
            assert_eq!(answer.header("connection"), Some("close"), "{size}: {answer:?}");
            connection.wait_closed().unwrap();
        }
    }
    // What fits is read away.
    let mut connection = host.connect();
    post(&mut connection, "/edge", &[b'x'; 63 * KIB]).unwrap().assert_status(200);
    assert_goes_on(&mut connection);
    assert_well(&host);
}

/// A body whose end does not come in time ends the connection, whatever comes in between.
#[test]
fn reading_away_has_a_time_limit() {
    let host = edge().arg("--unread-time=400ms").start();
    let begun = Instant::now();
    let mut silent = host.connect();
    let mut steady = host.connect();
    for connection in [&mut silent, &mut steady] {
        connection.send(post_head("/edge?id=first", "Content-Length: 100000\r\n")).unwrap();
        connection.read_answer().unwrap().assert_status(200);
    }
    let mut writer = steady.writer().unwrap();
    let steps = thread::spawn(move || {
        // Ends by the close, which resets what is sent after it.
        let send = |_: &u32| std::io::Write::write_all(&mut writer, b"x").is_ok();
        (0..5000)
            .take_while(send)
            .inspect(|_| {
                hotseat_test_support::patience::breathe(Duration::from_millis(5));
            })
            .count()
    });
    silent.wait_closed().expect("a body that does not come");
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(300), "closed after {took:?}");
    steady.wait_closed().expect("a body that comes byte by byte");
    assert!(steps.join().unwrap() < 5000, "it was closed while it sent");
    assert_well(&host);
}

/// A client that waits for `100 Continue` is told the answer instead, and that it is the last: no
/// body was asked for, and none may come.
#[test]
fn a_pending_expectation_ends_the_connection() {
    let host = edge().arg("--mount=/edge=edge").arg("--mount=/vacant=ghost").start();
    for (target, status) in
        [("/edge", 200), ("/edge?read=dropped", 200), ("/nowhere", 404), ("/vacant", 503)]
    {
        for length in ["Content-Length: 10\r\n", "Transfer-Encoding: chunked\r\n"] {
            let mut connection = host.connect();
            let head = post_head(target, &format!("Expect: 100-continue\r\n{length}"));
            connection.send(head).unwrap();
            let line = connection.read_line().unwrap();
            assert!(line.starts_with(&format!("HTTP/1.1 {status}")), "{target}: {line}");
            let mut lines = vec![line];
            while lines.last().is_some_and(|line| !line.is_empty()) {
                lines.push(connection.read_line().unwrap());
            }
            lines.pop();
            let head = hotseat_test_support::Answer::parse(&lines).unwrap();
            assert_eq!(head.header("connection"), Some("close"), "{target}: {head:?}");
            connection.read_body(&head).unwrap();
            connection.wait_end().unwrap();
        }
    }
    // Once it was asked for, it is a body like any other.
    let mut connection = host.connect();
    let head = post_head("/edge?read=piece", "Expect: 100-continue\r\nContent-Length: 10\r\n");
    connection.send(head).unwrap();
    assert_eq!(connection.read_line().unwrap(), "HTTP/1.1 100 Continue");
    assert_eq!(connection.read_line().unwrap(), "");
    connection.send(b"0123456789").unwrap();
    connection.read_answer().unwrap().assert_status(200);
    assert_goes_on(&mut connection);
    assert_well(&host);
}

/// A client that goes away while its body is read away holds nobody.
#[test]
fn clients_leave_while_their_bodies_are_read_away() {
    let host = edge().start();
    let open = |status: &serde_json::Value| -> u64 {
        let classes = status["connections"].as_object().unwrap();
        classes.values().filter_map(serde_json::Value::as_u64).sum()
    };
    for how in ["ignored", "dropped", "held&keep=owner"] {
        for leaves in [Connection::reset, |it: Connection| it.half_close()] {
            let mut connection = host.connect();
            let target = format!("/edge?read={how}");
            connection.send(post_head(&target, "Content-Length: 1000000\r\n")).unwrap();
            connection.send([b'x'; KIB]).unwrap();
            connection.read_answer().unwrap().assert_status(200);
            leaves(connection).unwrap();
        }
    }
    eventually!(open(&host.status()) == 0, "all gone: {}", host.status());
    assert_well(&host);
}

/// Who still sends may go on although nobody listens: the close lingers longer than where nothing
/// more is expected.
#[test]
fn a_slow_client_is_not_cut_off_behind_its_answer() {
    let host = edge().arg("--unread-bytes=1KiB").start();
    let mut connection = host.connect();
    connection.send(post_head("/edge", "Content-Length: 100000\r\n")).unwrap();
    let answer = connection.read_answer().unwrap();
    assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
    for step in 0..30 {
        pass(Duration::from_millis(100));
        connection.send("x").unwrap_or_else(|error| panic!("step {step}: {error}"));
    }
    connection.half_close().unwrap();
    connection.wait_end().unwrap();
    assert_well(&host);
}

/// An answer that only the end of the connection ends does not wait for a body that does not come.
#[test]
fn an_answer_without_a_length_ends_before_the_body() {
    let host = edge().start();
    let mut connection = host.connect();
    let head = "POST /edge?answer=chunked HTTP/1.0\r\nContent-Length: 10\r\n\r\n";
    connection.send(head.to_owned() + "half").unwrap();
    let whole = connection.read_to_end().expect("an answer and its end");
    assert!(whole.ends_with(b"eeee"), "{}", String::from_utf8_lossy(&whole));
    assert_well(&host);
}

/// A chunked body of which nothing more comes is not waited for as long as one that comes.
#[test]
fn a_chunked_body_that_falls_silent_ends_the_connection() {
    let host = edge().arg("--unread-time=60s").start();
    let mut connection = host.connect();
    connection
        .send(post_head("/edge", "Transfer-Encoding: chunked\r\n") + "5\r\nhello\r\n")
        .unwrap();
    connection.read_answer().unwrap().assert_status(200);
    let begun = Instant::now();
    connection.wait_closed().expect("nothing comes any more");
    assert!(begun.elapsed() >= Duration::from_secs(4), "closed after {:?}", begun.elapsed());
    assert_well(&host);
}
