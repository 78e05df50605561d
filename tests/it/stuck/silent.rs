//! A worker that does not say that it lives: it is killed and another one started.

use std::time::Duration;

use hotseat_test_support::{eventually, fault, host};
use rustix::process::Signal;

use super::{STUCK_TIME, Stopwatch, assert_none_refused, builder, newcomers};
use crate::crash::{metric, next_worker, warning};

/// Whoever comes waits until the next worker answers, and nobody is blamed.
#[test]
fn a_stopped_worker_is_replaced() {
    let host = builder().arg("--crash-count=1").with(fault("plain_v1"), "libhandler_v1.so").start();
    let load = newcomers(&host);
    load.wait_for(10);
    let worker = host.worker_pid();
    host.signal_process(worker, Signal::STOP);
    let watch = Stopwatch::start();
    host.wait_ended(worker);
    host.connect().get("/").unwrap().assert_status(200);
    watch.assert_in_time(&host);
    next_worker(&host, worker);
    load.wait_for(10);
    assert_none_refused(load);
    assert_eq!(warning(&host.status(), "handler"), "");
    assert_eq!(metric(&host, "hotseat_stuck_workers_total"), 1.0);
}

/// An upgrade needs an answer of the worker before, and does not wait for it as long as else.
#[test]
fn a_stopped_worker_does_not_keep_an_upgrade_from_its_end() {
    let builder = host!().arg("--stuck-time=1h").arg("--beat-time=100ms").arg("--soak-time=0s");
    let host = builder.with(fault("plain_v1"), "libhandler_v1.so").start();
    let worker = host.worker_pid();
    host.signal_process(worker, Signal::STOP);
    host.hup();
    host.wait_ended(worker);
    let verdict = || crate::crash::try_status(&host).map(|it| it["upgrade"]["verdict"].clone());
    eventually!(verdict().is_some_and(|it| it == "committed"), "{}", host.log_end());
    host.get("/").assert_contains("v1");
}

/// The whole host was stopped: a worker that could not say anything meanwhile is not killed for it.
#[test]
fn a_host_that_was_stopped_goes_on() {
    let host = builder().with(fault("plain_v1"), "libhandler_v1.so").start();
    let worker = host.worker_pid();
    let connection = host.connect();
    host.signal(Signal::STOP);
    host.signal_process(worker, Signal::STOP);
    // Nothing can come: the bound is what makes it long.
    assert!(!connection.wait_readable(3 * STUCK_TIME).unwrap());
    host.signal(Signal::CONT);
    // The master alone runs for a moment.
    assert!(!connection.wait_readable(Duration::from_millis(300)).unwrap());
    host.signal_process(worker, Signal::CONT);
    host.get("/").assert_contains("v1");
    assert_eq!(host.worker_pid(), worker, "{}", host.log_end());
    assert_eq!(metric(&host, "hotseat_stuck_workers_total"), 0.0);
}
