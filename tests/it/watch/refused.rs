//! Files that were refused for what is around them: looked at again when that changes, and spoken of
//! once.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
};

use hotseat_test_support::{EventStream, Host, eventually, fault, host, library};

use super::{quick, settle};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// How often the log, the events and the history speak of a refusal.
#[track_caller]
fn check_said(host: &Host, events: &EventStream, code: &str, count: usize) {
    let refused = events.seen().iter().filter(|it| it.detail.starts_with(code)).count();
    let log = host.home().read_log();
    let lines = log.lines().filter(|it| it.contains("refused: ") && it.contains(code)).count();
    let history = host.control().history();
    let history = history.iter().filter(|it| it["outcome"] == code).count();
    assert_eq!((refused, lines, history), (count, count, count), "{code}\n{log}");
}

/// Puts a library in that is refused with `code`, lets some looks pass, mends the cause, and sees it
/// deployed without another word.
#[track_caller]
fn check(host: &Host, file: &str, code: &str, spoil: impl FnOnce(&Path), mend: impl FnOnce(&Path)) {
    let mut events = host.events();
    let staged = host.home().place(&fault("plain_v2"), "staged");
    spoil(&staged);
    let target = host.home().plugins().join(file);
    fs::rename(staged, &target).unwrap();
    let refused = events.wait_for(|it| it.phase == "refused");
    assert!(refused.detail.starts_with(code), "{}", refused.json);
    let plugin = file["lib".len()..].split("_v").next().unwrap();
    for round in ["a", "b", "c"] {
        settle_if_safe(host, &mut events, &format!("{plugin}{round}"), code);
    }
    check_said(host, &events, code, 1);
    mend(&target);
    events.wait_for(|it| it.phase == "committed" && it.plugin == plugin);
    check_said(host, &events, code, 1);
}

/// In a folder that everybody may write, nothing else is deployed either; the line of history comes a
/// moment after the event.
fn settle_if_safe(host: &Host, events: &mut EventStream, marker: &str, code: &str) {
    if code == "folder_world_writable" {
        let history = || host.control().history();
        eventually!(history().iter().any(|it| it["outcome"] == code), "{:?}", history());
    } else {
        settle(host, events, marker);
    }
}

#[test]
fn a_mode_an_owner_and_a_folder() {
    let host = quick().with(fault("plain_v1"), "libhandler_v1.so").start();
    let folder = host.home().plugins();
    check(
        &host,
        "libmode_v1.so",
        "world_writable",
        |it| set_mode(it, 0o666),
        |it| {
            set_mode(it, 0o644);
        },
    );
    let open = |_: &Path| set_mode(&folder, 0o777);
    check(&host, "libfolder_v1.so", "folder_world_writable", open, |_| set_mode(&folder, 0o755));
    // Only root can give a file away.
    if rustix::process::geteuid().is_root() {
        let give = |it: &Path| chown(it, Some(4711), None).unwrap();
        check(&host, "libowner_v1.so", "foreign_owner", give, |it| {
            chown(it, Some(0), None).unwrap()
        });
    }
}

/// A file that would pass by now is neither tried nor deployed as long as somebody writes it, whether
/// or not anything was heard of that.
#[test]
fn what_somebody_writes_goes_on_waiting() {
    let host = quick().with(fault("plain_v1"), "libhandler_v1.so").start();
    let folder = host.home().plugins();
    for (plugin, of_file, of_folder) in [("mode", 0o666, 0o755), ("folder", 0o644, 0o777)] {
        let mut events = host.events();
        let staged = host.home().place(&fault("plain_v2"), "staged");
        let target = folder.join(format!("lib{plugin}_v1.so"));
        set_mode(&staged, of_file);
        set_mode(&folder, of_folder);
        fs::rename(staged, &target).unwrap();
        events.wait_for(|it| it.phase == "refused");
        let writer = fs::File::options().write(true).open(&target).unwrap();
        if of_file != 0o644 {
            set_mode(&target, 0o644);
        }
        set_mode(&folder, 0o755);
        for round in ["a", "b", "c"] {
            let told = settle(&host, &mut events, &format!("{plugin}{round}"));
            assert!(told.iter().all(|it| it.plugin != plugin), "{told:?}");
        }
        drop(writer);
        events.wait_for(|it| it.phase == "committed" && it.plugin == plugin);
    }
}

/// Another reason than before is said, the same one is not.
#[test]
fn another_reason_is_said() {
    let host = quick().with(fault("plain_v1"), "libhandler_v1.so").start();
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut events = host.events();
    let staged = host.home().place(&fault("plain_v2"), "staged");
    set_mode(&staged, 0o666);
    chown(&staged, Some(4711), None).unwrap();
    let target = host.home().plugins().join("libtwice_v1.so");
    fs::rename(staged, &target).unwrap();
    events.wait_for(|it| it.phase == "refused" && it.detail.starts_with("foreign_owner"));
    chown(&target, Some(0), None).unwrap();
    events.wait_for(|it| it.phase == "refused" && it.detail.starts_with("world_writable"));
    set_mode(&target, 0o644);
    events.wait_for(|it| it.phase == "committed" && it.plugin == "twice");
    check_said(&host, &events, "foreign_owner", 1);
    check_said(&host, &events, "world_writable", 1);
}

/// The name of a library that ours are linked with, and one of the same length that nobody has.
const NEEDED: (&[u8], &str) = (b"libgcc_s.so.1\0", "libgcc_x.so.1");

/// A library that needs another one that comes later; a restart in between changes nothing.
#[test]
fn a_dependency_that_appears() {
    let bytes = library::bytes(&fault("plain_v2"));
    let at = bytes.windows(NEEDED.0.len()).position(|it| it == NEEDED.0).expect("it is needed");
    let mut spoilt = bytes;
    spoilt[at..at + NEEDED.1.len()].copy_from_slice(NEEDED.1.as_bytes());
    let builder = quick();
    let libraries = builder.home().path().join("libraries");
    fs::create_dir(&libraries).unwrap();
    let builder = builder.env("LD_LIBRARY_PATH", &libraries);
    let mut host = builder.with(fault("plain_v1"), "libhandler_v1.so").start();
    let mut events = host.events();
    let staged = host.home().write("staged", &spoilt);
    fs::rename(staged, host.home().plugins().join("libneedy_v1.so")).unwrap();
    let refused = events.wait_for(|it| it.phase == "refused");
    assert!(refused.detail.contains("dlopen_failed"), "{}", refused.json);
    for marker in ["one", "two", "three"] {
        settle(&host, &mut events, marker);
    }
    check_said(&host, &events, "dlopen_failed", 1);
    host.restart();
    let mut events = host.events();
    settle(&host, &mut events, "four");
    let mapped = fs::read_to_string("/proc/self/maps").unwrap();
    let path = mapped
        .lines()
        .find_map(|line| line.split(' ').next_back().filter(|it| it.ends_with("/libgcc_s.so.1")));
    fs::copy(path.expect("this test needs it as well"), libraries.join(NEEDED.1)).unwrap();
    eventually!(host.get("/needy").text() == "v2", "{}", host.status());
    let history = host.control().history();
    let refusals = history.iter().filter(|it| it["outcome"] == "dlopen_failed").count();
    assert_eq!(refusals, 1, "{history:?}");
}

/// What was refused is remembered by the worker that has refused it, also where that is relieved
/// before its next look at the folder.
#[test]
fn an_upgrade_orders_nothing_again() {
    let builder = host!().arg("--debounce=3s").arg("--rescan=1h").arg("--soak-time=100ms");
    let host = builder.with(fault("plain_v1"), "libhandler_v1.so").start();
    let mut events = host.events();
    host.home().drop_in(&fault("new_panics"), "libbad_v1.so");
    let refused = events.wait_for(|it| it.phase == "refused");
    assert!(refused.detail.starts_with("new_panicked"), "{}", refused.json);
    host.upgrade(&["--wait"]).assert_code(0);
    let mut events = host.events();
    settle(&host, &mut events, "marker");
    let history = host.control().history();
    let refusals = history.iter().filter(|it| it["outcome"] == "new_panicked").count();
    assert_eq!(refusals, 1, "{history:?}");
}
