//! Code of a plugin holds data threads: the worker is replaced as in an upgrade, and the generation
//! to blame goes like one that crashes.

use std::time::Instant;

use hotseat_test_support::{eventually, fault, wire};

use super::{
    MARGIN, STUCK_TIME, assert_none_refused, blocked, builder, newcomers, standing, stop_threads,
    wait_red,
};
use crate::crash::{metric, next_worker, try_get, warning};

/// It is red at once, answers again in time, and at the third time the version is withdrawn.
#[test]
fn a_handler_that_loops_on_every_thread_is_withdrawn_at_the_third_time() {
    let host = standing(builder().arg("--upgrade-drain=1s").arg("--plugin-stop-time=100ms"));
    let load = newcomers(&host);
    for round in 1..=3 {
        let worker = host.worker_pid();
        let mut both = host.connect();
        let target = if round == 1 { "/spin" } else { "/loop" };
        let mut one = host.connect();
        let began = Instant::now();
        one.send_request("GET", target, "").unwrap();
        eventually!(!blocked(&host).is_empty(), "one thread\n{}", host.log_end());
        both.send_request("GET", target, "").unwrap();
        let red = wait_red(&host);
        assert!(red - began < MARGIN, "red after {:?}", red - began);
        let mut waiting = host.connect();
        waiting.get("/").unwrap().assert_status(200);
        let took = red.elapsed();
        assert!(took < STUCK_TIME + MARGIN, "answered again after {took:?}\n{}", host.log_end());
        next_worker(&host, worker);
        host.wait_ended(worker);
    }
    assert_none_refused(load);
    let status = host.status();
    assert_eq!(try_get(&host, "/").as_deref(), Some("v1"));
    let text = warning(&status, "handler");
    assert!(text.contains("generation 2 (v2) was withdrawn"), "{text:?}");
    assert!(text.contains("held a thread for 1s, 3 times within"), "{text:?}");
    assert_eq!(metric(&host, "hotseat_stuck_workers_total"), 3.0);
    assert_eq!(metric(&host, "hotseat_worker_crashes_total"), 0.0);
}

/// Whatever it is that holds the thread, and wherever the host calls it.
#[test]
fn every_way_to_hold_a_thread_is_seen_and_blamed() {
    for target in ["/lock", "/bytes", "/future", "/body"] {
        let host = standing(builder().arg("--crash-count=1").arg("--upgrade-drain=1s"));
        let load = newcomers(&host);
        let worker = host.worker_pid();
        let (_held, began) = stop_threads(&host, target);
        let all = blocked(&host);
        assert!(all.iter().all(|it| it["plugin"] == "handler"), "{target}: {all:?}");
        assert!(all.iter().all(|it| wire::number(it, "/generation") == 2), "{target}: {all:?}");
        let red = wait_red(&host);
        host.connect().get("/").unwrap().assert_status(200).assert_contains("v1");
        let took = began.elapsed();
        assert!(took < 2 * STUCK_TIME + MARGIN, "{target}: {took:?}, red {red:?}");
        next_worker(&host, worker);
        let text = warning(&host.status(), "handler");
        assert!(text.contains("generation 2 (v2) was withdrawn"), "{target}: {text:?}");
        assert!(text.contains("once within"), "{target}: {text:?}");
        assert_none_refused(load);
    }
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
