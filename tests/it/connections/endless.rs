//! What does not end by itself: it goes on with the worker that has it, is told to end before that
//! one's limit, and begins again with the next one.

use std::time::Duration;

use hotseat_test_support::{
    Host, eventually,
    stream::{ServerEvents, SocketLoad},
};

use super::{upgrade, upgrade_and_drain, whoami};

fn host() -> Host {
    whoami().arg("--upgrade-drain=3s").start()
}

/// Messages flow until the close frame, whose code is 1012; who comes back meets the new worker.
#[test]
fn websockets_move_within_the_limit() {
    let host = host();
    let load = SocketLoad::start(host.data(), "/ws", 8, Duration::from_millis(20));
    let met = || load.so_far().pids;
    eventually!(met().iter().all(|pids| pids.len() == 1), "8 WebSockets: {:?}", load.so_far());
    let (old, new) = upgrade_and_drain(&host);
    let echoes = load.so_far().echoes;
    eventually!(load.so_far().echoes > echoes + 16, "messages while it drains");
    host.wait_gone(old);
    eventually!(met().iter().all(|pids| pids == &[old, new]), "{:?}", load.so_far());
    let report = load.stop();
    assert_eq!((report.codes, report.broken), (vec![1012; 8], vec![]), "each was closed properly");
    // The limit did not have to end any of them.
    assert!(!host.home().read_log().contains("the limit has passed"), "{}", host.log_end());
}

/// Server-sent events: told of the drain, a stream says good-bye and has its proper end.
#[test]
fn events_end_properly() {
    let host = host();
    let mut events = ServerEvents::open(host.data(), "/?events=1&every=0.02").unwrap();
    let hello = events.receive().unwrap().unwrap();
    // Its end may come faster than anybody can see that the worker drains.
    let (old, new) = upgrade(&host);
    assert!(hello.data.contains(&old.to_string()), "{hello:?}");
    let rest = events.rest().unwrap();
    assert_eq!(rest.last().map(|event| event.event.as_str()), Some("bye"), "{rest:?}");
    assert!(rest.iter().any(|event| event.event == "tick"), "{rest:?}");
    let hello = ServerEvents::open(host.data(), "/?events=1").unwrap().receive().unwrap().unwrap();
    assert!(hello.data.contains(&new.to_string()), "{hello:?}");
    host.wait_gone(old);
    assert!(!host.home().read_log().contains("the limit has passed"), "{}", host.log_end());
}

/// A client that answers neither messages nor the close frame does not hold the process.
#[test]
fn a_deaf_websocket_does_not_hold_the_process() {
    let host = host();
    let mut deaf = crate::stream::Socket::open(&host, "/ws");
    deaf.check_echo(b"before");
    let (old, _) = upgrade_and_drain(&host);
    host.wait_gone(old);
    let (opcode, payload) = deaf.receive();
    assert_eq!((opcode, payload.get(..2)), (8, Some(&1012_u16.to_be_bytes()[..])));
    assert!(!host.home().read_log().contains("its time was up"), "{}", host.log_end());
}
