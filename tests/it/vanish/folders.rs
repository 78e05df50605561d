//! Files and folders that go, or become something else, one after the other.
//!
//! Method, for each: lose it; the worker crashes twice, and the next one answers the same; the
//! status can be asked; a deploy and a rollback work or are refused with the reason, by what the
//! table says; with the thing back, both work; a stop ends with 0.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use hotseat_test_support::{Host, fault};
use rustix::{
    fs::{CWD, RenameFlags},
    io::Errno,
    process::Signal,
};

use crate::carried::lack::{as_account, of_account};

use super::{assert_unwritable, assert_writable, crash, deploy, looking, outside, watchful};

/// Where everything of a host is.
struct Place {
    work: PathBuf,
    state: PathBuf,
    binary: PathBuf,
    config: PathBuf,
    pid_folder: PathBuf,
    socket: PathBuf,
    temporary: PathBuf,
}

/// Puts `path` aside.
fn aside(path: &Path) {
    fs::rename(path, path.with_extension("aside")).unwrap();
}

/// Changes what is at `path` for what is aside, in one step: what is missing the host makes again.
fn exchange(path: &Path) -> Result<(), Errno> {
    let aside = path.with_extension("aside");
    rustix::fs::renameat_with(CWD, aside, CWD, path, RenameFlags::EXCHANGE)
}

/// Puts back what was at `path` in the place of whatever is there.
fn back(path: &Path) {
    let aside = path.with_extension("aside");
    loop {
        match exchange(path) {
            Ok(()) => return clear(&aside),
            // Nothing is there.
            Err(Errno::NOENT) => {}
            Err(error) => panic!("put back {}: {error}", path.display()),
        }
        match rustix::fs::renameat_with(CWD, &aside, CWD, path, RenameFlags::NOREPLACE) {
            Ok(()) => return,
            // By now something is.
            Err(Errno::EXIST) => {}
            Err(error) => panic!("put back {}: {error}", path.display()),
        }
    }
}

/// Removes the folder at once: while its entries go one by one, the host makes it again.
pub(super) fn remove(path: &Path) {
    aside(path);
    fs::remove_dir_all(path.with_extension("aside")).unwrap();
}

fn clear(path: &Path) {
    if path.is_dir() {
        fs::remove_dir_all(path).unwrap();
    } else if path.exists() {
        fs::remove_file(path).unwrap();
    }
}

fn become_file(path: &Path) {
    fs::write(path.with_extension("aside"), b"no folder").unwrap();
    exchange(path).unwrap();
}

fn become_folder(path: &Path) {
    fs::create_dir(path.with_extension("aside")).unwrap();
    exchange(path).unwrap();
}

#[track_caller]
fn check(lose: fn(&Place), mend: fn(&Place), refuses: Option<&str>) {
    let builder = watchful().in_work();
    let home = builder.home().path().to_owned();
    let place = Place {
        work: home.join("work"),
        state: home.join("work/state"),
        binary: home.join("bin/hotseat"),
        config: home.join("hotseat.toml"),
        pid_folder: home.join("run"),
        socket: home.join("control.sock"),
        temporary: home.join("tmp"),
    };
    for folder in [&place.pid_folder, &place.temporary, &home.join("bin")] {
        fs::create_dir(folder).unwrap();
    }
    fs::copy(env!("CARGO_BIN_EXE_hotseat"), &place.binary).unwrap();
    let mut host = builder
        .binary(&place.binary)
        .config("[limits]\nheader_time = \"9s\"\n")
        .env("TMPDIR", &place.temporary)
        .arg(format!("--pid-file={}", place.pid_folder.join("pid").display()))
        .arg(format!("--control=unix:{}", place.socket.display()))
        .start();
    let (_outside, folder) = outside();
    deploy(&host, &folder, "plain_v1", 1).swapped();
    deploy(&host, &folder, "plain_v2", 2).swapped();
    lose(&place);
    crash(&host, "v2");
    crash(&host, "v2");
    match refuses {
        Some(code) => {
            let refused = deploy(&host, &folder, "plain_v1", 3).refused();
            assert_eq!(refused.code, code, "{refused:?}\n{}", host.log_end());
            assert!(!refused.hint.is_empty(), "{refused:?}");
            assert_eq!(host.control().rollback(None, None).refused().code, code);
            host.get("/").assert_status(200).assert_contains("v2");
        }
        None => {
            deploy(&host, &folder, "plain_v1", 3).swapped();
            crash(&host, "v1");
            host.control().rollback(None, None).swapped();
            crash(&host, "v2");
        }
    }
    mend(&place);
    assert_writable(&host);
    deploy(&host, &folder, "plain_v1", 4).swapped();
    crash(&host, "v1");
    host.control().rollback(None, None).swapped();
    let generation = host.active("handler");
    assert_folder_knows(&mut host, &place, generation);
}

/// What was acknowledged is in the folder: a host that is killed and started again has it.
#[track_caller]
fn assert_folder_knows(host: &mut Host, place: &Place, generation: u64) {
    assert!(host.stop().success(), "{}", host.log_end());
    // A host that is started anew needs its working directory.
    fs::create_dir_all(&place.work).unwrap();
    if !place.binary.is_file() {
        fs::create_dir_all(place.binary.parent().unwrap()).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_hotseat"), &place.binary).unwrap();
    }
    fs::create_dir_all(&place.pid_folder).unwrap();
    host.start_again();
    assert_eq!(host.active("handler"), generation, "{}", host.log_end());
    host.get("/").assert_status(200).assert_contains("v2");
}

macro_rules! cases {
    ($($(#[$meta:meta])* $name:ident: $refuses:expr, $lose:expr, $mend:expr;)*) => { $(
        $(#[$meta])*
        #[test]
        fn $name() {
            check($lose, $mend, $refuses);
        }
    )* };
}

const TAKEN: Option<&str> = None;
const REFUSED: Option<&str> = Some("state_failed");

cases! {
    working_directory_gone: REFUSED,
        |it| remove(&it.work), |it| fs::create_dir(&it.work).unwrap();
    working_directory_another: TAKEN, |it| become_folder(&it.work), |_| ();
    working_directory_a_file: REFUSED,
        |it| become_file(&it.work), |it| back(&it.work);
    state_folder_gone: TAKEN, |it| remove(&it.state), |_| ();
    state_folder_another: TAKEN, |it| become_folder(&it.state), |_| ();
    state_folder_a_file: REFUSED, |it| become_file(&it.state), |it| back(&it.state);
    /// Nothing is lost that was written before it went and came back.
    state_folder_away_for_a_while: TAKEN, |it| aside(&it.state), |it| back(&it.state);
    lock_gone: TAKEN, |it| fs::remove_file(it.state.join("lock")).unwrap(), |_| ();
    manifest_gone: TAKEN,
        |it| for name in ["manifest.json", "manifest.previous.json"] {
            clear(&it.state.join(name));
        },
        |_| ();
    manifest_a_folder: REFUSED,
        |it| {
            clear(&it.state.join("manifest.previous.json"));
            become_folder(&it.state.join("manifest.json"));
            fs::write(it.state.join("manifest.json/file"), b"").unwrap();
        },
        |it| clear(&it.state.join("manifest.json"));
    artifacts_a_file: REFUSED,
        |it| become_file(&it.state.join("artifacts")), |it| back(&it.state.join("artifacts"));
    loaded_a_file: REFUSED,
        |it| become_file(&it.state.join("loaded")), |it| back(&it.state.join("loaded"));
    history_a_folder: TAKEN, |it| become_folder(&it.state.join("history.jsonl")), |_| ();
    plugins_folder_gone: TAKEN,
        |it| fs::remove_dir_all(it.work.join("plugins")).unwrap(), |_| ();
    plugins_folder_a_file: TAKEN, |it| become_file(&it.work.join("plugins")), |it| back(&it.work.join("plugins"));
    binary_gone: TAKEN, |it| fs::remove_file(&it.binary).unwrap(), |_| ();
    binary_another: TAKEN,
        |it| {
            fs::remove_file(&it.binary).unwrap();
            fs::write(&it.binary, b"no program").unwrap();
        },
        |it| clear(&it.binary);
    folder_of_the_binary_gone: TAKEN,
        |it| fs::remove_dir_all(it.binary.parent().unwrap()).unwrap(), |_| ();
    configuration_gone: TAKEN, |it| fs::remove_file(&it.config).unwrap(), |_| ();
    configuration_broken: TAKEN, |it| fs::write(&it.config, b"[[[").unwrap(), |_| ();
    pid_folder_gone: TAKEN, |it| fs::remove_dir_all(&it.pid_folder).unwrap(), |_| ();
    control_socket_gone: TAKEN, |it| fs::remove_file(&it.socket).unwrap(), |_| ();
    temporary_folder_gone: TAKEN, |it| fs::remove_dir_all(&it.temporary).unwrap(), |_| ();
}

/// While it cannot be written, everybody is told; what is dropped in waits, and is deployed then.
#[test]
fn a_state_folder_that_cannot_be_made_is_told_of() {
    let mut host = watchful().with(fault("plain_v1"), "libhandler_v1.so").start();
    let state = host.home().state();
    become_file(&state);
    // Found without anybody who asks for a change.
    assert_unwritable(&host, "state_failed");
    host.home().drop_in(&fault("plain_v2"), "libhandler_v2.so");
    host.control().unload("handler").assert_status(500);
    // Still so in the next worker.
    crash(&host, "v1");
    assert_unwritable(&host, "state_failed");
    host.get("/").assert_status(200).assert_contains("v1");
    back(&state);
    hotseat_test_support::eventually!(
        host.get("/").text().contains("v2"),
        "what was dropped in serves\n{}",
        host.log_end()
    );
    assert_writable(&host);
    assert!(host.stop().success());
}

/// Another host that is started meanwhile where the folder was: both go on, one of them refuses.
#[test]
fn a_folder_that_another_host_has_taken_is_left_to_it() {
    let host = looking("1h").with(fault("plain_v1"), "libhandler_v1.so").start();
    let state = host.home().state();
    remove(&state);
    let mut second = watchful().at(host.home()).start();
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").assert_refused(500, "state_locked");
    crash(&host, "v1");
    assert_unwritable(&host, "state_locked");
    second.get("/").assert_status(200);
    second.restart();
    second.get("/").assert_status(200);
    assert!(second.stop().success());
    host.deploy(&fault("plain_v2"), "libhandler_v3.so").swapped();
    crash(&host, "v2");
}

/// The master's next image, and an upgrade, after the folder was made again.
#[test]
fn a_folder_that_was_made_again_outlives_the_master() {
    let mut host = watchful().with(fault("plain_v1"), "libhandler_v1.so").start();
    remove(&host.home().state());
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    host.upgrade(&["--wait"]).assert_code(0);
    let worker = host.worker_pid();
    host.signal_process(worker, Signal::KILL);
    host.wait_gone(worker);
    host.get("/").assert_status(200).assert_contains("v2");
    let (status, log) = watchful().at(host.home()).start_in_vain();
    assert!(!status.success() && log.contains("is used by"), "{log}");
    host.restart();
    host.get("/").assert_status(200).assert_contains("v2");
}

/// A host in one process holds its folder by itself.
#[test]
fn a_host_in_one_process_makes_its_folder_again() {
    let mut host = watchful().arg("--single").with(fault("plain_v1"), "libhandler_v1.so").start();
    remove(&host.home().state());
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    let state = host.home().state();
    become_file(&state);
    assert_unwritable(&host, "state_failed");
    host.deploy(&fault("plain_v1"), "libhandler_v3.so").assert_refused(500, "state_failed");
    back(&state);
    assert_writable(&host);
    host.restart();
    host.get("/").assert_status(200).assert_contains("v2");
}

/// For an account that is not root's: the mode of the folder, and of the one above it.
#[test]
fn a_state_folder_that_its_account_may_not_write() {
    let Some(account) = as_account() else { return };
    let builder = watchful().with(fault("plain_v1"), "libhandler_v1.so");
    let mut host = of_account(builder, &account).start();
    let state = host.home().state();
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    for (path, bad) in [(state.as_path(), 0o500), (&state, 0), (host.home().path(), 0)] {
        mode(path, bad);
        assert_unwritable(&host, "state_failed");
        crash(&host, "v1");
        crash(&host, "v1");
        assert_unwritable(&host, "state_failed");
        let unloaded = host.control().unload("handler");
        unloaded.assert_status(500).assert_contains("ermission denied");
        mode(path, 0o700);
        assert_writable(&host);
    }
    mode(&state, 0o500);
    assert!(host.stop().success(), "{}", host.log_end());
    mode(&state, 0o700);
    host.start_again();
    host.get("/").assert_status(200).assert_contains("v1");
}
