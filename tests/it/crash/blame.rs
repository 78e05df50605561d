//! Whose code ran when a worker died is withdrawn; what somebody else has done blames nobody.

use hotseat_test_support::{Host, eventually, fault, host, wire};
use rustix::process::Signal;

use super::{
    crash_host, make_fragile, metric, next_worker, strict, try_get, try_status, wait_ends, warning,
};

/// Generation 2 was withdrawn for `how`, and everybody is told: status, history, log, counters.
#[track_caller]
fn check_withdrawn(host: &Host, how: &str) {
    eventually!(try_get(host, "/").is_some_and(|it| it == "v1"), "v1 again\n{}", host.log_end());
    let mut status = None;
    eventually!(
        {
            status = try_status(host);
            status.is_some()
        },
        "a status"
    );
    let status = status.unwrap();
    let text = warning(&status, "handler");
    assert!(text.contains("generation 2 (v2) was withdrawn"), "{text:?}");
    assert!(text.contains(how), "{text:?}");
    assert_eq!(wire::active(&status, "handler"), Some(3), "a number of its own");
    let history = host.control().history();
    let entry = &history[0];
    assert_eq!(
        (wire::text(entry, "/verb"), wire::text(entry, "/source")),
        ("withdraw".to_owned(), "crash".to_owned())
    );
    assert_eq!((wire::number(entry, "/generation"), wire::number(entry, "/from")), (3, 1));
    assert!(wire::text(entry, "/text").contains(&text), "{entry}");
    host.assert_logged("generation 2 (v2) was withdrawn");
    assert_eq!(
        metric(host, "hotseat_orders_total{verb=\"withdraw\",outcome=\"rolled_back\"}"),
        1.0
    );
    assert!(metric(host, "hotseat_worker_crashes_total") >= 1.0);
}

/// Two seconds after its swap a version takes the process down: the one before serves again, also
/// after a restart.
#[test]
fn a_version_that_crashes_after_its_swap_is_withdrawn() {
    let config = "[plugin.handler]\nafter_ms = 2000\nhow = \"segv\"\n";
    let mut host = strict().config(config).with(fault("plain_v1"), "libhandler_v1.so").start();
    let before = host.worker_pid();
    assert_eq!(host.deploy(&fault("crash"), "libhandler_v2.so").swapped().generation, 2);
    host.wait_ended(before);
    check_withdrawn(&host, "SIGSEGV");
    assert_eq!(metric(&host, "hotseat_worker_crashes_total"), 1.0);
    host.restart();
    host.get("/").assert_contains("v1");
    assert_eq!(host.active("handler"), 3);
    // It can still be had by whoever wants it.
    host.deploy(&fault("plain_v2"), "libhandler_v4.so").swapped();
    assert_eq!(warning(&host.status(), "handler"), "", "until the next commit");
}

/// Within a request, in every way in which code ends its process.
#[test]
fn a_crash_within_a_request_is_blamed() {
    for (how, signal) in [("segv", "SIGSEGV"), ("abort", "SIGABRT"), ("stack", "SIGABRT")] {
        let host = crash_host();
        assert_eq!(try_get(&host, &format!("/crash?how={how}")), None);
        check_withdrawn(&host, signal);
    }
}

/// On a thread that the plugin has started itself.
#[test]
fn a_crash_on_a_thread_of_the_plugins_own_is_blamed() {
    for (how, signal) in [("segv", "SIGSEGV"), ("abort", "SIGABRT")] {
        let host = crash_host();
        host.get(&format!("/crash?how={how}&after=0.05")).assert_status(200);
        check_withdrawn(&host, signal);
    }
}

/// By default a version has three attempts; requests in between are served by it.
#[test]
fn a_version_is_withdrawn_after_its_third_crash() {
    let host = host!().with(fault("plain_v1"), "libhandler_v1.so").start();
    host.deploy(&fault("crash"), "libhandler_v2.so").swapped();
    let mut worker = host.worker_pid();
    for _ in 0..2 {
        assert_eq!(try_get(&host, "/crash?how=segv"), None);
        worker = next_worker(&host, worker);
        host.get("/").assert_contains("crash");
        assert_eq!(host.active("handler"), 2, "the number that it had");
    }
    assert_eq!(try_get(&host, "/crash?how=segv"), None);
    check_withdrawn(&host, "3 times");
    assert_eq!(metric(&host, "hotseat_worker_crashes_total"), 3.0);
}

/// Of two plugins the one that crashed goes; one without a version before it serves nothing, and
/// the host lives.
#[test]
fn a_plugin_without_a_version_before_goes_alone() {
    let builder = strict().arg("--mount=/=handler").arg("--mount=/c=crash");
    let host = builder.with(fault("plain_v1"), "libhandler_v1.so").start();
    let generation = host.deploy(&fault("crash"), "libcrash_v1.so").swapped().generation;
    let worker = host.worker_pid();
    assert_eq!(try_get(&host, "/c/crash?how=segv"), None);
    next_worker(&host, worker);
    host.get("/").assert_status(200).assert_contains("v1");
    host.get("/c/").assert_status(503);
    let status = host.status();
    assert_eq!((wire::active(&status, "handler"), wire::active(&status, "crash")), (Some(1), None));
    let text = warning(&status, "crash");
    assert!(text.contains(&format!("generation {generation} (v1) was withdrawn")), "{text:?}");
    host.deploy(&fault("plain_v2"), "libcrash_v2.so").swapped();
    host.get("/c/").assert_status(200).assert_contains("v2");
}

/// A child that the plugin forks has the handlers and the page of its worker; what it dies of is
/// nobody's fault, whatever the worker dies of later.
#[test]
fn the_fault_of_a_forked_child_blames_nobody() {
    let host = crash_host();
    let worker = host.worker_pid();
    host.get("/crash?how=fork").assert_status(200).assert_contains("crash");
    assert_eq!(host.worker_pid(), worker, "it lives on");
    host.signal_process(worker, Signal::KILL);
    next_worker(&host, worker);
    assert_eq!(host.active("handler"), 2, "{}", host.log_end());
    assert_eq!(warning(&host.status(), "handler"), "");
}

/// Whatever signal somebody sends to a worker: neither a plugin nor the binary is blamed.
#[test]
fn a_kill_from_outside_blames_nobody() {
    let host = strict().arg("--soak-time=0s").with(fault("whoami"), "libhandler_v1.so").start();
    host.deploy_bytes(&super::other("whoami", 2), "libhandler_v2.so").swapped();
    // So that there is something to go back to.
    host.upgrade(&["--wait"]).assert_code(0);
    let load = host.traffic("/?sleep=0.01");
    for signal in [Signal::KILL, Signal::ABORT, Signal::SEGV, Signal::BUS, Signal::KILL] {
        let worker = host.worker_pid();
        host.signal_process(worker, signal);
        next_worker(&host, worker);
    }
    drop(load);
    let status = host.status();
    assert_eq!(wire::active(&status, "handler"), Some(2));
    assert_eq!(warning(&status, "handler"), "");
    assert!(!host.home().read_log().contains("to blame"), "{}", host.log_end());
    assert_eq!(metric(&host, "hotseat_worker_crashes_total"), 5.0);
}

/// A worker that dies before it has taken the version out does not make anybody forget it.
#[test]
fn a_withdrawal_outlives_workers_that_do_not_come_up() {
    let host = strict().arg("--soak-time=0s").with(fault("plain_v1"), "libhandler_v1.so").start();
    let flag = make_fragile(&host);
    host.deploy(&fault("crash"), "libhandler_v2.so").swapped();
    std::fs::write(&flag, b"").unwrap();
    assert_eq!(try_get(&host, "/crash?how=segv"), None);
    wait_ends(&host, 3);
    std::fs::remove_file(&flag).unwrap();
    check_withdrawn(&host, "SIGSEGV");
}
