//! What signals mean to the host, whichever of its processes they reach.

use std::time::{Duration, Instant};

use hotseat_test_support::{Connection, Host, eventually, fault, host, procfs};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::hooks::{calls, quick, with_hooks};

mod closing;
mod lame;
mod stages;

/// A host that can be signalled as a process group, like one that was started in a terminal.
fn in_a_group(builder: hotseat_test_support::Builder) -> Host {
    builder.through(&["setsid"]).start()
}

fn signal_group(host: &Host, signal: Signal) {
    let pid = i32::try_from(host.pid()).ok().and_then(Pid::from_raw).unwrap();
    kill_process_group(pid, signal).unwrap();
}

/// Sends a signal to every process of the host, as `systemctl kill` does.
fn signal_all(host: &Host, signal: Signal) {
    for process in host.processes().into_iter().rev() {
        host.signal_process(process.pid, signal);
    }
}

fn log_says(host: &Host, text: &str) {
    eventually!(host.home().read_log().contains(text), "`{text}` in\n{}", host.log_end());
}

/// HUP to the process that answers requests upgrades the host, as HUP to the master does.
#[test]
fn hup_to_a_worker_upgrades_the_host() {
    let host = quick(host!()).with(fault("whoami"), "libhandler_v1.so").start();
    let before = host.worker_pid();
    host.signal_process(before, Signal::HUP);
    let after = host.wait_other_worker(before);
    host.wait_gone(before);
    assert_eq!(host.get("/").header("x-pid"), Some(after.to_string().as_str()));
    assert_eq!(host.wait_role("serving").number, 2);
}

/// TERM to the process that answers requests stops the host.
#[test]
fn term_to_a_worker_stops_the_host() {
    let mut host = quick(host!()).with(fault("gate"), "libhandler_v1.so").start();
    let held = host.hold("/");
    let data = host.data();
    host.signal_process(host.worker_pid(), Signal::TERM);
    eventually!(Connection::open(data).is_err(), "no new connection is accepted");
    held.release().assert_status(200);
    assert_eq!(host.wait_exit().code(), Some(0), "{}", host.log_end());
}

/// A signal to all processes at once is one signal: one upgrade, one call of each hook.
#[test]
fn a_signal_to_all_processes_counts_once() {
    let hooks = [("pre_hup", "hup"), ("pre_usr1", "usr1"), ("pre_usr2", "usr2")];
    let builder = quick(host!()).arg("--log=debug").with(fault("gate"), "libhandler_v1.so");
    let host = with_hooks(builder, &hooks).start();
    let copies = || host.home().read_log().matches("a copy of a signal").count();
    // A second worker, which drains.
    let held = host.hold("/");
    host.upgrade(&["--wait"]).assert_code(0);
    host.wait_role("draining");
    let mut want = vec!["hup"];
    for (signal, name) in [(Signal::USR1, "usr1"), (Signal::HUP, "hup"), (Signal::USR2, "usr2")] {
        let before = copies();
        signal_all(&host, signal);
        want.push(name);
        eventually!(copies() == before + 2, "two workers have passed it on: {}", host.log_end());
        eventually!(calls(&host).len() >= want.len(), "{:?}", calls(&host));
        if name == "hup" {
            eventually!(host.wait_role("serving").number == 3, "{:?}", host.processes());
            // The one before has nothing to finish: the first one and the third are left.
            eventually!(host.processes().len() == 3, "{:?}", host.processes());
        }
    }
    assert_eq!(calls(&host), want);
    // One that had been waiting would have come before this one.
    host.upgrade(&["--wait"]).assert_code(0);
    assert_eq!(host.wait_role("serving").number, 4);
    drop(held);
}

/// Ctrl-C in a terminal, and TERM to everybody: what is in flight is finished. What workers pass
/// on never makes it a second signal, however late it comes.
#[test]
fn a_stop_of_all_processes_counts_once() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut host = in_a_group(host!().with(fault("gate"), "libhandler_v1.so"));
        let held = host.hold("/");
        let worker = host.worker_pid();
        let first = Instant::now();
        if signal == Signal::INT {
            signal_group(&host, signal);
        } else {
            signal_all(&host, signal);
        }
        log_says(&host, "stopping: finishing what is in flight");
        // Late enough to be a second one.
        eventually!(first.elapsed() > Duration::from_millis(1100));
        host.signal_process(worker, signal);
        let copies = || host.home().read_log().matches("counts as a copy").count();
        let want = if signal == Signal::INT { 1 } else { 2 };
        eventually!(copies() >= want, "it was passed on: {}", host.log_end());
        held.release().assert_status(200);
        assert_eq!(host.wait_exit().code(), Some(0), "{}", host.log_end());
    }
}

/// Ctrl-Z stops the master as it stops any program; the worker serves on, and what was asked for
/// meanwhile is done when the master goes on.
#[test]
fn ctrl_z_stops_the_master() {
    let host = in_a_group(quick(host!()).with(fault("whoami"), "libhandler_v1.so"));
    let before = host.worker_pid();
    signal_group(&host, Signal::TSTP);
    eventually!(procfs::state(host.pid()) == Some('T'), "the master is stopped");
    host.get("/").assert_status(200);
    host.hup();
    assert_eq!(procfs::state(host.pid()), Some('T'));
    signal_group(&host, Signal::CONT);
    host.wait_other_worker(before);
    host.wait_gone(before);
    host.get("/").assert_status(200);
}

/// A host that stops is not upgraded, however it is asked.
#[test]
fn a_stopping_host_is_not_upgraded() {
    let mut host = crate::gate_host();
    let held = host.hold("/");
    let worker = host.worker_pid();
    let mut events = host.events();
    host.signal(Signal::TERM);
    events.wait_phase("stopping");
    host.hup();
    log_says(&host, "HUP: ignored, the host is stopping");
    host.upgrade(&["--wait"]).assert_code(1).assert_says("stopping");
    let workers: Vec<_> = host.processes().iter().skip(1).map(|it| it.pid).collect();
    assert_eq!(workers, [worker]);
    held.release().assert_status(200);
    assert_eq!(host.wait_exit().code(), Some(0), "{}", host.log_end());
}

/// Nothing drains and nothing is hooked: USR1 and USR2 change nothing.
#[test]
fn other_signals_change_nothing() {
    let host = crate::plain_host();
    let worker = host.worker_pid();
    host.signal(Signal::USR1);
    host.signal(Signal::USR2);
    log_says(&host, "USR2: ending what drains");
    host.get("/").assert_status(200).assert_contains("v1");
    assert_eq!(host.processes().len(), 2, "the master and its worker");
    assert_eq!(host.worker_pid(), worker);
}

/// A host in one process says that it cannot be upgraded, and serves on.
#[test]
fn a_single_process_refuses_upgrades() {
    let mut host = host!().arg("--single").with(fault("plain_v1"), "libhandler_v1.so").start();
    host.hup();
    log_says(&host, "HUP: refused, a host in a single process cannot be upgraded");
    host.upgrade(&["--wait"]).assert_code(1).assert_says("--single");
    for (signal, name) in [(Signal::USR1, "USR1"), (Signal::USR2, "USR2")] {
        host.signal(signal);
        log_says(&host, &format!("{name}: nothing is done without a master"));
    }
    assert!(procfs::children(host.pid()).is_empty());
    host.get("/").assert_status(200).assert_contains("v1");
    assert_eq!(host.stop().code(), Some(0), "{}", host.log_end());
}
