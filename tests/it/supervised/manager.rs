//! What a service manager hears over `NOTIFY_SOCKET`. # Source: sd_notify(3), systemd.service(5).

use super::*;

/// The clock of `MONOTONIC_USEC`. Units: microseconds.
fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap() * 1_000_000 + u64::try_from(now.tv_nsec).unwrap() / 1000
}

/// Reads on from `place`: `RELOADING=1` with the time of this reload, then `READY=1` with a status
/// that says `text`. The place behind it.
#[track_caller]
fn reload(manager: &Notify, place: usize, since: u64, text: &str) -> usize {
    let (place, message) = manager.wait_from(place, "RELOADING=1");
    let told: u64 = message.value("MONOTONIC_USEC").unwrap().parse().unwrap();
    assert!((since..=monotonic()).contains(&told), "{told} is after {since}");
    let mut ready = place;
    loop {
        let (next, message) = manager.wait_from(ready, "READY=1");
        let status = message.value("STATUS").unwrap_or_default().to_owned();
        assert!(!message.says("STOPPING=1"));
        if status.contains(text) {
            return next;
        }
        ready = next;
    }
}

/// Ready, reloading and ready again, whether the upgrade is good, fails or is refused, and stopping
/// once at the end. Only the master speaks.
#[test]
fn a_service_manager_hears_how_it_goes() {
    let manager = Notify::new();
    let flag = host!();
    let veto = flag.home().path().join("veto");
    let builder = whoami(quick(flag)).notify(&manager);
    // Vetoes while the file is there.
    let builder = builder.arg(format!("--hook=pre_hup=/usr/bin/test ! -e {}", veto.display()));
    let mut host = builder.start();
    let (place, message) = manager.wait_from(0, "READY=1");
    assert_eq!(message.value("STATUS"), Some("worker 1 serves"));
    assert!(manager.texts()[..place - 1].iter().all(|text| !text.contains("READY=1")));

    let since = monotonic();
    host.hup();
    let place = reload(&manager, place, since, "worker 2 (pid");

    std::fs::write(&veto, "").unwrap();
    let since = monotonic();
    host.hup();
    let place = reload(&manager, place, since, "vetoed by a hook");
    std::fs::remove_file(&veto).unwrap();

    host.signal(Signal::TERM);
    let (_, message) = manager.wait_from(place, "STOPPING=1");
    let limit: u64 = message.value("EXTEND_TIMEOUT_USEC").unwrap().parse().unwrap();
    assert!(limit > 30_000_000, "longer than `stop_time`: {limit}");
    assert_eq!(host.wait_exit().code(), Some(0), "{}", host.log_end());
    assert_eq!((manager.said("STOPPING=1"), manager.said("RELOADING=1")), (1, 2));
    let last = manager.messages().into_iter().rev().find(|it| !it.text.starts_with("STATUS="));
    assert!(last.unwrap().says("STOPPING=1"), "nothing is ready after it: {:?}", manager.texts());
    manager.assert_only_from(host.pid());
}

/// A reload that is refused has an end too: `systemctl reload` must not wait for ever.
#[test]
fn a_refused_reload_has_an_end() {
    let manager = Notify::new();
    let builder = quick(host!()).arg("--draining-count=1").arg("--upgrade-drain=1min");
    let host = builder.with(fault("gate"), "libhandler_v1.so").notify(&manager).start();
    let held = host.hold("/");
    host.upgrade(&["--wait"]).assert_code(0);
    host.wait_role("draining");
    let (place, since) = (manager.count(), monotonic());
    host.hup();
    reload(&manager, place, since, "1 workers are draining already");
    held.release().assert_status(200);
}

/// A worker that dies and comes back: the manager hears nothing that would make it act.
#[test]
fn a_crash_is_no_reload() {
    let manager = Notify::new();
    let host = whoami(host!()).notify(&manager).start();
    let (place, _) = manager.wait_from(0, "READY=1");
    let before = host.worker_pid();
    host.signal_process(before, Signal::KILL);
    host.wait_other_worker(before);
    manager.wait_from(place, "STATUS=worker 2 serves");
    assert_eq!((manager.said("RELOADING=1"), manager.said("STOPPING=1")), (0, 0));
    manager.assert_only_from(host.pid());
    assert_private(&variables(host.worker_pid()));
}

/// A manager that takes nothing of what it is told holds up nobody.
#[test]
fn a_manager_that_does_not_listen_stops_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deaf");
    let deaf = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    let mut host = whoami(quick(host!())).env("NOTIFY_SOCKET", &path).start();
    // Each says more than once what goes on; the socket takes a dozen lines.
    for _ in 0..8 {
        host.upgrade(&["--wait"]).assert_code(0);
    }
    host.get("/").assert_status(200);
    assert_eq!(host.stop().code(), Some(0));
    drop(deaf);
}
