//! Threads that stand still where nobody replaces the worker: its master is gone, or it never had
//! one.

use std::time::Duration;

use hotseat_test_support::{eventually, fault};
use rustix::process::Signal;

use super::{Stopwatch, blocked, builder, standing, stop_threads, wait_red};
use crate::crash::try_get;

/// How long a worker may take to end at once.
const AT_ONCE: Duration = Duration::from_secs(3);

fn stuck_count(log: &str) -> usize {
    log.matches("a thread is stuck").count()
}

/// It has nothing to finish, and another host wants its addresses.
#[test]
fn an_orphan_that_stands_still_ends_at_once() {
    let mut host = standing(builder().arg("--stop-time=1h"));
    let worker = host.worker_pid();
    host.signal(Signal::STOP);
    let _held = stop_threads(&host, "/loop");
    eventually!(stuck_count(&host.home().read_log()) == 2, "{}", host.log_end());
    host.kill_master();
    let watch = Stopwatch::start();
    host.wait_ended(worker);
    assert!(watch.elapsed() < AT_ONCE, "it took {:?}\n{}", watch.elapsed(), host.log_end());
}

/// What a thread that turns has in flight is finished first.
#[test]
fn an_orphan_finishes_what_is_whole() {
    let builder = builder().arg("--stop-time=1h").arg("--mount=/=handler").arg("--mount=/s=still");
    let mut host = builder.with(fault("gate"), "libhandler_v1.so").start();
    host.deploy(&fault("stands_still"), "libstill_v1.so").swapped();
    let worker = host.worker_pid();
    let held = host.hold("/held");
    host.signal(Signal::STOP);
    let mut lost = host.connect();
    lost.send_request("GET", "/s/loop", "").unwrap();
    eventually!(stuck_count(&host.home().read_log()) == 1, "{}", host.log_end());
    host.kill_master();
    eventually!(host.home().read_log().contains("the master is gone"), "{}", host.log_end());
    held.release().assert_status(200);
    host.wait_ended(worker);
}

/// It is told by log, status and `/readyz`, and nothing else happens.
#[test]
fn a_single_process_only_says_so() {
    let builder = builder().arg("--single").arg("--stop-time=100ms");
    let mut host = standing(builder.arg("--plugin-stop-time=100ms"));
    let _held = stop_threads(&host, "/loop");
    wait_red(&host);
    eventually!(stuck_count(&host.home().read_log()) == 2, "{}", host.log_end());
    let all = blocked(&host);
    assert!(all.iter().all(|it| it["doing"] == "request" && it["path"] == "/loop"), "{all:?}");
    assert_eq!(host.stop().code(), Some(0));
    assert_eq!(try_get(&host, "/"), None);
}
