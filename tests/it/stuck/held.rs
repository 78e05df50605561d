//! Code of a plugin holds data threads: the worker is replaced as in an upgrade, and the generation
//! to blame goes like one that crashes.

use std::time::Duration;

use hotseat_test_support::{Connection, Host, eventually, fault, host, wire};

use super::{
    MARGIN, Stopwatch, assert_none_refused, blocked, builder, newcomers, standing, stop_threads,
    wait_red,
};
use crate::crash::{metric, next_worker, try_get, warning};

/// It is red at once, answers again in time, and at the third time the version is withdrawn.
#[test]
fn a_handler_that_loops_on_every_thread_is_withdrawn_at_the_third_time() {
    let builder = builder().arg("--upgrade-drain=1s").arg("--plugin-stop-time=100ms");
    // Too short for more than one, if it counted.
    let host = standing(builder.arg("--crash-window=1s"));
    let load = newcomers(&host);
    for round in 1..=3 {
        let worker = host.worker_pid();
        let target = if round == 1 { "/spin" } else { "/loop" };
        let watch = Stopwatch::start();
        let _held = stop_threads(&host, target);
        wait_red(&host);
        assert!(watch.elapsed() < MARGIN, "red after {:?}", watch.elapsed());
        let mut waiting = host.connect();
        waiting.get("/").unwrap().assert_status(200);
        watch.assert_in_time(&host);
        next_worker(&host, worker);
        host.wait_ended(worker);
    }
    assert_none_refused(load);
    let status = host.status();
    assert_eq!(try_get(&host, "/").as_deref(), Some("v1"));
    let text = warning(&status, "handler");
    assert!(text.contains("generation 2 (v2) was withdrawn"), "{text:?}");
    assert!(text.contains("held a thread for 2s, 3 times within"), "{text:?}");
    assert_eq!(metric(&host, "hotseat_stuck_workers_total"), 3.0);
    assert_eq!(metric(&host, "hotseat_worker_crashes_total"), 0.0);
}

/// Both threads stand still in `target`, at `doing`: seen, blamed, replaced.
#[track_caller]
fn check_blamed(target: &str, doing: &str) {
    let host = standing(builder().arg("--crash-count=1").arg("--upgrade-drain=1s"));
    let load = newcomers(&host);
    let worker = host.worker_pid();
    let watch = Stopwatch::start();
    let _held = stop_threads(&host, target);
    let all = blocked(&host);
    assert!(all.iter().all(|it| it["plugin"] == "handler"), "{all:?}");
    assert!(all.iter().all(|it| wire::number(it, "/generation") == 2), "{all:?}");
    assert!(all.iter().all(|it| it["doing"] == doing), "{all:?}");
    wait_red(&host);
    host.connect().get("/").unwrap().assert_status(200).assert_contains("v1");
    watch.assert_in_time(&host);
    next_worker(&host, worker);
    let text = warning(&host.status(), "handler");
    assert!(text.contains("generation 2 (v2) was withdrawn"), "{text:?}");
    assert!(text.contains("once within"), "{text:?}");
    assert_none_refused(load);
}

#[test]
fn a_deadlock_is_seen() {
    check_blamed("/lock", "request");
}

/// Of what owns an answer's bytes: the answer itself has been written.
#[test]
fn a_destructor_of_bytes_is_seen() {
    check_blamed("/bytes", "request");
}

#[test]
fn a_destructor_of_a_handlers_future_is_seen() {
    check_blamed("/future", "request");
}

#[test]
fn a_destructor_of_a_streamed_body_is_seen() {
    check_blamed("/body", "request");
}

/// The runtime calls it between two tasks; the plugin hears of it in a turn of its own.
#[test]
fn a_waker_is_seen() {
    check_blamed("/waker", "destructor or waker");
}

/// Connections that came to a thread before anybody could know that it stands still.
struct Waiting {
    /// Those that the other thread has answered.
    answered: Vec<Connection>,
    waiting: Vec<Connection>,
}

impl Waiting {
    /// One thread stands still, which is noticed a second later; meanwhile others come.
    #[track_caller]
    fn start(host: &Host, lost: &mut Connection) -> Self {
        // Its thread has written the answer before it stands still.
        lost.get("/bytes").unwrap().assert_status(200);
        let (mut answered, mut waiting) = (Vec::new(), Vec::new());
        let mut all: Vec<_> = (0..6).map(|_| host.connect()).collect();
        all.iter_mut().for_each(|it| it.send_request("GET", "/", "").unwrap());
        for connection in all {
            let soon = connection.wait_readable(Duration::from_millis(100)).unwrap();
            (if soon { &mut answered } else { &mut waiting }).push(connection);
        }
        assert!(!answered.is_empty() && !waiting.is_empty(), "both threads got some");
        Self { answered, waiting }
    }

    #[track_caller]
    fn assert_answered(mut self) {
        for connection in &mut self.waiting {
            connection.read_answer().unwrap().assert_status(200);
        }
    }
}

/// The other thread serves them as soon as it is noticed.
#[test]
fn what_waits_for_a_thread_that_stands_goes_to_another() {
    let host = standing(host!().arg("--threads=2").arg("--heartbeat=1s").arg("--stuck-time=1h"));
    let mut lost = host.connect();
    Waiting::start(&host, &mut lost).assert_answered();
    assert_eq!(blocked(&host).len(), 1);
}

/// Both stand still: the next worker serves them.
#[test]
fn what_waits_when_no_thread_turns_goes_to_the_next_worker() {
    let host = standing(builder().arg("--heartbeat=1s"));
    let worker = host.worker_pid();
    let mut lost = host.connect();
    let mut waiting = Waiting::start(&host, &mut lost);
    let other = &mut waiting.answered[0];
    other.read_answer().unwrap().assert_status(200);
    other.send_request("GET", "/loop", "").unwrap();
    waiting.assert_answered();
    next_worker(&host, worker);
    assert_eq!(host.wait_role("draining").pid, worker, "they did not wait for its end");
}

/// A deploy that does not end keeps it from handing over, again and again: it is killed.
#[test]
fn a_worker_that_cannot_hand_over_is_killed() {
    let builder = builder().arg("--freeze-time=10ms").arg("--preflight-time=10min");
    let host = standing(builder.arg("--crash-count=1"));
    let worker = host.worker_pid();
    std::fs::copy(fault("new_hangs"), host.home().path().join("libother_v1.so")).unwrap();
    let mut deploy = host.control().connect();
    let (port, path) = (host.ready().control.port(), "./libother_v1.so");
    let head = format!("Host: localhost:{port}\r\nContent-Length: {}\r\n", path.len());
    deploy.send(format!("POST / HTTP/1.1\r\n{head}\r\n{path}")).unwrap();
    let runs = || wire::list(&host.status(), "/orders").iter().any(|it| it["state"] == "running");
    eventually!(runs(), "a deploy that runs\n{}", host.log_end());
    let mut lost = host.connect();
    lost.send_request("GET", "/loop", "").unwrap();
    host.wait_ended(worker);
    host.connect().get("/").unwrap().assert_status(200).assert_contains("v1");
    host.assert_logged("cannot be replaced in good order: killed");
    let log = host.home().read_log();
    assert!(log.matches("a deploy is still running").count() >= 3, "{}", host.log_end());
}

/// A connection of the thread that turns goes over to the next worker; a request there is finished.
#[test]
fn what_is_whole_goes_on() {
    let builder = builder().arg("--mount=/=handler").arg("--mount=/still=still");
    let host = builder.with(fault("gate"), "libhandler_v1.so").start();
    host.deploy(&fault("stands_still"), "libstill_v1.so").swapped();
    let worker = host.worker_pid();
    let held = host.hold("/held");
    let mut lost = host.connect();
    lost.send_request("GET", "/still/loop", "").unwrap();
    eventually!(blocked(&host).len() == 1, "the other thread\n{}", host.log_end());
    // Nobody comes to the thread that stands, although it has fewer connections.
    let mut kept: Vec<_> = (0..4).map(|_| host.connect()).collect();
    for connection in &mut kept {
        connection.get("/").unwrap().assert_status(200);
    }
    host.control().get("/readyz").assert_status(200);
    next_worker(&host, worker);
    for connection in &mut kept {
        connection.get("/").unwrap().assert_status(200);
    }
    held.release().assert_status(200);
    host.get("/still/").assert_contains("still");
    let text = warning(&host.status(), "still");
    assert_eq!(text, "", "the first time");
    assert_eq!(host.wait_role("draining").pid, worker, "it still has a connection");
}
