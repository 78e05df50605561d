//! Another binary on disk: good ones are gone over to, whole or link by link; bad ones are told
//! apart before they can do harm.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use hotseat_test_support::{
    Builder, Host, LoadPlan,
    binary::{self, Fault},
    eventually, fault,
    load::Load,
    procfs,
};
use rustix::process::Signal;
use serde_json::json;

use super::{assert_one_worker, builder, pid_of};

/// A host that was started by a name at which a test may put something else.
#[track_caller]
pub(super) fn own_copy(builder: Builder) -> (Host, PathBuf, PathBuf) {
    let real = builder.binary_path().to_owned();
    let path = builder.home().path().join("hotseat");
    fs::copy(&real, &path).unwrap();
    (builder.binary(&path).start(), path, real)
}

/// The version of the worker that serves, and of the master.
#[track_caller]
fn versions(host: &Host) -> (String, String) {
    (host.wait_role("serving").version, host.wait_role("master").version)
}

/// Asks over HTTP, as the command is of a file that is replaced: the verdict.
#[track_caller]
pub(super) fn post(host: &Host) -> String {
    let answer = host.post_upgrade(&json!({ "wait": "commit" }));
    answer.json()["upgrade"]["verdict"].as_str().unwrap_or_default().to_owned()
}

/// A new file by a rename: HUP goes over to it, and no connection ever goes back.
#[test]
fn a_renamed_binary_is_gone_over_to() {
    let (host, path, real) = own_copy(builder().arg("--master-reexec=never"));
    let load = Load::start(host.data(), LoadPlan { kept: 20, ..LoadPlan::default() });
    load.wait_for(50);
    let mut pids = vec![host.worker_pid()];
    for number in [12, 13] {
        let variant = binary::variant(&real, &path, number);
        assert_eq!(post(&host), "committed");
        assert_eq!(versions(&host), (variant.version, env!("CARGO_PKG_VERSION").to_owned()));
        pids.push(host.worker_pid());
        load.wait_for(50);
    }
    load.stop().assert_clean().assert_announced().assert_forward(&pids);
}

/// A link to the folder of the release is set anew.
#[test]
fn a_flipped_link_is_followed() {
    let builder = builder();
    let (home, real) = (builder.home().clone(), builder.binary_path().to_owned());
    let release = |number: u8| {
        let folder = home.path().join(format!("release-{number}"));
        fs::create_dir(&folder).unwrap();
        let variant = binary::variant(&real, &folder.join("hotseat"), number);
        let part = home.path().join("current.part");
        symlink(&folder, &part).unwrap();
        fs::rename(part, home.path().join("current")).unwrap();
        variant.version
    };
    let first = release(11);
    let host = builder.binary(home.path().join("current/hotseat")).start();
    assert_eq!(versions(&host).0, first);
    let second = release(12);
    host.upgrade(&["--wait"]).assert_code(0).assert_says(&second);
    assert_eq!(versions(&host).0, second);
}

/// The same file again is no other binary: nothing is copied.
#[test]
fn the_same_binary_is_not_copied() {
    let (host, _, _) = own_copy(builder());
    host.upgrade(&["--wait"]).assert_code(0);
    let kept = fs::read_dir(host.state_file("bin")).map_or(0, Iterator::count);
    assert_eq!(kept, 0);
}

/// No more copies are kept than are wanted.
#[test]
fn few_copies_are_kept() {
    let (host, path, real) = own_copy(builder().arg("--binaries-count=2"));
    for number in 11..15 {
        let variant = binary::variant(&real, &path, number);
        assert_eq!(post(&host), "committed");
        assert_eq!(versions(&host).0, variant.version);
    }
    assert_eq!(fs::read_dir(host.state_file("bin")).unwrap().count(), 2);
}

#[track_caller]
fn bad(host: &Host, real: &Path, fault: Fault) -> String {
    let path = host.home().path().join("bad");
    binary::faulty(real, &path, fault);
    path.to_str().unwrap().to_owned()
}

/// What cannot be started is refused with its name and the reason; the next good one is taken.
#[test]
fn a_file_that_is_no_program_is_refused() {
    let (host, path, real) = own_copy(builder());
    let old = host.worker_pid();
    let faults = [
        (Fault::Missing, "No such file"),
        (Fault::NotExecutable, "execut"),
        (Fault::Empty, "empty"),
        (Fault::Text, "ELF"),
        (Fault::OtherMachine, "machine"),
        (Fault::Truncated, ""),
    ];
    for (fault, text) in faults {
        let path = bad(&host, &real, fault);
        let refused = host.upgrade(&["--wait", "--binary", &path]);
        refused.assert_code(3).assert_says(&path).assert_says(text);
        assert_eq!(pid_of(&host.get("/")), old, "{fault:?}");
    }
    assert_one_worker(&host, old);
    let variant = binary::variant(&real, &path, 12);
    assert_eq!(post(&host), "committed");
    assert_eq!(versions(&host).0, variant.version);
}

/// What does not come up is refused, again and again, and leaves nothing behind.
#[test]
fn a_program_that_does_not_come_up_is_refused() {
    let (host, _, real) = own_copy(builder());
    let old = host.worker_pid();
    let faults = [
        (Fault::Exits, "exit code 1", "faulty: it ends with status 1"),
        (Fault::Panics, "exit code 101", "faulty: it panics"),
        (Fault::Segfaults, "SIGSEGV", ""),
        (Fault::Aborts, "SIGABRT", ""),
        (Fault::Floods, "exit code 1", "faulty: the last line"),
    ];
    let descriptors = || procfs::descriptors(host.pid());
    let before = descriptors();
    for (kind, text, said) in faults.into_iter().cycle().take(10) {
        let path = bad(&host, &real, kind);
        let refused = host.upgrade(&["--wait", "--binary", &path]);
        refused.assert_code(4).assert_says(text).assert_says(said);
        // The end of what it said, once as an error and once as an outcome.
        assert!(refused.text().len() < 16 << 10, "{}", refused.text().len());
        assert_one_worker(&host, old);
        // The answer comes a moment before the last of them is closed.
        eventually!(descriptors() == before, "{before} descriptors, not {}", descriptors());
    }
    assert_eq!(pid_of(&host.get("/")), old);
    host.upgrade(&["--wait"]).assert_code(0);
}

/// What fails in the checks is refused before a worker is started, and what it said is told.
#[test]
fn a_program_that_fails_its_checks_is_refused() {
    let (host, _, real) = own_copy(builder().arg("--check-time=1s"));
    let old = host.worker_pid();
    let faults = [
        (Fault::Exits, "faulty: it ends with status 1"),
        (Fault::Floods, "faulty: the last line"),
        (Fault::Segfaults, "SIGSEGV"),
        (Fault::Hangs, "did not end within 1s"),
    ];
    let path = host.home().path().join("bad");
    for (fault, text) in faults {
        binary::faulty_at_check(&real, &path, fault);
        let refused = host.upgrade(&["--wait", "--binary", path.to_str().unwrap()]);
        refused.assert_code(3).assert_says(text);
        // The end of it, once as an error and once as an outcome.
        assert!(refused.text().len() < 16 << 10, "{}", refused.text().len());
    }
    assert_eq!(pid_of(&host.get("/")), old);
    assert_one_worker(&host, old);
}

/// A binary that this master could not lead is refused before a worker is started.
#[test]
fn a_binary_of_another_protocol_is_refused() {
    let (host, _, real) = own_copy(builder());
    let old = host.worker_pid();
    let path = bad(&host, &real, Fault::OtherProtocol);
    let refused = host.upgrade(&["--wait", "--binary", &path]);
    refused.assert_code(3).assert_says("protocol 99").assert_says("restart the host");
    assert_one_worker(&host, old);
}

/// A worker that never gets ready is ended.
#[test]
fn a_program_that_hangs_is_ended() {
    let (host, _, real) = own_copy(builder().arg("--ready-time=300ms"));
    let old = host.worker_pid();
    let path = bad(&host, &real, Fault::Hangs);
    host.upgrade(&["--wait", "--binary", &path]).assert_code(4).assert_says("not ready within");
    assert_one_worker(&host, old);
}

/// Each plugin that is loaded starts the wait over; the whole has a limit of its own.
#[test]
fn progress_extends_the_wait() {
    let slow = |args: &[&str]| {
        let start = builder().arg("--ready-time=1500ms");
        let start = args.iter().fold(start, |start, arg| start.arg(*arg));
        // Each takes over half a second, once in its preflight and once for good.
        ["a", "b", "c", "d"].iter().fold(start, |start, name| {
            start.with(fault("new_slow"), &format!("libslow{name}_v1.so"))
        })
    };
    let host = slow(&[]).start();
    let begun = std::time::Instant::now();
    host.upgrade(&["--wait"]).assert_code(0);
    assert!(begun.elapsed() > std::time::Duration::from_millis(1500), "it took {begun:?}");
    let bounded = slow(&["--boot-time=1500ms"]).start();
    let refused = bounded.upgrade(&["--wait"]);
    refused.assert_code(4).assert_says("not ready within");
}

/// A worker that does not answer as the operator wants gets no traffic.
#[test]
fn a_program_that_fails_its_probes_is_refused() {
    let (host, _, real) = own_copy(builder().arg("--probe=/?sleep=0"));
    let old = host.worker_pid();
    let path = bad(&host, &real, Fault::Answers500);
    let refused = host.upgrade(&["--wait", "--binary", &path]);
    refused.assert_code(5).assert_says("answered 500 to GET /?sleep=0");
    assert_one_worker(&host, old);
    host.upgrade(&["--wait"]).assert_code(0);
}

/// A binary for other plugins is refused by its name of what serves.
#[test]
fn a_binary_for_another_abi_is_refused() {
    let (host, _, real) = own_copy(builder());
    let old = host.worker_pid();
    let path = host.home().path().join("other");
    binary::other_abi(&real, &path);
    let refused = host.upgrade(&["--wait", "--binary", path.to_str().unwrap()]);
    refused.assert_code(3).assert_says("handler").assert_says("does not load with this binary");
    // Both sides are named.
    refused.assert_says("0.1.0").assert_says("9.1.0");
    assert_one_worker(&host, old);
}

/// Whatever lies on disk: a worker that crashed is followed by one of the binary that served.
#[test]
fn a_crash_starts_the_binary_that_served() {
    let (host, path, real) = own_copy(builder());
    for number in [12, 13] {
        let version = versions(&host).0;
        let crash = || {
            let old = host.worker_pid();
            host.signal_process(old, Signal::KILL);
            let new = host.wait_other_worker(old);
            assert_eq!(pid_of(&host.get("/")), new);
            assert_eq!(versions(&host).0, version);
        };
        binary::faulty(&real, &path, Fault::Text);
        crash();
        binary::faulty(&real, &path, Fault::Exits);
        crash();
        let variant = binary::variant(&real, &path, number);
        crash();
        assert_eq!(post(&host), "committed");
        assert_eq!(versions(&host).0, variant.version);
    }
}
