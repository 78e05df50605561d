//! Commands: their order, their surroundings, their limits, and what their failure means.

use super::*;

/// Those before run one after the other and see the worker that serves; those after see the one
/// that has taken over. None runs twice.
#[test]
fn commands_run_before_and_after_an_upgrade() {
    let hooks = [("pre_hup", "one"), ("post_hup", "three"), ("pre_hup", "two"), ("pre_usr1", "x")];
    let host = with_hooks(whoami(quick(host!())), &hooks).start();
    let before = host.worker_pid();
    host.upgrade(&["--wait"]).assert_code(0);
    let after = host.worker_pid();
    eventually!(calls(&host).len() >= 3, "{:?}", calls(&host));
    // One more, so that a call too many of the first would be seen.
    host.hup();
    eventually!(calls(&host).len() >= 6, "{:?}", calls(&host));
    let want = ["one", "two", "three", "one", "two", "three"];
    assert_eq!(calls(&host), want, "{}", host.log_end());
    let master = host.pid().to_string();
    let line = |phase: &str, name: &str, pid: u32, number: &str| {
        [phase, "HUP", name, &master, &pid.to_string(), number].map(str::to_owned).to_vec()
    };
    let want = [
        line("pre", "one", before, "1"),
        line("pre", "two", before, "1"),
        line("post", "three", after, "2"),
    ];
    assert_eq!(lines(&host)[..3], want);
}

/// A failure before an upgrade is a veto, with its reason; the commands after it run all the same.
#[test]
fn a_failing_command_vetoes_an_upgrade() {
    let hooks = [("pre_hup", "one"), ("pre_hup", "bad fail"), ("post_hup", "after")];
    let host = with_hooks(whoami(quick(host!())), &hooks).start();
    let before = host.worker_pid();
    let upgrade = host.upgrade(&["--wait"]);
    upgrade.assert_code(3).assert_says("vetoed by a hook").assert_says("no, says bad");
    upgrade.assert_says("exit code 7");
    eventually!(calls(&host).len() >= 3, "{:?}", calls(&host));
    assert_eq!(calls(&host), ["one", "bad", "after"]);
    assert_eq!(host.worker_pid(), before);
    assert_eq!(lines(&host)[2][4], before.to_string(), "the worker that goes on");
    host.get("/").assert_status(200);
}

/// A command that cannot be started is a veto too.
#[test]
fn a_missing_command_vetoes_an_upgrade() {
    let host = whoami(quick(host!())).arg("--hook=pre_hup=/no/such/program").start();
    let upgrade = host.upgrade(&["--wait"]);
    upgrade.assert_code(3).assert_says("vetoed by a hook").assert_says("/no/such/program");
    assert_eq!(host.processes().len(), 2, "the master and the worker of before");
}

/// A command that does not end is ended, with everything that it has started.
#[test]
fn a_hanging_command_is_killed() {
    let hooks = [("pre_hup", "stuck hang"), ("pre_hup", "next")];
    let host = with_hooks(whoami(quick(host!())), &hooks).arg("--hook-time=300ms").start();
    let upgrade = host.begin_upgrade(&["--wait"]);
    eventually!(!calls(&host).is_empty(), "the first call");
    let upgrade = upgrade.wait();
    upgrade.assert_code(3).assert_says("vetoed by a hook").assert_says("did not end within 300ms");
    eventually!(procfs::children(host.pid()).len() == 1, "only the worker is left");
    assert_eq!(calls(&host), ["stuck", "next"]);
    host.get("/").assert_status(200);
}

/// Only HUP can be vetoed: a stop goes on after a failure, and after a limit.
#[test]
fn a_stop_cannot_be_vetoed() {
    let hooks = [("pre_term", "bad fail"), ("pre_term", "stuck hang"), ("post_term", "end")];
    let mut host = with_hooks(whoami(host!()), &hooks).arg("--hook-time=200ms").start();
    assert_eq!(host.stop().code(), Some(0), "{}", host.log_end());
    assert_eq!(calls(&host), ["bad", "stuck", "end"]);
    assert_eq!(lines(&host)[2][3..], [host.pid().to_string(), "none".into(), "none".into()]);
}

/// While the commands before a stop run, everything is served.
#[test]
fn a_host_serves_while_commands_run() {
    let hooks = [("pre_term", "stuck hang")];
    let mut host = with_hooks(whoami(host!()), &hooks).arg("--hook-time=1min").start();
    host.signal(Signal::TERM);
    eventually!(calls(&host) == ["stuck"], "the call");
    host.get("/").assert_status(200);
    host.control().get("/readyz").assert_status(200);
    let hook = procfs::children(host.pid());
    let hook = hook.into_iter().find(|pid| *pid != host.worker_pid()).unwrap();
    host.signal_process(hook, Signal::KILL);
    assert_eq!(host.wait_exit().code(), Some(0), "{}", host.log_end());
}

/// USR1 and TSTP do nothing but what hooks say, the commands before first.
#[test]
fn some_signals_are_for_commands_alone() {
    let hooks = [
        ("post_usr1", "usr1-after"),
        ("pre_usr1", "usr1-before fail"),
        ("post_tstp", "tstp-after"),
        ("pre_tstp", "tstp-before"),
    ];
    let host = with_hooks(whoami(quick(host!())), &hooks).start();
    let worker = host.worker_pid();
    for (signal, count) in [(Signal::USR1, 2), (Signal::TSTP, 4)] {
        host.signal(signal);
        eventually!(calls(&host).len() >= count, "{:?}", calls(&host));
    }
    assert_eq!(calls(&host), ["usr1-before", "usr1-after", "tstp-before", "tstp-after"]);
    assert_ne!(procfs::state(host.pid()), Some('T'), "it is not stopped");
    assert_eq!(host.worker_pid(), worker);
    host.get("/").assert_status(200);
}

/// USR2 ends what drains after the commands before it, and before those after it.
#[test]
fn commands_run_around_usr2() {
    let hooks = [("pre_usr2", "before hang"), ("post_usr2", "after")];
    let builder = quick(host!()).arg("--upgrade-drain=1min").arg("--hook-time=1min");
    let builder = builder.with(fault("gate"), "libhandler_v1.so");
    let host = with_hooks(builder, &hooks).start();
    let before = host.worker_pid();
    let (_connection, waiting) = host.hold("/").into_parts();
    host.upgrade(&["--wait"]).assert_code(0);
    assert_eq!(host.wait_role("draining").pid, before);
    host.signal(Signal::USR2);
    eventually!(calls(&host) == ["before"], "the call");
    let workers: Vec<u32> = host.processes().iter().map(|it| it.pid).collect();
    let hook = procfs::children(host.pid()).into_iter().find(|pid| !workers.contains(pid));
    assert_eq!(host.wait_role("draining").pid, before, "it is left alone until then");
    host.signal_process(hook.unwrap(), Signal::KILL);
    waiting.wait_dropped();
    host.wait_gone(before);
    eventually!(calls(&host) == ["before", "after"], "{:?}", calls(&host));
}
