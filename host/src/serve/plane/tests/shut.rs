use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    os::unix::net::UnixStream,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::*;

/// Clients that connect, ask and go, over and over.
#[derive(Default)]
struct Storm {
    answered: AtomicUsize,
    refused: AtomicBool,
    failed: AtomicUsize,
}

impl Storm {
    /// Until nobody listens any more. A handshake that is done must be answered.
    fn ask_until_refused(&self, address: SocketAddr) {
        loop {
            let connected = TcpStream::connect_timeout(&address, Duration::from_secs(10));
            let Ok(mut stream) = connected else {
                self.refused.store(true, Ordering::Relaxed);
                return;
            };
            let mut answer = String::new();
            let asked = stream
                .write_all(b"GET /health/readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            let read = asked.and_then(|()| stream.read_to_string(&mut answer));
            if read.is_ok() && answer.starts_with("HTTP/1.1 200") {
                self.answered.fetch_add(1, Ordering::Relaxed);
            } else {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Ends a listener under load ten times; returns how many requests failed.
fn failures(end: impl Fn(&DataPlane, Vec<Socket>)) -> usize {
    let plane = plane("here", patient());
    let mut failed = 0;
    for _ in 0..10 {
        let (sockets, address) = listen();
        plane.accept(&sockets).unwrap();
        let storm = Storm::default();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| storm.ask_until_refused(address));
            }
            eventually!(storm.answered.load(Ordering::Relaxed) > 100, "the clients are at it");
            end(&plane, sockets);
        });
        assert!(storm.refused.load(Ordering::Relaxed));
        failed += storm.failed.load(Ordering::Relaxed);
    }
    plane.end();
    failed
}

#[test]
fn a_listener_is_shut_without_a_reset() {
    let failed = failures(|plane, sockets| {
        plane.close();
        assert!(plane.shut(&sockets));
    });
    assert_eq!(failed, 0);
}

/// Where no filter may be attached.
#[test]
fn a_listener_that_turns_newcomers_away_is_shut_without_a_reset() {
    let failed = failures(|plane, sockets| {
        plane.close();
        for socket in &sockets {
            crate::sys::filter::turn_away(socket).unwrap();
        }
        assert!(plane.shut(&sockets));
    });
    assert_eq!(failed, 0);
}

/// The negative control: what happens without all this.
#[test]
fn a_plain_close_resets_what_waits() {
    let failed = failures(|plane, sockets| {
        assert!(plane.park());
        drop(sockets);
    });
    assert!(failed > 0);
}

#[test]
fn a_unix_listener_is_shut_without_a_reset() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let sockets = vec![bind(&Listen::Unix(path.clone()), Plane::Data).unwrap()];
    // Nobody accepts: all of them are in the queue.
    let plane = plane("here", patient());
    let mut waiting: Vec<_> = (0..20).map(|_| UnixStream::connect(&path).unwrap()).collect();
    plane.close();
    assert!(plane.shut(&sockets));
    drop(sockets);
    let gone = UnixStream::connect(&path).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    for stream in &mut waiting {
        stream.write_all(b"GET /health/readyz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
    }
    plane.end();
}

/// A queue that nobody can take from is given up in time.
#[test]
fn a_full_plane_does_not_wait_for_ever() {
    let plane = plane("here", Limits { connections_count: 1, ..patient() });
    let (sockets, address) = listen();
    let _queued: Vec<_> = (0..2).map(|_| Connection::open(address).unwrap()).collect();
    let begun = Instant::now();
    assert!(!plane.shut(&sockets));
    assert!(begun.elapsed() < Duration::from_secs(10));
    plane.end();
}
