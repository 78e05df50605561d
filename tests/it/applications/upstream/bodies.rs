//! Large bodies in both directions: whole, and no faster than the other side takes them.

use std::{thread, time::Duration};

use hotseat_test_support::{Connection, Host, procfs};

use super::{Origin, send, start};

const PIECE: usize = 64 << 10;
const PIECES: usize = 1024;
/// What sockets, host and plugin may hold of a body; a small part of it.
const HELD_BYTES: usize = 24 << 20;
/// When nothing more goes out for so long, nobody takes it.
const STUCK: Duration = Duration::from_secs(1);

fn piece(number: usize) -> Vec<u8> {
    vec![u8::try_from(number % 251).unwrap(); PIECE]
}

/// Sends pieces until nobody takes them any more: how many bytes went out.
#[track_caller]
fn fill(connection: &mut Connection) -> usize {
    connection.bound(STUCK).unwrap();
    let sent = (0..PIECES).take_while(|&it| connection.send(piece(it)).is_ok()).count() * PIECE;
    assert!(sent < HELD_BYTES, "{} KiB went out, and nobody has read them", sent >> 10);
    sent
}

#[track_caller]
fn assert_small(host: &Host, before: u64) {
    let grown = procfs::rss_kib(host.worker_pid()).saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB for a body of {} MiB", (PIECES * PIECE) >> 20);
}

/// 64 MiB go there and come back, piece by piece.
#[test]
fn large_bodies_are_passed_on_whole() {
    let origin = Origin::new();
    let host = start(&origin.url(), "");
    let before = procfs::rss_kib(host.worker_pid());
    let length = format!("Content-Length: {}\r\n", PIECES * PIECE);
    let mut client = send(&host, "POST", &length);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut asked = origin.asked();
            assert_eq!(asked.all("content-length"), [(PIECES * PIECE).to_string()]);
            asked.connection.send(format!("HTTP/1.1 200 OK\r\n{length}\r\n")).unwrap();
            for number in 0..PIECES {
                let came = asked.connection.read_exact(PIECE).unwrap();
                assert!(came == piece(number), "piece {number} on its way there");
                asked.connection.send(came).unwrap();
            }
        });
        let mut writer = client.writer().unwrap();
        scope.spawn(move || {
            (0..PIECES).for_each(|it| std::io::Write::write_all(&mut writer, &piece(it)).unwrap());
        });
        client.read_head().unwrap().assert_status(200);
        for number in 0..PIECES {
            let came = client.read_exact(PIECE).unwrap();
            assert!(came == piece(number), "piece {number} on its way back");
        }
    });
    assert_small(&host, before);
}

#[test]
fn an_upstream_that_does_not_read_holds_its_client_back() {
    let origin = Origin::new();
    let host = start(&origin.url(), "");
    let before = procfs::rss_kib(host.worker_pid());
    let mut client = send(&host, "POST", &format!("Content-Length: {}\r\n", PIECES * PIECE));
    let mut asked = origin.asked();
    fill(&mut client);
    assert_small(&host, before);
    // It goes on.
    asked.connection.read_exact(PIECE).unwrap();
}

#[test]
fn a_client_that_does_not_read_holds_its_upstream_back() {
    let origin = Origin::new();
    let host = start(&origin.url(), "");
    let before = procfs::rss_kib(host.worker_pid());
    let mut client = send(&host, "GET", "");
    let mut asked = origin.asked();
    let length = PIECES * PIECE;
    asked.connection.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n")).unwrap();
    client.read_head().unwrap().assert_status(200);
    fill(&mut asked.connection);
    assert_small(&host, before);
    assert!(client.read_exact(PIECE).unwrap() == piece(0));
}
