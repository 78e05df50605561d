//! An upgrade for which the system has nothing left: it fails, and the worker before serves on.

use std::{fs, process::Command};

use hotseat_test_support::{
    Builder, Host, disk, eventually, fault, host, procfs, tool::skip, tool_or_skip,
};
use rustix::process::{Pid, Resource, Rlimit, Signal, geteuid, getrlimit, prlimit};

use super::{other, quick, serves};

fn master(host: &Host) -> Option<Pid> {
    Some(Pid::from_raw(i32::try_from(host.pid()).unwrap()).unwrap())
}

/// Limits the master; the limit that it had.
fn limit(host: &Host, resource: Resource, current: u64) -> Rlimit {
    // The hard limit is inherited, and stays: it could not be raised again.
    let Rlimit { maximum, .. } = getrlimit(resource);
    prlimit(master(host), resource, Rlimit { current: Some(current), maximum }).unwrap()
}

/// With one descriptor more each time, from none to enough: whatever step lacks them, the upgrade
/// fails as a whole or is done as a whole.
#[test]
fn descriptors() {
    let host = quick(50).with(fault("whoami"), "libhandler_v1.so").start();
    host.deploy(&fault("reflect"), "libreflect_v1.so").swapped();
    let before = serves(&host);
    let traffic = host.traffic("/");
    let mut verdicts = Vec::new();
    for more in 0.. {
        eventually!(host.processes().len() == 2, "the workers before have ended");
        let worker = host.worker_pid();
        let open = procfs::descriptors(host.pid());
        let normal = limit(&host, Resource::Nofile, u64::try_from(open + more).unwrap());
        let upgrade = host.upgrade(&["--wait"]);
        prlimit(master(&host), Resource::Nofile, normal).unwrap();
        traffic.wait_for(5);
        assert_eq!(serves(&host), before, "{more} more\n{upgrade:#?}");
        let done = upgrade.verdict() == "committed";
        assert_eq!(host.worker_pid() != worker, done, "{more} more\n{upgrade:#?}");
        verdicts.push(upgrade.verdict().to_owned());
        if done && verdicts.iter().rev().take_while(|it| *it == "committed").count() >= 3 {
            break;
        }
        assert!(more < 40, "{verdicts:?}");
    }
    assert!(verdicts.len() > 3, "some have failed: {verdicts:?}");
    traffic.finish();
    host.assert_no_failed_requests();
    assert!(!host.home().read_log().contains("ended unasked"), "{verdicts:?}\n{}", host.log_end());
}

/// No descriptor more when a worker has to be started: it is, as soon as there is one.
#[test]
fn descriptors_after_a_crash() {
    let host = quick(50).with(fault("whoami"), "libhandler_v1.so").start();
    let (before, worker) = (serves(&host), host.worker_pid());
    let open = procfs::descriptors(host.pid());
    let normal = limit(&host, Resource::Nofile, u64::try_from(open).unwrap());
    host.signal_process(worker, Signal::KILL);
    host.wait_gone(worker);
    let said = || host.home().read_log().contains("the next worker is started after a pause: ");
    eventually!(said(), "{}", host.log_end());
    assert!(host.home().read_log().contains("Too many open files"), "{}", host.log_end());
    prlimit(master(&host), Resource::Nofile, normal).unwrap();
    host.get("/").assert_status(200);
    assert_eq!(serves(&host), before);
}

/// Before a command of an account that is not root's.
const IDS: [&str; 4] = ["setpriv", "--reuid=64321", "--regid=64321", "--clear-groups"];

/// As an account whose processes can be counted, and that a folder's mode concerns: not root.
pub(crate) fn as_account() -> Option<Vec<&'static str>> {
    if !geteuid().is_root() {
        return Some(Vec::new());
    }
    tool_or_skip("setpriv", "util-linux")?;
    let mut version = Command::new(IDS[0]);
    version.args(&IDS[1..]).arg(host!().binary_path()).arg("--version");
    if !version.output().is_ok_and(|it| it.status.success()) {
        skip("another account cannot run the binary");
        return None;
    }
    Some(IDS.to_vec())
}

/// A host of that account.
pub(crate) fn of_account(builder: Builder, account: &[&str]) -> Builder {
    let home = builder.home().path().to_owned();
    // Without the settings of whoever runs the tests.
    let builder = builder.env("HOME", &home).env("XDG_CONFIG_HOME", &home);
    if account.is_empty() {
        return builder;
    }
    let chown = Command::new("chown").args(["-R", "64321:64321"]).arg(&home).status().unwrap();
    assert!(chown.success());
    builder.through(account)
}

/// How many processes the master may have; by its own account, which alone may do that everywhere.
fn limit_processes(host: &Host, account: &[&str], soft: &str) {
    let pid = host.pid().to_string();
    let words = [account, &["prlimit", "--pid", &pid]].concat();
    let mut command = Command::new(words[0]);
    let done = command.args(&words[1..]).arg(format!("--nproc={soft}:")).status().unwrap();
    assert!(done.success());
}

/// No process more: neither for a check nor for a worker after a crash, which comes as soon as it
/// can.
#[test]
fn processes() {
    if tool_or_skip("prlimit", "util-linux").is_none() {
        return;
    }
    let Some(account) = as_account() else { return };
    let host = of_account(quick(50).with(fault("whoami"), "libhandler_v1.so"), &account).start();
    let before = serves(&host);
    let worker = host.worker_pid();
    limit_processes(&host, &account, "1");
    host.upgrade(&["--wait"]).assert_code(3).assert_says("cannot be started");
    assert_eq!((serves(&host), host.worker_pid()), (before.clone(), worker));
    host.signal_process(worker, Signal::KILL);
    host.wait_gone(worker);
    let tried = || host.home().read_log().contains("a worker cannot be started");
    eventually!(tried(), "{}", host.log_end());
    let mut waiting = host.connect();
    waiting.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let most = getrlimit(Resource::Nproc).maximum;
    let most = most.map_or_else(|| "unlimited".to_owned(), |most| most.to_string());
    limit_processes(&host, &account, &most);
    waiting.read_answer().unwrap().assert_status(200);
    assert_eq!(serves(&host), before);
    host.upgrade(&["--wait"]).assert_code(0);
}

/// A full disk before the next worker comes up, and one at the commit.
#[test]
fn disk_space() {
    let builder = quick(500).with(fault("whoami"), "libhandler_v1.so");
    let Some((host, disk)) = disk::small(builder) else { return };
    let before = serves(&host);
    let worker = host.worker_pid();
    let traffic = host.traffic("/");
    let filler = disk.fill();
    let upgrade = host.upgrade(&["--wait"]);
    // The cause, not a consequence.
    upgrade.assert_code(3).assert_says("disk full: no space left on the device of `");
    assert_eq!((serves(&host), host.worker_pid()), (before.clone(), worker));
    let refused = host.deploy_bytes(&other("whoami", 2), "libhandler_v2.so").refused();
    assert_eq!(refused.code, "disk_full", "{refused:?}");
    assert_eq!((serves(&host), host.worker_pid()), (before.clone(), worker));
    fs::remove_file(&filler).unwrap();
    // Full when it is committed: what is in memory counts.
    host.upgrade(&["--wait=ready"]).assert_code(0);
    let filler = disk.fill();
    host.wait_role("serving");
    assert_ne!(host.worker_pid(), worker);
    assert_eq!(serves(&host), before);
    host.wait_gone(worker);
    fs::remove_file(&filler).unwrap();
    host.deploy_bytes(&other("whoami", 2), "libhandler_v2.so").swapped();
    host.upgrade(&["--wait"]).assert_code(0);
    traffic.finish();
    host.assert_no_failed_requests();
    host.get("/").assert_status(200);
}
