//! What becomes of connections when one worker takes over from another: nobody notices.
//!
//! Owns the clients of every kind that an upgrade could cost something: idle ones, half-sent ones,
//! large bodies, HTTP/2, WebSockets, endless streams, and those that do not want to go.

use hotseat_test_support::{Answer, Builder, Connection, Host, eventually, fault, host};

mod descriptors;
mod endless;
mod going;
mod hammer;
mod handover;
mod http2;
mod kept;
mod large;
mod sockets;

/// A host whose `handler` says which process answers.
fn whoami() -> Builder {
    host!().arg("--soak-time=50ms").with(fault("whoami"), "libhandler_v1.so")
}

/// HUP, and waits until a new worker has stood its test: the one before, and the new one.
#[track_caller]
fn upgrade(host: &Host) -> (u32, u32) {
    let old = host.worker_pid();
    host.hup();
    let mut new = old;
    eventually!(
        {
            new = host.process("serving").map_or(old, |it| it.pid);
            new != old
        },
        "a worker after {old} in {:?}\n{}",
        host.processes(),
        host.log_end()
    );
    (old, new)
}

/// As [`upgrade`], where something keeps the worker before from ending at once.
#[track_caller]
fn upgrade_and_drain(host: &Host) -> (u32, u32) {
    let (old, new) = upgrade(host);
    assert_eq!(host.wait_role("draining").pid, old);
    (old, new)
}

/// The process that answered, as the `whoami` test plugin says.
#[track_caller]
fn pid_of(answer: &Answer) -> u32 {
    answer.assert_status(200);
    answer.header("x-pid").expect("whoami says who it is").parse().unwrap()
}

/// A request whose body is half sent: it is in flight until the rest comes.
#[track_caller]
fn half_sent(host: &Host) -> Connection {
    let mut connection = host.connect();
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf-").unwrap();
    let busy = || host.status()["connections"]["busy"].as_u64() > Some(0);
    eventually!(busy(), "a request in flight: {}", host.status());
    connection
}
