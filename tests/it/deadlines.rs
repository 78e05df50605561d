//! How long an answer may take, and whether its client is still there: what a handler knows of both.

use hotseat_test_support::{Builder, Host, fault, host};

fn start(builder: Builder) -> Host {
    builder.with(fault("deadlines"), "libhandler_v1.so").start()
}

/// The milliseconds that a handler says are left.
#[track_caller]
fn left(host: &Host, target: &str) -> u64 {
    let text = host.get(target).text();
    let (left, both) = text.split_once(' ').unwrap();
    assert_eq!(both, "true", "both or neither are told");
    left.parse().unwrap()
}

/// A mount has a budget of its own; another one that of the host.
#[test]
fn a_mount_has_its_own_time() {
    let mount = |prefix: &str, more: &str| {
        format!("[[mount]]\nprefix = '{prefix}'\nplugin = 'handler'\n{more}\n")
    };
    let quick = mount("/quick", "plugin_time = '50ms'");
    let config = [quick, mount("/own", "plugin_time = '2s'"), mount("/", "")].concat();
    let host = start(host!().config(&config));
    let own = left(&host, "/own/left");
    assert!((1..=2000).contains(&own), "{own}");
    let hosts = left(&host, "/left");
    assert!((50_000..=60_000).contains(&hosts), "{hosts}");
    host.connect().get("/quick/forever").unwrap().assert_error(504, "plugin_timeout");
}

/// What a client takes for its body is not taken from the handler.
#[test]
fn a_clients_own_time_is_not_counted() {
    let host = start(host!().arg("--plugin-time=2s"));
    let mut connection = host.connect();
    connection.send_request("POST", "/read", "Content-Length: 2\r\n").unwrap();
    connection.send("a").unwrap();
    // Until the handler is seen to wait for the second byte.
    assert!(left(&host, "/left") > 0);
    connection.send("b").unwrap();
    assert_eq!(connection.read_answer().unwrap().text(), "ab true");
}

/// A client that is there is not gone; one that closes its side is, with bytes behind its request or
/// without, and has its answer.
#[test]
fn a_client_that_closes_its_side_is_noticed() {
    let host = start(host!());
    assert_eq!(host.get("/there").text(), "there");
    for more in ["", "GET /there HTTP/1.1\r\nHost: x\r\n\r\n", "GET /un"] {
        let mut connection = host.connect();
        connection.send_request("GET", "/gone", "").unwrap();
        connection.send(more).unwrap();
        connection.half_close().unwrap();
        assert_eq!(connection.read_answer().unwrap().text(), "gone", "behind it: `{more}`");
    }
}

/// Unless the host is told to take it for gone (`half_close`): then its call is dropped.
#[test]
fn a_client_that_closes_its_side_is_let_go_where_that_is_set() {
    let builder = host!().arg("--half-close=false").with(fault("gate"), "libhandler_v1.so");
    let host = builder.start();
    let (mut connection, waiting) = host.hold("/").into_parts();
    connection.half_close().unwrap();
    waiting.wait_dropped();
    assert!(connection.read_answer().is_err(), "nobody answers");
    host.get("/").assert_status(200);
}

/// A second request of the same connection asks anew.
#[test]
fn every_request_of_a_connection_can_ask() {
    let host = start(host!());
    let mut connection = host.connect();
    for _ in 0..3 {
        assert_eq!(connection.get("/there").unwrap().text(), "there");
    }
    connection.send_request("GET", "/gone", "").unwrap();
    connection.half_close().unwrap();
    assert_eq!(connection.read_answer().unwrap().text(), "gone");
}

/// Who waits beyond its request keeps nothing: the version goes.
#[test]
fn a_wait_that_is_kept_holds_nothing() {
    let host = start(host!());
    let mut open = host.connect();
    assert_eq!(open.get("/keep").unwrap().text(), "false");
    assert_eq!(host.connect().get("/keep").unwrap().text(), "false");
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    host.assert_all_unloaded("deadlines");
    // The connection goes on.
    open.get("/").unwrap().assert_status(200);
    drop(open);
    host.get("/").assert_status(200);
}
