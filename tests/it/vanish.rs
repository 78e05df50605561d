//! What vanishes, is replaced or fills up while the host runs: what serves serves on, comes up again
//! after a crash, and changes are refused or taken, never half done.

use std::path::{Path, PathBuf};

use hotseat_test_support::{Builder, Host, eventually, fault, host, library, wire};
use rustix::process::Signal;

mod binary;
mod changed;
mod disks;
mod folders;
mod places;

/// A host that looks after its state all the time.
fn watchful() -> Builder {
    looking("100ms")
}

/// As [`watchful`], so often.
fn looking(pace: &str) -> Builder {
    host!()
        .arg(format!("--state-probe={pace}"))
        .arg("--debounce=20ms")
        .arg("--rescan=200ms")
        .arg("--idle-linger=100ms")
        .arg("--soak-time=0s")
}

/// `plain_v1` or `plain_v2` with another content each time.
fn other(name: &str, number: u32) -> Vec<u8> {
    [library::bytes(&fault(name)), number.to_le_bytes().to_vec()].concat()
}

/// Kills the worker; another one answers as it did.
#[track_caller]
fn crash(host: &Host, says: &str) {
    let worker = host.worker_pid();
    host.signal_process(worker, Signal::KILL);
    host.wait_gone(worker);
    // Waits in the listener's queue, which never closes.
    host.get("/").assert_status(200).assert_contains(says);
    crate::crash::next_worker(host, worker);
}

/// Why nothing can be changed, as the status says it.
fn unwritable(host: &Host) -> Option<String> {
    host.status()["unwritable"]["code"].as_str().map(str::to_owned)
}

/// The host says that nothing can be changed, wherever one looks, and is ready all the same.
#[track_caller]
fn assert_unwritable(host: &Host, code: &str) {
    eventually!(unwritable(host).as_deref() == Some(code), "{}\n{}", host.status(), host.log_end());
    let status = host.status();
    assert!(!wire::text(&status, "/unwritable/text").is_empty());
    assert!(status["unwritable"]["hint"].is_string(), "{status}");
    host.control().get("/readyz").assert_status(200).assert_contains("unwritable: ");
    host.control().get("/").assert_contains("nothing can be changed, for ");
    assert!(crate::crash::metric(host, "hotseat_state_writable ") < 0.5);
}

/// It takes changes again, without being told.
#[track_caller]
fn assert_writable(host: &Host) {
    eventually!(unwritable(host).is_none(), "{}\n{}", host.status(), host.log_end());
    assert_eq!(host.control().get("/readyz").assert_status(200).text(), "ready\n");
    assert!(crate::crash::metric(host, "hotseat_state_writable ") > 0.5);
}

/// Posts a library from outside of every folder of the host.
#[track_caller]
fn deploy(host: &Host, folder: &Path, name: &str, number: u32) -> hotseat_test_support::Deploy {
    let path = folder.join(format!("libhandler_v{number}.so"));
    std::fs::write(&path, other(name, number)).unwrap();
    host.control().deploy(path)
}

/// A folder that only its owner may write, which libraries have to lie in.
fn outside() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    (dir, path)
}
