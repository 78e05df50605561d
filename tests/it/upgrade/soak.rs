//! A new worker that turns bad while it is watched: the one before is called back.

use hotseat_test_support::{Failure, Host, LoadPlan, eventually, fault, load::Load, procfs};
use rustix::process::Signal;

use super::{FOREVER, Slow, assert_one_worker, last_verdict, pid_of, soaking};

/// The one before serves again, and the other one is gone.
#[track_caller]
fn assert_back(host: &Host, old: u32, new: u32) {
    eventually!(last_verdict(host).as_deref() == Some("rolled_back"), "the way back");
    host.wait_gone(new);
    assert_eq!(pid_of(&host.get("/")), old);
    assert_one_worker(host, old);
}

/// It gives no sign of life any more: it is killed, and whoever came meanwhile is answered.
#[test]
fn a_stopped_worker_is_taken_back() {
    let host = soaking(FOREVER).start();
    let old = host.worker_pid();
    let slow = Slow::start(host.data());
    let upgrading = host.begin_upgrade(&["--wait"]);
    host.wait_role("parked");
    let new = host.wait_role("soaking").pid;
    host.signal_process(new, Signal::STOP);
    let upgrade = upgrading.wait();
    upgrade.assert_code(6).assert_says("no sign of life");
    assert_eq!(upgrade.verdict(), "rolled_back");
    assert_back(&host, old, new);
    assert_eq!(slow.finish(), old);
}

/// One of its threads stands still in a plugin that the worker before has as well: it has not stood
/// the test all the same.
#[test]
fn a_stuck_worker_is_taken_back() {
    let builder = soaking(FOREVER).arg("--threads=2").arg("--stuck-time=500ms");
    let builder = builder.arg("--beat-time=100ms").arg("--mount=/=handler");
    let host = builder.arg("--mount=/still=still").arg("--upgrade-drain=500ms").start();
    host.deploy(&fault("stands_still"), "libstill_v1.so").swapped();
    let old = host.worker_pid();
    let upgrading = host.begin_upgrade(&["--wait"]);
    host.wait_role("parked");
    let new = host.wait_role("soaking").pid;
    let mut lost = host.connect();
    lost.send_request("GET", "/still/loop", "").unwrap();
    upgrading.wait().assert_code(6).assert_says("it is stuck: thread");
    assert_back(&host, old, new);
}

/// It dies: a connection that comes at any moment is answered, only not by the dead.
#[test]
fn a_killed_worker_is_taken_back() {
    let host = soaking(FOREVER).start();
    let old = host.worker_pid();
    let upgrading = host.begin_upgrade(&["--wait"]);
    host.wait_role("parked");
    let new = host.wait_role("soaking").pid;
    host.signal_process(new, Signal::KILL);
    assert_eq!(pid_of(&host.get("/")), old);
    upgrading.wait().assert_code(6).assert_says("KILL");
    assert_back(&host, old, new);
}

/// It dies under load: no connection is refused, and nobody loses more than what it had in flight.
#[test]
fn only_requests_of_the_dead_worker_fail() {
    let host = soaking(FOREVER).start();
    let old = host.worker_pid();
    let plan = LoadPlan { kept: 50, fresh: 4, ..LoadPlan::default() };
    let load = Load::start(host.data(), plan);
    load.wait_for(50);
    let upgrading = host.begin_upgrade(&["--wait"]);
    host.wait_role("parked");
    let new = host.wait_role("soaking").pid;
    load.wait_for(100);
    host.signal_process(new, Signal::KILL);
    upgrading.wait().assert_code(6);
    load.wait_for(100);
    let report = load.stop();
    report.assert_only(&[Failure::Reset, Failure::Closed, Failure::Short]).assert_kept();
    // The others have kept the connection to the worker before, which serves on while it is parked.
    assert!(report.failed() <= 4, "{report}");
    assert_back(&host, old, new);
}

/// It answers nothing but errors.
#[test]
fn a_worker_that_fails_is_taken_back() {
    let host = soaking(FOREVER).arg("--soak-requests-count=20").start();
    let old = host.worker_pid();
    let upgrading = host.begin_upgrade(&["--wait"]);
    host.wait_role("parked");
    let new = host.wait_role("soaking").pid;
    let mut connection = host.connect();
    for _ in 0..20 {
        connection.get("/?status=500").unwrap().assert_status(500);
    }
    upgrading.wait().assert_code(6).assert_says("100 %");
    assert_back(&host, old, new);
}

/// Errors that were there before are nothing to blame the new worker for.
#[test]
fn errors_of_before_are_not_blamed_on_the_new_worker() {
    let host = soaking("3s").arg("--soak-requests-count=20").start();
    let fail = |times: u32| {
        let mut connection = host.connect();
        (0..times).for_each(|_| drop(connection.get("/?status=500").unwrap()));
    };
    fail(20);
    // Two signs of life tell of them.
    let upgrading = host.begin_upgrade(&["--wait"]);
    host.wait_role("parked");
    host.wait_role("soaking");
    fail(20);
    upgrading.wait().assert_code(0);
}

/// The worker before dies in the soak: there is nobody to go back to, and nothing to go back for.
#[test]
fn the_end_of_a_parked_worker_changes_nothing() {
    let host = soaking("1s").start();
    let old = host.worker_pid();
    host.hup();
    assert_eq!(host.wait_role("parked").pid, old);
    host.signal_process(old, Signal::KILL);
    eventually!(last_verdict(&host).as_deref() == Some("committed"), "the commit");
    let new = host.worker_pid();
    assert_eq!(pid_of(&host.get("/")), new);
    assert_one_worker(&host, new);
    assert!(procfs::state(old).is_none());
}
