//! Plugins with wakers, owners and destructors of their own: none of them runs where a lock that is
//! not ours is held, so none of them stops a thread for longer than it takes itself.

use std::{thread, time::Duration};

use hotseat_test_support::{
    Host, eventually,
    http2::{
        RawHttp2,
        raw::{INITIAL_WINDOW_SIZE, code},
    },
    patience::{breathe, pass},
};

use super::{ALIVE, assert_goes_on, assert_well, edge, post};

/// A body that comes in pieces, so that its reader has to wait for each.
fn piecewise(host: &Host, target: &str) -> std::io::Result<()> {
    let mut client = RawHttp2::open(host.data(), &[])?;
    let first = client.begin("POST", target, &[], false)?;
    let second = client.begin("POST", target, &[], false)?;
    for number in 0..3 {
        for stream in [first, second] {
            // Refused as soon as it was let go of.
            client.body(stream, b"a piece", number == 2)?;
            client.ping()?;
        }
    }
    for stream in [first, second] {
        let over = client.finish(stream)?;
        let status = over.answer.map(|it| it.status);
        assert_eq!((status, over.ended), (Some(200), true), "{target}: {:?}", over.reset);
    }
    assert!(client.get(ALIVE)?.ended);
    Ok(())
}

/// Wakers that let go of the body, woken and freed by whoever has them.
#[test]
fn wakers_let_go_of_bodies() {
    let host = edge().start();
    thread::scope(|scope| {
        for how in ["woken", "freed"] {
            for _ in 0..4 {
                let host = &host;
                scope.spawn(move || {
                    for _ in 0..20 {
                        piecewise(host, &format!("/edge?read={how}")).expect("answered");
                    }
                });
            }
        }
    });
    assert_well(&host);
}

/// The same where the client resets its stream, or goes, while the waker waits.
#[test]
fn wakers_let_go_of_bodies_whose_clients_left() {
    let host = edge().start();
    for how in ["woken", "freed"] {
        for leaves in [true, false] {
            for _ in 0..10 {
                let mut client = RawHttp2::open(host.data(), &[]).unwrap();
                // The waker owns that too, which is h2's and nobody's else by now.
                let stash = client.post("/edge?read=held&keep=stash", b"half", false).unwrap();
                client.finish(stash).unwrap();
                let target = format!("/edge?read={how}");
                let stream = client.post(&target, b"a piece", false).unwrap();
                client.ping().unwrap();
                if leaves {
                    client.into_connection().reset().unwrap();
                } else {
                    client.reset(stream, code::CANCEL).unwrap();
                    assert!(client.get(ALIVE).unwrap().ended);
                }
            }
        }
    }
    assert_well(&host);
}

/// The same for byte streams after an upgrade, whose wakers also let go of others of their thread.
#[test]
fn wakers_let_go_of_byte_streams() {
    let host = edge().start();
    let upgraded = |target: &str| {
        let mut connection = host.connect();
        let asks = "Connection: upgrade\r\nUpgrade: echo\r\n";
        connection.send_request("GET", target, asks).unwrap();
        connection.read_head().unwrap().assert_status(101);
        connection
    };
    for how in ["woken", "freed"] {
        for _ in 0..10 {
            let mut stashed = [(); 4].map(|()| upgraded("/edge?answer=upgrade&keep=stash"));
            // As many on each thread.
            let mut converse =
                [(); 4].map(|()| upgraded(&format!("/edge?answer=upgrade&read={how}")));
            for connection in &mut converse {
                connection.send("a word").unwrap();
                connection.wait_closed().expect("let go of at the latest behind the word");
            }
            for connection in &mut stashed {
                // On a thread whose wakers were woken all are gone; else nothing was begun there.
                connection.half_close().unwrap();
            }
            for _ in 0..8 {
                host.get("/edge?unstash=1").assert_status(200);
            }
        }
    }
    assert_well(&host);
}

/// Answers whose bytes own the request's body: freed when they are sent, or never sent.
#[test]
fn bytes_own_bodies() {
    let host = edge().start();
    let target = "/edge?read=held&keep=owner&size=100000";
    for _ in 0..20 {
        let mut connection = host.connect();
        post(&mut connection, target, &[b'x'; 100_000]).unwrap().assert_status(200);
        assert_goes_on(&mut connection);
        let mut client = RawHttp2::open(host.data(), &[]).unwrap();
        let whole = client.post(target, &[b'x'; 30_000], false).unwrap();
        assert!(client.finish(whole).unwrap().ended);
        // One that is reset while its bytes wait for a window.
        client.grants = false;
        let unsent = client.post(target, &[b'x'; 1000], false).unwrap();
        client.first_piece(unsent).unwrap();
        client.reset(unsent, code::CANCEL).unwrap();
        client.ping().unwrap();
    }
    assert_well(&host);
}

/// Destructors that block: only their own thread waits, as long as they take; the other goes on.
#[test]
fn destructors_that_block_hold_their_own_thread_alone() {
    let host = edge().start();
    for at in ["bytes", "stream", "call"] {
        let answer = if at == "stream" { "chunked" } else { "bytes" };
        let target = format!("/edge?answer={answer}&block=1500&at={at}&size=20");
        let mut client = RawHttp2::open(host.data(), &[]).unwrap();
        let stream = client.begin("GET", &target, &[], true).unwrap();
        let mut old = host.connect();
        old.send_request("GET", &target, "").unwrap();
        // New connections go to whoever turns; both may be held for a moment.
        for _ in 0..20 {
            host.get(ALIVE).assert_status(200);
            breathe(Duration::from_millis(5));
        }
        assert!(client.finish(stream).unwrap().ended, "{at}");
        old.read_answer().unwrap().assert_status(200);
        assert_goes_on(&mut old);
        assert!(client.get(ALIVE).unwrap().ended, "{at}");
    }
    assert_well(&host);
}

/// The same when clients leave: what blocks is dropped with their requests.
#[test]
fn destructors_that_block_when_clients_leave() {
    let host = edge().start();
    let target = "/edge?answer=never&block=700&at=call";
    for _ in 0..2 {
        let mut client = RawHttp2::open(host.data(), &[]).unwrap();
        let reset = client.begin("POST", target, &[], false).unwrap();
        client.post(target, b"half", false).unwrap();
        let mut old = host.connect();
        old.send_request("GET", target, "").unwrap();
        let held = || hotseat_test_support::host::holders(&host.status()) == 3;
        eventually!(held(), "three requests in the plugin: {}", host.status());
        client.reset(reset, code::CANCEL).unwrap();
        client.into_connection().reset().unwrap();
        old.reset().unwrap();
        let none = || hotseat_test_support::host::holders(&host.status()) == 0;
        eventually!(none(), "nobody held: {}", host.status());
    }
    assert_well(&host);
}

/// A client with large windows that reads nothing: its socket is full, and what it is answered from
/// now on lies in h2. A body of its own is stashed, whose stream is over.
fn stuffed(host: &Host) -> RawHttp2 {
    let mut client = RawHttp2::open(host.data(), &[(INITIAL_WINDOW_SIZE, 1 << 30)]).unwrap();
    client.grant(0, 1 << 30).unwrap();
    let stash = client.post("/edge?read=held&keep=stash", b"half", false).unwrap();
    client.finish(stash).unwrap();
    client.begin("GET", "/edge?answer=known&size=100000000", &[], true).unwrap();
    pass(Duration::from_millis(300));
    client
}

/// Bytes that own the body of another stream, freed by h2 unsent: when their own is reset by the
/// client or by the host, and when the connection ends.
#[test]
fn unsent_bytes_own_bodies_of_others() {
    let host = edge().arg("--body-gap=2s").start();
    for (answer, resets) in [("bytes", true), ("bytes", false), ("fails", false)] {
        let mut client = stuffed(&host);
        let target = format!("/edge?answer={answer}&keep=stashed&size=100000");
        let stream = client.begin("GET", &target, &[], true).unwrap();
        pass(Duration::from_millis(100));
        if resets {
            client.reset(stream, code::CANCEL).unwrap();
            host.ask_threads(ALIVE).expect("every data thread turns");
        }
        // The host gives up on a client that takes nothing.
        let open = || host.status()["connections"]["h2"].as_u64();
        eventually!(open() == Some(0), "{answer}: {}", host.status());
        host.ask_threads(ALIVE).expect("every data thread turns");
    }
    host.assert_at_rest(ALIVE);
}
