//! Requests that outlive the drain: the limit and USR2 end them, and with them the process.

use hotseat_test_support::{Connection, Host, eventually, fault, host};
use rustix::process::Signal;

use super::{half_sent, pid_of, upgrade, upgrade_and_drain, whoami};

/// A request that sleeps far longer than any test.
#[track_caller]
fn sleeper(host: &Host) -> Connection {
    let mut connection = host.connect();
    connection.send_request("GET", "/?sleep=300", "").unwrap();
    let busy = || host.status()["connections"]["busy"].as_u64() > Some(0);
    eventually!(busy(), "a request in flight: {}", host.status());
    connection
}

/// What a request gets that is cut before its answer has begun.
#[track_caller]
fn assert_cut(mut connection: Connection, host: &Host, old: u32) {
    match connection.read_answer() {
        Ok(answer) => {
            answer.assert_status(503);
            assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
        }
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
    host.wait_gone(old);
    host.assert_logged("cut at the limit");
    let log = host.home().read_log();
    let line = log.lines().find(|line| line.contains("cut at the limit"));
    assert!(line.is_some_and(|line| line.contains("/")), "{}", host.log_end());
    assert!(log.contains("path=\"/\"") || log.contains("path=/"), "the path: {line:?}");
    assert!(!log.contains("its time was up"), "it ended by itself\n{}", host.log_end());
}

/// The drain limit: the client is answered, the log says what was cut, the process ends.
#[test]
fn the_limit_ends_what_still_runs() {
    let host = whoami().arg("--upgrade-drain=500ms").start();
    let sleeper = sleeper(&host);
    let (old, new) = upgrade(&host);
    assert_cut(sleeper, &host, old);
    assert_eq!(pid_of(&host.get("/")), new);
}

/// USR2: the same at once, long before the limit.
#[test]
fn usr2_ends_what_drains() {
    let host = whoami().arg("--upgrade-drain=10min").start();
    let sleeper = sleeper(&host);
    let (old, new) = upgrade_and_drain(&host);
    let mut serving = half_sent(&host);
    host.signal(Signal::USR2);
    assert_cut(sleeper, &host, old);
    // Who serves is left alone.
    serving.send("sent!").unwrap();
    assert_eq!(pid_of(&serving.read_answer().unwrap()), new);
}

/// USR2 where nothing drains: a line in the log.
#[test]
fn usr2_leaves_the_serving_worker_alone() {
    let host = whoami().start();
    let mut connection = half_sent(&host);
    let before = host.processes();
    host.signal(Signal::USR2);
    let told = || host.home().read_log().contains("USR2: ending what drains workers=0");
    eventually!(told(), "{}", host.log_end());
    connection.send("sent!").unwrap();
    assert_eq!(connection.read_answer().unwrap().header("x-length"), Some("10"));
    let pids = |list: Vec<_>| -> Vec<u32> {
        list.iter().map(|it: &hotseat_test_support::Process| it.pid).collect()
    };
    assert_eq!(pids(host.processes()), pids(before));
}

/// A handler that blocks its thread cannot be told: the process ends all the same.
#[test]
fn a_blocking_handler_does_not_hold_the_process() {
    let builder = host!().arg("--soak-time=50ms").arg("--upgrade-drain=300ms").arg("--threads=2");
    let host = builder.with(fault("blocks_thread"), "libhandler_v1.so").start();
    let mut connection = host.connect();
    connection.send_request("GET", "/?block=300", "").unwrap();
    eventually!(crate::blocked::blocked_entry(&host).is_some(), "{}", host.status());
    let (old, _) = upgrade(&host);
    host.wait_gone(old);
    assert!(connection.read_answer().is_err(), "nobody can answer it");
    host.get("/").assert_status(200);
}

/// A worker that does not hear at all is killed by the master, a while after its limit.
#[test]
fn a_worker_that_does_not_hear_is_killed() {
    let host = whoami().arg("--upgrade-drain=1s").start();
    let connection = half_sent(&host);
    let (old, _) = upgrade_and_drain(&host);
    host.signal_process(old, Signal::STOP);
    host.wait_gone(old);
    host.assert_logged("killed: its time was up");
    drop(connection);
    host.get("/").assert_status(200);
}
