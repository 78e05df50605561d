//! supervisord and process 1: the process id that they know stays, and nothing dead piles up.

use super::*;

/// Upgrades in a row.
const UPGRADES: u64 = 10;

fn zombies(pid: u32) -> usize {
    procfs::children(pid).into_iter().filter(|it| procfs::state(*it) == Some('Z')).count()
}

/// supervisord sees one process, running, over ten upgrades, and stops it in good order.
#[test]
fn supervisord_sees_one_process() {
    let builder = quick(host!());
    builder.home().drop_in(&fault("whoami"), "libhandler_v1.so");
    let Some(supervisor) = supervise::Supervisord::start(&builder, 30) else { return };
    eventually!(supervisor.status().contains("RUNNING"), "{}", supervisor.status());
    let pid = supervisor.host_pid().unwrap();
    let serving = || {
        let status = supervisor.host_status();
        let list = status["processes"].as_array().cloned().unwrap_or_default();
        list.iter().find(|it| it["role"] == "serving").and_then(|it| it["number"].as_u64())
    };
    for number in 2..=UPGRADES + 1 {
        supervisor.ctl(&["signal", "HUP", "hotseat"]);
        eventually!(serving() == Some(number), "worker {number}, not {:?}", serving());
        assert_eq!(supervisor.host_pid(), Some(pid));
    }
    assert!(supervisor.status().contains("RUNNING"), "{}", supervisor.status());
    eventually!(procfs::children(pid).len() == 1, "one worker and no zombie is left");
    assert!(supervisor.ctl(&["stop", "hotseat"]).contains("stopped"));
    let log = std::fs::read_to_string(builder.home().path().join("supervisord.log")).unwrap();
    assert!(log.contains("exit status 0"), "{log}");
    assert!(!log.contains("unexpected"), "{log}");
    assert_eq!(procfs::state(pid), None);
}

/// As process 1 of a container: ten upgrades, orphans of others are waited for, and it stops.
#[test]
fn process_one_waits_for_orphans() {
    let builder = whoami(quick(host!()));
    // It leaves a child behind.
    let hook = builder.home().write("hook", b"#!/bin/sh\ntail -f /dev/null >/dev/null 2>&1 &\n");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&hook, executable).unwrap();
    let builder = builder.arg(format!("--hook=pre_usr1={}", hook.display()));
    let Some(builder) = supervise::as_process_one(builder) else { return };
    let mut host = builder.start();
    let master = supervise::outer_pid(&host);
    assert!(host.ready().line.ends_with(" pid 1"), "{:?}", host.ready());
    for _ in 0..UPGRADES {
        host.upgrade(&["--wait"]).assert_code(0);
    }
    eventually!(procfs::children(master).len() == 1, "one worker and no zombie is left");
    assert_eq!(host.wait_role("serving").number, UPGRADES + 1);
    assert_eq!(supervise::outer_pid(&host), master);
    host.signal_process(master, Signal::USR1);
    let is_tail = |pid: &u32| {
        std::fs::read_link(format!("/proc/{pid}/exe"))
            .is_ok_and(|it| it.ends_with(Path::new("tail")))
    };
    let orphan = || procfs::children(master).into_iter().find(is_tail);
    eventually!(orphan().is_some(), "an orphan");
    let orphan = orphan().unwrap();
    host.signal_process(orphan, Signal::KILL);
    host.wait_gone(orphan);
    assert_eq!(zombies(master), 0);
    host.get("/").assert_status(200);
    host.signal_process(master, Signal::TERM);
    assert_eq!(host.wait_exit().code(), Some(0), "{}", host.log_end());
}
