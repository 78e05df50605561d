//! Kept connections: each goes on with the next worker, between two requests.

use std::time::Duration;

use hotseat_test_support::{
    Connection, Host, Load, LoadPlan, traffic::pipeline, transfer::hex_sum,
};

use super::{half_sent, pid_of, upgrade, upgrade_and_drain, whoami};

/// Clients that never look at their idle connection and never retry, with POSTs alone: none fails,
/// and none has to connect a second time.
#[test]
fn idle_connections_go_over_unseen() {
    let host = whoami().arg("--upgrade-drain=20s").start();
    let plan = LoadPlan {
        kept: 150,
        fresh: 0,
        think: Duration::ZERO..=Duration::from_millis(300),
        post_percent: 100,
        ..LoadPlan::default()
    };
    let load = Load::start(host.data(), plan);
    load.wait_for(300);
    let mut pids = vec![host.worker_pid()];
    for _ in 0..4 {
        let (old, new) = upgrade(&host);
        pids.push(new);
        // Nothing keeps it: its connections are gone long before its limit.
        host.wait_gone(old);
        load.wait_for(300);
    }
    let report = load.stop();
    report.assert_clean().assert_announced().assert_kept().assert_forward(&pids);
    assert_eq!((report.connects, report.closed_announced), (150, 0), "{report}");
    let first = pids[0];
    let over = report.trails.iter().filter(|trail| {
        let mut met = trail.marks.iter().map(|mark| mark.pid);
        met.next() == Some(Some(first)) && met.next_back() == Some(pids.last().copied())
    });
    assert!(over.count() >= 100, "connections lived from the first worker to the last\n{report}");
}

/// The rest of a head that one worker has begun to read, and the answer to it.
#[track_caller]
fn complete(mut connection: Connection, body: &str) -> u32 {
    connection.send(format!("-Length: {}\r\n\r\n{body}", body.len())).unwrap();
    let answer = connection.read_answer().unwrap();
    assert_eq!(answer.header("x-sum"), Some(hex_sum(body.as_bytes()).as_str()), "{answer:?}");
    let pid = pid_of(&answer);
    assert_eq!(pid_of(&connection.get("/").unwrap()), pid, "the connection goes on");
    pid
}

/// Waits until the worker has read what was sent: each look also asks the thread of the connection.
#[track_caller]
fn wait_heads(host: &Host, count: u64) {
    let heads = || host.status()["connections"]["head"].as_u64() == Some(count);
    hotseat_test_support::eventually!(heads() && heads(), "{count} half heads: {}", host.status());
}

/// Half a head is there when the worker changes: as a connection's first, and as one after others.
#[test]
fn half_a_head_goes_over_with_what_was_read() {
    let host = whoami().start();
    let half = "POST / HTTP/1.1\r\nHost: a\r\nContent";
    let mut first = host.connect();
    first.send(half).unwrap();
    let mut later = host.connect();
    let old = pid_of(&later.get("/").unwrap());
    later.send(half).unwrap();
    wait_heads(&host, 2);
    let (before, new) = upgrade(&host);
    assert_eq!(before, old);
    host.wait_gone(old);
    for connection in [first, later] {
        assert_eq!(complete(connection, "the body of it"), new);
    }
}

/// Requests that wait behind one that is in flight: the one behind it goes to either worker, and
/// half of another to the new one. All are answered, in order.
#[test]
fn pipelined_requests_are_answered_in_order() {
    let host = whoami().start();
    let mut connection = half_sent(&host);
    let next = "GET /?status=201 HTTP/1.1\r\nHost: a\r\n\r\n";
    let (old, new) = upgrade_and_drain(&host);
    connection.send(format!("sent!{next}POST / HTTP/1.1\r\nHost: a\r\nContent")).unwrap();
    let answer = connection.read_answer().unwrap();
    assert_eq!((pid_of(&answer), answer.header("x-length")), (old, Some("10")));
    assert_eq!(answer.header("connection"), None, "it goes over instead of being closed");
    let answer = connection.read_answer().unwrap();
    assert_eq!(answer.status, 201);
    // Else the rest may still reach the old one, which then answers.
    host.wait_gone(old);
    assert_eq!(complete(connection, "the third body"), new);
}

/// The worker that comes after serves what was pipelined across several changes.
#[test]
fn a_connection_goes_on_through_many_workers() {
    let host = whoami().start();
    let mut connection = host.connect();
    let mut met = Vec::new();
    for _ in 0..4 {
        for answer in pipeline(&mut connection, "/", 5).unwrap() {
            met.push(pid_of(&answer));
        }
        let (old, _) = upgrade(&host);
        host.wait_gone(old);
    }
    met.push(pid_of(&connection.get("/").unwrap()));
    met.dedup();
    assert_eq!(met.len(), 5, "one worker after another: {met:?}");
}
