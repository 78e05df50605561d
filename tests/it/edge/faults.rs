//! A plugin's fault where its client is not done: it still sends, or was given the connection.

use hotseat_test_support::eventually;

use super::{
    answers::{Came, Wanted, check, counted, raw},
    post_head,
};

const ASKS: &str = "Connection: upgrade\r\nUpgrade: echo\r\n";

/// A client that still sends its body is told as well: the close lingers over what comes of it.
#[test]
fn a_fault_is_told_to_whoever_still_sends() {
    let host = raw();
    for path in ["stream-poll", "stream-null"] {
        let mut connection = host.connect();
        let body = vec![b'x'; 8 << 20];
        let head = post_head(&format!("/{path}"), &format!("Content-Length: {}\r\n", body.len()));
        // All of it before anything is read, as simple clients do.
        let sent = connection.send([head.as_bytes(), &body].concat());
        sent.unwrap_or_else(|error| panic!("{path}: {error} while it sends"));
        let answer = connection.read_answer().unwrap_or_else(|error| panic!("{path}: {error}"));
        check(path, Wanted::Cut, &Came::Whole(answer));
    }
}

/// Who asks for an upgrade is not given one under another status.
#[test]
fn an_upgrade_with_another_status_is_no_answer() {
    let host = raw();
    let mut connection = host.connect();
    connection.send_request("GET", "/upgrade-200", ASKS).unwrap();
    connection.read_answer().unwrap().assert_error(500, "plugin_invalid_answer");
    assert_eq!(counted(&host), 1);
}

/// A conversation that is none ends its connection, and is logged and counted as the plugin's.
#[test]
fn conversations_that_are_none() {
    let host = raw();
    for (path, word) in [
        ("/upgrade-no-start", "101 without a conversation"),
        ("/upgrade-code", "with the poll code 77"),
    ] {
        let before = counted(&host);
        let mut connection = host.connect();
        connection.send_request("GET", path, ASKS).unwrap();
        connection.read_head().unwrap().assert_status(101);
        connection.wait_closed().unwrap_or_else(|error| panic!("{path}: {error}"));
        eventually!(counted(&host) == before + 1, "{path} is counted: {}", counted(&host));
        host.assert_logged(word);
    }
}
