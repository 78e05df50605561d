//! What is said: the last words of a process, what plugins print, failures that repeat.

use hotseat_test_support::{Host, eventually, fault, host};

use crate::{
    crash::{next_worker, try_get},
    hooks::quick,
};

#[track_caller]
fn count(host: &Host, what: &str) -> usize {
    host.home().read_log().matches(what).count()
}

/// What a plugin logs and prints right before it ends its process is in the log.
#[test]
fn the_last_words_of_a_worker_are_heard() {
    let host = host!().with(fault("prints"), "libhandler_v1.so").start();
    let before = host.worker_pid();
    assert_eq!(try_get(&host, "/die"), None, "it dies");
    next_worker(&host, before);
    assert_eq!(count(&host, "last word"), 101, "{}", host.log_end());
    assert_eq!(count(&host, "the very last word\n"), 1);
}

/// The same without a master, which could pick up what is left.
#[test]
fn the_last_words_of_a_host_are_heard() {
    let mut host = host!().arg("--single").with(fault("prints"), "libhandler_v1.so").start();
    assert_eq!(try_get(&host, "/die"), None, "it dies");
    host.wait_exit();
    assert_eq!(count(&host, "last word"), 101, "{}", host.log_end());
    assert_eq!(count(&host, "the very last word\n"), 1);
}

/// Lines that were written before the end of a host are there after it.
#[test]
fn a_stop_writes_everything() {
    let mut host = quick(host!()).with(fault("prints"), "libhandler_v1.so").start();
    let mut connection = host.connect();
    for _ in 0..500 {
        connection.get("/log").unwrap().assert_status(200);
    }
    host.get("/err?100").assert_status(200);
    host.stop();
    assert_eq!(count(&host, "logged by a plugin"), 500);
    assert_eq!(count(&host, "printed by a plugin.\n"), 1600);
}

/// A plugin's standard output is the log as well: the host's own carries the ready line alone.
#[test]
fn what_a_plugin_prints_is_in_the_log() {
    let host = host!().with(fault("prints"), "libhandler_v1.so").start();
    for (number, target) in (1..).zip(["/out", "/err", "/raw"]) {
        host.get(target).assert_status(200);
        eventually!(count(&host, "printed by a plugin.\n") == number, "{target}");
    }
}

/// Of a failure that repeats the first ones are written, and then how often it was.
#[test]
fn failures_that_repeat_are_counted() {
    let host = host!().arg("--log-repeat-count=3").arg("--log-repeat-time=500ms");
    let host = host.with(fault("prints"), "libhandler_v1.so").start();
    let mut connection = host.connect();
    for _ in 0..100 {
        connection.get("/panic").unwrap().assert_status(500);
    }
    let told = || -> usize {
        let log = host.home().read_log();
        let lines = log.lines().filter(|line| line.contains("not written one by one"));
        let more = lines.filter_map(|line| {
            line.contains("a call ended").then_some(())?;
            line.split("more=").nth(1)?.split_whitespace().next()?.parse::<usize>().ok()
        });
        more.sum::<usize>() + log.matches("WARN").count() - log.matches("more=").count()
    };
    eventually!(told() == 100, "{} of a hundred\n{}", told(), host.log_end());
    assert!(count(&host, "a call ended without an answer") < 60);
}
