//! The master is killed: its workers finish what they have and end by themselves, and another host
//! can take their place at once.

use std::{fs, os::fd::OwnedFd, path::Path};

use hotseat_test_support::{Builder, Host, address::free_address, eventually, fault, host, procfs};
use rustix::fs::{CWD, Mode, OFlags, mkfifoat};

#[test]
fn workers_without_a_master_finish_and_end() {
    let (data, control) = (free_address(), free_address());
    let config = format!("control = [\"{control}\"]\n");
    let builder = host!().config(&config).listen(&[&data.to_string()]);
    let mut host = builder.with(fault("gate"), "libhandler_v1.so").start();
    let workers = procfs::descendants(host.pid());
    assert_eq!(workers.len(), 1);
    let held = host.hold("/held");
    host.kill_master();
    // On the same folders and addresses, while the worker before is still busy.
    host.start_again();
    assert_eq!(host.data(), data);
    assert!(procfs::state(workers[0]).is_some(), "it has a request in flight");
    host.get("/").assert_status(200).assert_contains("gate");
    held.release().assert_status(200).assert_contains("gate 1");
    let ended = || procfs::state(workers[0]).is_none_or(|state| state == 'Z');
    eventually!(ended(), "the end of the worker before");
    host.get("/").assert_status(200);
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    host.get("/").assert_contains("v2");
}

/// Also those of an upgrade: one that is watched, the one before it, and one that drains.
#[test]
fn every_worker_of_an_upgrade_ends() {
    let (data, control) = (free_address(), free_address());
    let config = |soak| format!("control = [\"{control}\"]\n[limits]\nsoak_time = \"{soak}\"\n");
    let builder = host!().config(&config("0s")).listen(&[&data.to_string()]);
    let mut host = builder.with(fault("gate"), "libhandler_v1.so").start();
    let held = host.hold("/draining");
    host.home().rewrite_config(&config("1h"));
    host.upgrade(&["--wait"]).assert_code(0);
    host.wait_role("draining");
    let _upgrade = host.begin_upgrade(&[]);
    host.wait_role("soaking");
    host.wait_role("parked");
    let workers = procfs::descendants(host.pid());
    assert_eq!(workers.len(), 3);
    host.kill_master();
    host.start_again();
    host.get("/").assert_status(200).assert_contains("gate");
    held.release().assert_status(200).assert_contains("gate 1");
    let ended = |pid: &u32| procfs::state(*pid).is_none_or(|state| state == 'Z');
    eventually!(workers.iter().all(ended), "the end of all workers before");
}

/// A host on addresses of its own that the next one binds again; `gate` is at `/`.
fn gated() -> Builder {
    let (data, control) = (free_address(), free_address());
    let config = format!("control = [\"{control}\"]\n");
    let builder = host!().config(&config).listen(&[&data.to_string()]).arg("--mount=/=handler");
    builder.arg("--state-probe=100ms").with(fault("gate"), "libhandler_v1.so")
}

/// Its master is killed while its worker has a request: another host starts at once, and the worker
/// finishes and ends.
#[track_caller]
fn check_next_starts(
    host: &mut Host,
    before_the_start: impl FnOnce(&Host),
    at_last: impl FnOnce(),
) {
    let worker = host.worker_pid();
    let held = host.hold("/held");
    host.kill_master();
    before_the_start(host);
    host.start_again();
    assert!(procfs::state(worker).is_some(), "it has a request in flight");
    host.get("/").assert_status(200).assert_contains("gate");
    held.release().assert_status(200).assert_contains("gate 1");
    at_last();
    let ended = || procfs::state(worker).is_none_or(|state| state == 'Z');
    eventually!(ended(), "the end of the worker before\n{}", host.log_end());
}

/// A folder that the worker had to make again is not held by it, once nobody leads it.
#[test]
fn a_folder_that_was_made_again_is_let_go_of() {
    let mut host = gated().start();
    let state = host.home().state();
    let aside = state.with_extension("aside");
    fs::rename(&state, &aside).unwrap();
    fs::remove_dir_all(&aside).unwrap();
    host.assert_logged("the state folder was made again");
    check_next_starts(&mut host, |_| (), || ());
}

/// A write that hangs in the state folder keeps neither the addresses nor the end of the worker.
#[test]
fn a_write_that_hangs_keeps_nobody() {
    let mut host = gated().start();
    let (temporary, aside) =
        (host.state_file("manifest.json.tmp"), host.home().path().join("hangs"));
    let full = full_pipe(&temporary);
    let library = host.home().path().join("libother_v1.so");
    fs::copy(fault("plain_v1"), &library).unwrap();
    let mut events = host.events();
    let mut asker = host.control().connect();
    let path = library.display().to_string();
    asker.send_request("POST", "/", &format!("Content-Length: {}\r\n", path.len())).unwrap();
    asker.send(&path).unwrap();
    // The commit comes next, which writes there.
    events.wait_phase("loaded");
    let worker = host.worker_pid();
    eventually!(procfs::has_open(worker, &temporary), "a write that hangs\n{}", host.log_end());
    check_next_starts(&mut host, |_| fs::rename(&temporary, &aside).unwrap(), || drop(full));
}

/// A pipe in which there is no room: whoever writes to it waits until it is let go of.
fn full_pipe(path: &Path) -> OwnedFd {
    mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let pipe = rustix::fs::open(path, flags, Mode::empty()).unwrap();
    while rustix::io::write(&pipe, &[0; 4096]).is_ok() {}
    pipe
}
