//! What belongs to the whole process, and a plugin changes: the host's own work goes on as before.
//!
//! One table: each thing that the `changes_process` plugin can change, and all that the host does by
//! itself afterwards.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use hotseat_test_support::{Host, eventually, fault, host};
use rustix::process::{Pid, Signal, kill_process};

/// Whose numbers the next descriptors get that are opened.
const STREAMS: [&str; 3] = ["input", "output", "error"];

#[track_caller]
fn change(host: &Host, what: &str) {
    if STREAMS.contains(&what) {
        // Once: the number is somebody else's afterwards.
        host.get(&format!("/changes/{what}")).assert_status(200);
        return;
    }
    for _ in 0..host.status()["cores"].as_array().map_or(1, Vec::len) {
        host.get(&format!("/changes/{what}")).assert_status(200);
    }
    host.get(&format!("/changes/thread/{what}")).assert_status(200);
}

/// Every file of the state is this account's alone, and can be read by it.
#[track_caller]
fn check_modes(host: &Host, what: &str) {
    let mut folders = vec![host.home().state()];
    while let Some(folder) = folders.pop() {
        let mode = |path: &Path| fs::metadata(path).map(|it| it.permissions().mode() & 0o7777);
        assert_eq!(mode(&folder).unwrap(), 0o700, "{what}: {}", folder.display());
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let wanted = if name.to_string_lossy().ends_with(".so") { 0o400 } else { 0o600 };
            // What is gone meanwhile has no mode.
            let Ok(found) = mode(&path) else { continue };
            assert_eq!(found, wanted, "{what}: {}", path.display());
        }
    }
}

/// A worker serves `text` again that is not `before`.
#[track_caller]
fn serves_again(host: &Host, before: u32, text: &str, what: &str) {
    eventually!(
        host.processes().iter().any(|it| it.role == "serving" && it.pid != before),
        "{what}"
    );
    eventually!(host.connect().get("/").is_ok_and(|it| it.text() == text), "{what}: `{text}`");
}

#[track_caller]
fn goes_on_after(what: &str) {
    let builder = host!().relative().arg("--soak-time=100ms").arg("--rescan=200ms");
    let mut host = builder.with(fault("changes_process"), "libchanges_v1.so").start();
    change(&host, what);
    host.deploy(&fault("plain_v1"), "libhandler_v1.so").swapped();
    assert_eq!(host.get("/").text(), "v1", "{what}");
    let here = host.home().path().display().to_string();
    let hint = host.control().deploy("./none.so").refused().hint;
    assert!(hint.contains(&here), "{what}: {hint}");
    host.home().drop_in(&fault("plain_v2"), "libhandler_v2.so");
    eventually!(host.connect().get("/").is_ok_and(|it| it.text() == "v2"), "{what}: a file");
    check_modes(&host, what);
    let pid = host.worker_pid();
    host.upgrade(&["--wait"]).assert_code(0);
    serves_again(&host, pid, "v2", what);
    change(&host, what);
    let pid = host.worker_pid();
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap();
    kill_process(raw, Signal::KILL).unwrap();
    serves_again(&host, pid, "v2", what);
    change(&host, what);
    host.deploy(&fault("plain_v1"), "libhandler_v1.so").swapped();
    check_modes(&host, what);
    assert!(host.stop().success(), "{what}\n{}", host.log_end());
}

#[test]
fn where_and_how_files_are_made_is_the_hosts() {
    ["nothing", "folder", "umask"].into_iter().for_each(goes_on_after);
}

#[test]
fn signals_do_what_they_did() {
    ["mask", "pipe", "child", "stop", "alarm", "death"].into_iter().for_each(goes_on_after);
}

/// A plugin that ignores its children does not take from the host how a candidate has ended; one
/// that waits for all of them does, and is named as the cause.
#[test]
fn how_a_candidate_ended_is_known_or_said_not_to_be() {
    let host = host!().with(fault("changes_process"), "libchanges_v1.so").start();
    change(&host, "child");
    let refused = host.deploy(&fault("new_aborts"), "libbad_v1.so").refused();
    assert_eq!(refused.code, "preflight_crashed", "{refused:?}");
    change(&host, "reap");
    let refused = host.deploy(&fault("new_aborts"), "libbad_v1.so").refused();
    if refused.code != "preflight_crashed" {
        assert_eq!(refused.code, "preflight_no_verdict", "{refused:?}");
        assert!(refused.hint.contains("waitpid(-1)"), "{refused:?}");
    }
    host.deploy(&fault("plain_v1"), "libhandler_v1.so").swapped();
}

#[test]
fn limits_are_raised_again() {
    let limits = ["descriptors", "processes", "core", "nice", "affinity"];
    limits.into_iter().for_each(goes_on_after);
}

#[test]
fn variables_are_those_of_the_start() {
    ["path", "trace", "libraries", "locale"].into_iter().for_each(goes_on_after);
}

#[test]
fn standard_streams_are_open() {
    STREAMS.into_iter().for_each(goes_on_after);
}
