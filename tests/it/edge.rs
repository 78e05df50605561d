//! The edge: whatever clients and plugins do there, the host goes on.
//!
//! Owns requests whose bodies nobody reads, clients that leave or stop, plugins that keep what is
//! not theirs, answers that are none. After each of them every data thread must turn, nobody be
//! held, and the connection go on where it was not said to end.

use std::io;

use hotseat_test_support::{Answer, Builder, Connection, Host, fault, host};

mod answers;
mod clocks;
mod drained;
mod faults;
mod fuzz;
mod given_up;
mod matrix;
mod own;
mod plugins;
mod read_away;
mod rules;
mod unread;
mod upgrades;
mod windows;

/// A host of two data threads whose plugin `edge` meets bodies and answers as it is asked to.
fn edge() -> Builder {
    host!().arg("--threads=2").with(fault("edge"), "libedge_v1.so")
}

/// What every data thread is asked for, and what a connection is asked for to see that it goes on.
const ALIVE: &str = "/edge?read=all&id=alive";

/// The head of a POST; `extra` are whole header lines.
fn post_head(target: &str, extra: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: localhost\r\n{extra}\r\n")
}

/// POST of a body whose length is told, sent beside reading.
fn post(connection: &mut Connection, target: &str, body: &[u8]) -> io::Result<Answer> {
    let head = post_head(target, &format!("Content-Length: {}\r\n", body.len()));
    let (sent, answer) =
        connection.send_beside([head.as_bytes(), body], Connection::read_answer)?;
    let answer = answer?;
    // Whoever reads the answer may still be sending; what it sends must be taken.
    if answer.header("connection").is_none() {
        sent?;
    }
    Ok(answer)
}

/// The connection goes on: its next request is answered, by the plugin.
#[track_caller]
fn assert_goes_on(connection: &mut Connection) {
    let next = connection.get(ALIVE).expect("the next request on the connection");
    next.assert_status(200);
    assert_eq!(next.header("x-id"), Some("alive"), "{next:?}");
}

/// Everything up to the connection's end holds no answer to a request that was never made; how many
/// answers there are.
#[track_caller]
fn assert_not_smuggled(connection: &mut Connection) -> usize {
    let ended = connection.read_to_end();
    let rest = ended.as_ref().map_or_else(|_| connection.buffered(), Vec::as_slice);
    let text = String::from_utf8_lossy(rest);
    assert!(!text.contains("x-id: smuggled"), "{text}");
    if let Err(error) = &ended {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error} after: {text}");
    }
    text.matches("HTTP/1.1 ").count()
}

/// Nobody is held, every data thread turns, and the plugin is not blamed.
#[track_caller]
fn assert_well(host: &Host) {
    host.assert_at_rest(ALIVE);
    let log = host.home().read_log();
    let told =
        log.lines().find(|line| line.contains(" ERROR ") && !line.contains("plugin panicked"));
    assert_eq!(told, None, "an error of the host's own");
}
