//! The cut at the drain limit reaches whoever waits for nothing: no timer and no client of theirs
//! would ever have them polled again.

use hotseat_test_support::{Host, fault, host};

/// Generation 1 waits for ever; its drain limit is short.
fn hanging_host() -> Host {
    host!().arg("--generation-drain=300ms").with(fault("hangs_call"), "libhandler_v1.so").start()
}

/// A waiting handler is dropped and its client gets an answer, not a closed connection.
#[test]
fn a_handler_that_waits_is_answered_for() {
    let host = hanging_host();
    let mut connection = host.connect();
    connection.send_request("GET", "/", "").unwrap();
    super::wait_held(&host);
    let mut events = host.events();
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    connection.read_answer().unwrap().assert_error(503, "drain_timeout");
    events.wait_generation(1, "unloaded");
}

/// A body without a promised length breaks off, as one with a length does.
#[test]
fn a_body_that_waits_is_broken_off() {
    let host = hanging_host();
    let mut connection = host.connect();
    connection.send_request("GET", "/stream", "").unwrap();
    let head = connection.read_head().unwrap();
    assert_eq!(connection.read_chunk().unwrap(), b"begun;");
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    connection.read_body(&head).expect_err("a part must not look like the whole");
    host.get("/").assert_contains("v2");
}
