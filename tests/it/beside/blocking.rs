//! Handlers of blocking code: on the pool, as many as there is room for.

use std::time::Duration;

use hotseat_test_support::{Connection, Gate, eventually, fault, gate::Waiting, wire};

use super::*;

/// A host whose pool has one thread, and room for one job that waits.
#[track_caller]
fn started() -> Host {
    let builder = host!().arg("--blocking-threads=1").arg("--blocking-queue-count=1");
    let builder = builder.arg("--idle-linger=100ms");
    let builder = builder.with(fault("blocks"), "libhandler_v1.so");
    builder.with(fault("plain_v1"), "libother_v1.so").start()
}

/// Takes the pool's thread.
#[track_caller]
fn hold(host: &Host, gate: &Gate) -> (Connection, Waiting) {
    let mut connection = host.connect();
    connection.send_request("GET", &format!("/?{}", gate.query()), "").unwrap();
    (connection, gate.entered())
}

#[track_caller]
fn ask(host: &Host, target: &str) -> Connection {
    let mut connection = host.connect();
    connection.send_request("GET", target, "").unwrap();
    connection
}

fn is_answered(connection: &Connection) -> bool {
    connection.wait_readable(Duration::ZERO).unwrap()
}

#[test]
fn a_call_has_its_whole_request_on_the_pool() {
    let host = started();
    let mut connection = host.connect();
    connection.send_request("POST", "/a/b?c=d", "Content-Length: 4\r\n").unwrap();
    connection.send("body").unwrap();
    let answer = connection.read_answer().unwrap();
    assert_eq!(answer.assert_status(200).text(), "POST /a/b body on blocking-0");
    connection.send_request("POST", "/", "Content-Length: 1025\r\n").unwrap();
    connection.send("x".repeat(1025)).unwrap();
    connection.read_answer().unwrap().assert_status(413).assert_contains("1024");
    host.get("/streams").assert_status(500);
    host.assert_logged("answers with a whole body");
}

#[test]
fn a_panic_is_500_and_counted() {
    let host = started();
    host.get("/panics").assert_status(500);
    assert_eq!(metric(&host, "hotseat_panics_total", "handler"), 1);
    host.assert_logged("as was asked for");
    host.assert_logged("a call ended without an answer");
    // The hook's line has the place, the call's the request.
    let log = host.home().read_log();
    let told = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!((told("plugin panicked"), told("raised again")), (1, 0), "{log}");
    assert_eq!(told("error=panicked: `as was asked for`"), 1, "{log}");
    host.get("/").assert_status(200);
}

/// What the pool has no room for is told at once to try again, and nobody else notices.
#[test]
fn a_full_pool_is_503_while_others_are_served() {
    let host = started();
    let gate = Gate::new();
    let (mut held, waiting) = hold(&host, &gate);
    // One of them waits, whichever comes first.
    let mut two = [ask(&host, "/a"), ask(&host, "/b")];
    eventually!(two.iter().any(is_answered), "one is refused");
    let refused = usize::from(!is_answered(&two[0]));
    let answer = two[refused].read_answer().unwrap();
    assert_eq!(answer.assert_status(503).header("retry-after"), Some("1"));
    assert_eq!(metric(&host, "hotseat_blocking_rejected_total", "handler"), 1);
    host.get("/other").assert_status(200).assert_contains("v1");
    assert!(!is_answered(&two[1 - refused]), "it waits");
    waiting.release();
    held.read_answer().unwrap().assert_status(200).assert_contains("let go");
    two[1 - refused].read_answer().unwrap().assert_status(200);
    assert_eq!(metric(&host, "hotseat_blocking_rejected_total", "handler"), 1);
}

/// Who goes away before the call has begun leaves its place to another.
#[test]
fn a_call_whose_client_has_gone_never_begins() {
    let host = started();
    let (gate, never) = (Gate::new(), Gate::new());
    let (mut held, waiting) = hold(&host, &gate);
    // One of them waits, whichever comes first; that one goes away.
    let target = format!("/?{}", never.query());
    let two = [ask(&host, &target), ask(&host, &target)];
    eventually!(two.iter().any(is_answered), "one is refused");
    for client in two {
        if !is_answered(&client) {
            client.reset().unwrap();
        }
    }
    let mut next = ask(&host, "/next");
    eventually!(
        {
            // What is refused is answered at once; who waits is not, until the thread is let go.
            let refused = next.wait_readable(Duration::from_millis(200)).unwrap();
            if refused {
                next.read_answer().unwrap().assert_status(503);
                next = ask(&host, "/next");
            }
            !refused
        },
        "the place is free again"
    );
    waiting.release();
    held.read_answer().unwrap().assert_status(200);
    // It was behind the one that has gone, which would hold the thread.
    next.read_answer().unwrap().assert_status(200).assert_contains("/next");
}

/// A version's `stop` waits for the call that runs, though its client has gone.
#[test]
fn a_stop_waits_for_a_call_that_runs() {
    let host = started();
    let (gate, first) = (Gate::new(), host.active("handler"));
    let (client, waiting) = hold(&host, &gate);
    client.reset().unwrap();
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    host.get("/").assert_status(200).assert_contains("v2");
    let why = || wire::retired(&host.status(), first).map(|it| it["why"].to_string());
    let said = || why().is_some_and(|why| why.contains("`stop` has not returned"));
    eventually!(said(), "{:?}", why());
    assert!(!host.home().read_log().contains("stopped"), "{}", host.log_end());
    waiting.release();
    host.assert_logged("stopped");
    eventually!(wire::life(&host.status(), first).as_deref() == Some("unloaded"), "{:?}", why());
}

#[test]
fn a_host_that_stops_finishes_the_call() {
    let mut host = started();
    let gate = Gate::new();
    let (mut client, waiting) = hold(&host, &gate);
    host.signal(rustix::process::Signal::TERM);
    eventually!(Connection::open(host.data()).is_err(), "it stops");
    waiting.release();
    client.read_answer().unwrap().assert_status(200);
    assert_eq!(host.wait_exit().code(), Some(0), "{}", host.log_end());
    host.assert_logged("stopped");
}
