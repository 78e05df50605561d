//! Clients that do nothing: they hold no process.

use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::Duration,
};

use hotseat_test_support::{Connection, eventually, patience::breathe};

use super::{pid_of, upgrade, whoami};

/// Sends a head a byte at a time until it is told to end or the host has closed: what came then.
fn dribble(connection: &mut Connection, ended: &AtomicBool) -> Option<u16> {
    let head = format!("GET / HTTP/1.1\r\nX-Long: {}", "a".repeat(100_000));
    for byte in head.bytes() {
        if ended.load(SeqCst) {
            break;
        }
        if connection.wait_readable(Duration::ZERO).unwrap() || connection.send([byte]).is_err() {
            return connection.read_answer().ok().map(|answer| answer.status);
        }
        breathe(Duration::from_millis(100));
    }
    None
}

/// A connection without a byte, and one whose head never ends, before an upgrade: the worker that
/// has them ends at once, and the next one has them, with the time that they have left there.
#[test]
fn silent_connections_hold_no_worker() {
    let host = whoami().arg("--header-time=2s").start();
    let mut silent = host.connect();
    let (mut slow, ended) = (host.connect(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let dribbler = scope.spawn(|| dribble(&mut slow, &ended));
        let heads = || host.status()["connections"]["head"].as_u64() == Some(1);
        eventually!(heads(), "half a head: {}", host.status());
        let (old, new) = upgrade(&host);
        host.wait_gone(old);
        assert!(!host.home().read_log().contains("the limit has passed"), "{}", host.log_end());
        assert_eq!(pid_of(&silent.get("/").unwrap()), new);
        assert_eq!(dribbler.join().unwrap(), Some(408), "its time passes there");
        ended.store(true, SeqCst);
    });
}

/// The same clients at a stop: the host ends long before its limit.
#[test]
fn silent_connections_hold_no_stop() {
    let builder = whoami().arg("--header-time=1s").arg("--idle-linger=200ms");
    let mut host = builder.arg("--stop-time=60s").start();
    let (silent, mut slow) = (host.connect(), host.connect());
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let dribbler = scope.spawn(|| dribble(&mut slow, &ended));
        let heads = || host.status()["connections"]["head"].as_u64() == Some(1);
        eventually!(heads(), "half a head: {}", host.status());
        // Within patience, which is shorter than the limit.
        assert_eq!(host.stop().code(), Some(0), "{}", host.log_end());
        ended.store(true, SeqCst);
        dribbler.join().unwrap();
    });
    drop(silent);
}
