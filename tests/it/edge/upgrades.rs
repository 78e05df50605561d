//! `101 Switching Protocols`: to whom it may be answered, and what becomes of a body before it.

use std::time::{Duration, Instant};

use hotseat_test_support::{Connection, Host, eventually, plugin, wire};

use super::{assert_well, edge, post_head};

const ASKS: &str = "Connection: upgrade\r\nUpgrade: echo\r\n";
const UPGRADE: &str = "/edge?answer=upgrade";

/// What is said comes back, until the client ends.
#[track_caller]
fn assert_converses(connection: &mut Connection) {
    connection.send("are you there?").unwrap();
    assert_eq!(connection.read_exact(14).unwrap(), b"are you there?");
    connection.half_close().unwrap();
    connection.wait_end().unwrap();
}

/// The host has refused to upgrade a request with a body.
#[track_caller]
fn assert_refused(connection: &mut Connection) {
    let answer = connection.read_answer().expect("an answer instead of silence");
    answer.assert_error(400, "upgrade_with_body");
    assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
    connection.wait_closed().unwrap();
}

fn errors(host: &Host) -> u64 {
    let plugin = wire::plugin(&host.status(), "edge");
    wire::number(&plugin, "/counts/errors")
}

/// A body that comes is read away before the 101: the conversation begins behind it.
#[test]
fn a_body_before_an_upgrade_is_read_away() {
    let host = edge().start();
    for how in ["ignored", "dropped", "piece", "all"] {
        let target = format!("{UPGRADE}&read={how}");
        for (length, body) in [
            ("Content-Length: 5\r\n", "hello"),
            ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
            ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n"),
        ] {
            // All at once, and the body when nobody waits for it any more.
            for late in [false, true] {
                let mut connection = host.connect();
                let head = post_head(&target, &format!("{ASKS}{length}"));
                if late {
                    connection.send(&head).unwrap();
                    let held = || host.status()["connections"]["busy"].as_u64() == Some(1);
                    eventually!(held(), "the request under way: {}", host.status());
                    connection.send(body).unwrap();
                } else {
                    connection.send(format!("{head}{body}")).unwrap();
                }
                connection.read_head().unwrap().assert_status(101);
                assert_converses(&mut connection);
            }
        }
    }
    assert_well(&host);
}

/// Bytes of the conversation that come with the handshake are not lost behind a body.
#[test]
fn what_follows_the_body_is_the_conversation() {
    let host = edge().start();
    let mut connection = host.connect();
    let head = post_head(UPGRADE, &format!("{ASKS}Content-Length: 5\r\n"));
    connection.send(format!("{head}helloGET / HTTP/1.1\r\n\r\n")).unwrap();
    connection.read_head().unwrap().assert_status(101);
    assert_eq!(connection.read_exact(18).unwrap(), b"GET / HTTP/1.1\r\n\r\n");
    assert_converses(&mut connection);
    assert_well(&host);
}

/// A body that does not come, or is too long, or is none: 400 within the limits, and nobody is held.
#[test]
fn a_body_that_does_not_come_refuses_the_upgrade() {
    let host = edge().arg("--unread-time=400ms").arg("--unread-bytes=64KiB").start();
    let begun = Instant::now();
    for (length, body) in [
        ("Content-Length: 10\r\n", ""),
        ("Content-Length: 10\r\n", "half"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"),
        ("Content-Length: 1000000000\r\n", ""),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\nz\r\n"),
    ] {
        let mut connection = host.connect();
        connection.send(post_head(UPGRADE, &format!("{ASKS}{length}")) + body).unwrap();
        assert_refused(&mut connection);
    }
    let mut connection = host.connect();
    let head = post_head(UPGRADE, &format!("{ASKS}Transfer-Encoding: chunked\r\n"));
    let chunk = [b"20000\r\n".as_slice(), &[b'x'; 0x20000], b"\r\n0\r\n\r\n"].concat();
    let (_, ()) = connection.send_beside([head.as_bytes(), &chunk], assert_refused).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_well(&host);
}

/// A WebSocket's handshake that carries a body: answered, or refused; never a socket that is held.
#[test]
fn a_websocket_handshake_with_a_body_holds_nobody() {
    let host = edge().arg("--unread-time=400ms").with(plugin("echo_v1"), "libecho_v1.so").start();
    let asks = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let head =
        |length: &str| format!("GET /echo/ws HTTP/1.1\r\nHost: localhost\r\n{asks}{length}\r\n");
    let mut connection = host.connect();
    let whole = "Transfer-Encoding: chunked\r\n";
    connection.send(head(whole) + "5\r\nhello\r\n0\r\n\r\n").unwrap();
    connection.read_head().unwrap().assert_status(101);
    // `hi`, masked by zeros, and back without a mask.
    connection.send(b"\x81\x82\0\0\0\0hi").unwrap();
    assert_eq!(connection.read_exact(4).unwrap(), b"\x81\x02hi");
    drop(connection);
    for never in ["Content-Length: 10\r\n", whole] {
        let mut stays = host.connect();
        stays.send(head(never)).unwrap();
        let leaves = host.connect();
        leaves
            .writer()
            .and_then(|mut it| std::io::Write::write_all(&mut it, head(never).as_bytes()))
            .unwrap();
        leaves.reset().unwrap();
        assert_refused(&mut stays);
    }
    assert_well(&host);
}

/// Nobody is upgraded who has not asked for this very protocol: that is the plugin's fault.
#[test]
fn an_upgrade_that_nobody_asked_for_is_no_answer() {
    let host = edge().start();
    for (number, asks) in [
        "",
        "Upgrade: echo\r\n",
        "Connection: upgrade\r\n",
        "Connection: keep-alive\r\nUpgrade: echo\r\n",
        "Connection: upgrade\r\nUpgrade: other\r\n",
        "Connection: upgrade\r\nUpgrade: echoes\r\n",
        "Connection: upgrade\r\nUpgrade: other/1, another\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let mut connection = host.connect();
        connection.send_request("GET", UPGRADE, asks).unwrap();
        let answer = connection.read_answer().unwrap();
        answer.assert_error(500, "plugin_invalid_answer");
        assert_eq!(errors(&host), u64::try_from(number).unwrap() + 1, "`{asks}`");
    }
    for asks in [
        "Connection: Upgrade\r\nUpgrade: ECHO\r\n",
        "Connection: keep-alive, Upgrade\r\nUpgrade: other, echo\r\n",
        "Connection: keep-alive\r\nConnection: upgrade\r\nUpgrade: other\r\nUpgrade: echo\r\n",
    ] {
        let mut connection = host.connect();
        connection.send_request("GET", UPGRADE, asks).unwrap();
        connection.read_head().unwrap().assert_status(101);
        assert_converses(&mut connection);
    }
    assert_well(&host);
}

/// A conversation in which nothing is said ends when its client resets the connection.
#[test]
fn a_client_that_is_gone_ends_a_silent_conversation() {
    let host = edge().start();
    let mut connection = host.connect();
    connection.send_request("GET", "/edge?answer=mute", ASKS).unwrap();
    connection.read_head().unwrap().assert_status(101);
    let upgraded = || host.status()["connections"]["upgraded"].as_u64();
    eventually!(upgraded() == Some(1), "it was upgraded: {}", host.status());
    connection.reset().unwrap();
    eventually!(upgraded() == Some(0), "it is gone: {}", host.status());
    assert_well(&host);
}

/// Nor where there is nothing to switch: in HTTP/1.0, and before the request is over.
#[test]
fn an_upgrade_before_its_time_is_no_answer() {
    let host = edge().start();
    let old = format!("GET {UPGRADE} HTTP/1.0\r\nHost: localhost\r\n{ASKS}\r\n");
    let held = format!("{UPGRADE}&read=held&keep=converse");
    let early = post_head(&held, &format!("{ASKS}Content-Length: 10\r\n")) + "half";
    for (number, request) in (1..).zip([old, early]) {
        let mut connection = host.connect();
        connection.send(&request).unwrap();
        let answer = connection.read_answer().unwrap();
        answer.assert_error(500, "plugin_invalid_answer");
        assert_eq!(errors(&host), number, "{request}");
    }
    assert_well(&host);
}
