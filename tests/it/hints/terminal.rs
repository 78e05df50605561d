//! A host that was started in a terminal outlives it, and is upgraded by nobody but its operator.

use hotseat_test_support::{Host, eventually, fault, host, tool_or_skip};
use rustix::process::{Pid, Signal, kill_process};

/// The host is the terminal's first process.
const ALONE: &str = "exec \"$@\" 2>>host.log";
/// A shell is, which passes its HUP on to its job, as interactive ones do.
const JOB: &str = "set -m; \"$@\" 2>>host.log & trap \"kill -HUP $!\" HUP; wait $!; wait $!";

/// The host itself, which is not the child that the test has started.
#[track_caller]
fn master(host: &Host) -> Pid {
    let pid = host.processes().into_iter().find(|it| it.role == "master").unwrap().pid;
    i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap()
}

#[track_caller]
fn outlives_its_terminal(shell: &str) {
    if tool_or_skip("script", "bsdutils").is_none() || tool_or_skip("bash", "bash").is_none() {
        return;
    }
    let builder = host!().arg("--soak-time=100ms").with(fault("plain_v1"), "libhandler_v1.so");
    builder.home().write("shell", shell.as_bytes());
    let in_terminal = "exec script -qfc \"exec bash shell $*\" /dev/null";
    let mut host = builder.through(&["sh", "-c", in_terminal, "sh"]).start();
    let (pid, worker) = (master(&host), host.worker_pid());
    // The terminal closes.
    host.signal(Signal::KILL);
    host.wait_exit();
    eventually!(host.home().read_log().contains("the terminal has gone"), "it hears of that");
    assert!(host.status()["upgrade"].is_null(), "{}", host.log_end());
    assert_eq!(host.worker_pid(), worker, "nothing else changes");
    host.get("/").assert_status(200);
    kill_process(pid, Signal::HUP).unwrap();
    eventually!(host.status()["upgrade"]["verdict"] == "committed", "an operator's HUP upgrades");
    assert_ne!(host.worker_pid(), worker);
    kill_process(pid, Signal::TERM).unwrap();
    eventually!(rustix::process::test_kill_process(pid).is_err(), "its end");
}

#[test]
fn a_host_outlives_the_terminal_that_it_was_started_in() {
    outlives_its_terminal(ALONE);
}

#[test]
fn a_job_outlives_the_shell_that_passes_its_hup_on() {
    outlives_its_terminal(JOB);
}

/// As with nohup: whoever starts it ignores HUP, and its operator means it all the same.
#[test]
fn an_operators_hup_counts_where_it_was_ignored_at_the_start() {
    let builder = host!().arg("--soak-time=100ms").with(fault("plain_v1"), "libhandler_v1.so");
    let host = builder.through(&["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"]).start();
    host.signal(Signal::HUP);
    eventually!(host.status()["upgrade"]["verdict"] == "committed", "{}", host.log_end());
}
