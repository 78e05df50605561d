//! A stop in the middle of an upgrade: what is in flight is finished, nothing stays behind.

use hotseat_test_support::{
    Host,
    binary::{self, Fault},
    eventually, procfs,
};
use rustix::process::Signal;

use super::{FOREVER, Hook, Slow, binaries::own_copy, builder, soaking};

/// A stop while `slow` is in flight: it is answered, and no process is left.
#[track_caller]
fn check_stop(mut host: Host, slow: Slow) {
    let all = procfs::descendants(host.pid());
    host.signal(Signal::TERM);
    slow.finish();
    assert_eq!(host.wait_exit().code(), Some(0), "{}", host.log_end());
    assert_eq!(all.into_iter().filter_map(procfs::state).collect::<Vec<_>>(), []);
}

/// Before anything has begun: a command of the operator runs.
#[test]
fn a_stop_while_hooks_run() {
    let builder = builder();
    let hook = Hook::new(&builder, "gate");
    let builder = builder.arg("--hook-time=1min").arg(format!("--hook=pre_hup={}", hook.command()));
    let host = builder.start();
    let slow = Slow::start(host.data());
    host.hup();
    let _held = hook.runs();
    check_stop(host, slow);
}

/// The new binary is being checked, and hangs in it.
#[test]
fn a_stop_while_the_checks_run() {
    let (host, _, real) = own_copy(builder().arg("--check-time=5min"));
    let slow = Slow::start(host.data());
    let bad = host.home().path().join("bad");
    binary::faulty_at_check(&real, &bad, Fault::Hangs);
    let upgrading = host.begin_upgrade(&["--wait", "--binary", bad.to_str().unwrap()]);
    eventually!(procfs::children(host.pid()).len() == 2, "the child that checks");
    host.signal(Signal::TERM);
    upgrading.wait().assert_code(1).assert_says("stopping");
    check_stop(host, slow);
}

/// The new worker is there and does not come up.
#[test]
fn a_stop_while_the_new_worker_boots() {
    let (host, _, real) = own_copy(builder());
    let slow = Slow::start(host.data());
    let bad = host.home().path().join("bad");
    binary::faulty(&real, &bad, Fault::Hangs);
    let upgrading = host.begin_upgrade(&["--wait", "--binary", bad.to_str().unwrap()]);
    eventually!(procfs::children(host.pid()).len() == 2, "the new worker");
    // Its boot is where the upgrade stays.
    eventually!(host.home().read_log().contains("worker=2"), "the new worker: {}", host.log_end());
    host.signal(Signal::TERM);
    upgrading.wait().assert_code(1).assert_says("stopping");
    check_stop(host, slow);
}

/// Two workers are there: the one before finishes what it has.
#[test]
fn a_stop_in_the_soak() {
    let host = soaking(FOREVER).start();
    let slow = Slow::start(host.data());
    let upgrading = host.begin_upgrade(&["--wait"]);
    host.wait_role("parked");
    let quick = Slow::start(host.data());
    host.signal(Signal::TERM);
    upgrading.wait().assert_code(1).assert_says("stopping");
    quick.finish();
    check_stop(host, slow);
}

/// One drains already.
#[test]
fn a_stop_in_the_drain() {
    let host = builder().start();
    let slow = Slow::start(host.data());
    host.upgrade(&["--wait"]).assert_code(0);
    check_stop(host, slow);
}
