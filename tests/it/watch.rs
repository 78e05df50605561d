//! Every way in which a file can arrive in the plugins folder, and those that are no arrival.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use hotseat_test_support::{Builder, Event, EventStream, Host, fault, host, library, wire};

mod away;
mod down;
mod links;
mod refused;
mod written;

/// A quick folder: the debounce and the rescan are short, so that tests are.
fn quick() -> Builder {
    host!().arg("--debounce=50ms").arg("--rescan=250ms")
}

fn v1() -> Host {
    quick().with(fault("plain_v1"), "libhandler_v1.so").start()
}

fn target(host: &Host, name: &str) -> PathBuf {
    host.home().plugins().join(name)
}

/// The next order for `handler` is committed, as a generation of its own that answers `answer`.
/// Its first generation is passed over: its event may come after it is seen to serve.
#[track_caller]
fn check_arrives(host: &Host, events: &mut EventStream, answer: &str) -> Event {
    let ended = |it: &Event| it.phase == "refused" || it.phase == "committed" && it.generation > 1;
    let event = events.wait_for(ended);
    assert_eq!(event.phase, "committed", "{}", event.json);
    assert_eq!(event.generation, host.active("handler"), "{}", event.json);
    host.get("/").assert_status(200).assert_contains(answer);
    event
}

/// The folder is worked through: what is dropped now arrives after everything that was there.
/// Returns the events on the way; none of them was awaited, so an absence can be asserted.
#[track_caller]
fn settle(host: &Host, events: &mut EventStream, marker: &str) -> Vec<Event> {
    let from = events.seen().len();
    host.home().drop_in(&fault("reflect"), &format!("lib{marker}_v1.so"));
    events.wait_for(|it| it.phase == "committed" && it.plugin == marker);
    events.seen()[from..].iter().filter(|it| it.plugin != marker).cloned().collect()
}

/// `cp`: created, written, closed.
#[test]
fn a_copy() {
    let host = v1();
    let mut events = host.events();
    let copied = fs::copy(fault("plain_v2"), target(&host, "libhandler_v2.so")).unwrap();
    assert!(copied > 0);
    check_arrives(&host, &mut events, "v2");
}

/// `mv` from the same file system: whole at once.
#[test]
fn a_rename() {
    let host = v1();
    let mut events = host.events();
    host.home().drop_in(&fault("plain_v2"), "libhandler_v2.so");
    check_arrives(&host, &mut events, "v2");
}

/// `install`, which removes what was there first.
#[test]
fn an_install_over_the_same_name() {
    let host = v1();
    let mut events = host.events();
    let installed = Command::new("install")
        .args(["-m", "0644"])
        .arg(fault("plain_v2"))
        .arg(target(&host, "libhandler_v1.so"))
        .status()
        .unwrap();
    assert!(installed.success());
    check_arrives(&host, &mut events, "v2");
}

/// As rsync does: a dot file beside it, renamed over it.
#[test]
fn a_rename_over_the_same_name() {
    let host = v1();
    let mut events = host.events();
    let hidden = target(&host, ".libhandler_v1.so.Xy12");
    fs::write(&hidden, library::bytes(&fault("plain_v2"))).unwrap();
    fs::rename(hidden, target(&host, "libhandler_v1.so")).unwrap();
    check_arrives(&host, &mut events, "v2");
}

/// A known path with other content, written in place: truncated first.
#[test]
fn truncated_and_written_again() {
    let host = v1();
    let mut events = host.events();
    fs::write(target(&host, "libhandler_v1.so"), library::bytes(&fault("plain_v2"))).unwrap();
    check_arrives(&host, &mut events, "v2");
}

/// A slow writer: what is half there is never loaded, however long it takes.
#[test]
fn a_slow_writer_is_never_half_loaded() {
    let host = v1();
    let mut events = host.events();
    let bytes = library::bytes(&fault("plain_v2"));
    let mut file = File::create(target(&host, "libhandler_v2.so")).unwrap();
    for (piece, marker) in bytes.chunks(bytes.len() / 3 + 1).zip(["one", "two", "three"]) {
        file.write_all(piece).unwrap();
        file.flush().unwrap();
        let others = settle(&host, &mut events, marker);
        assert!(others.iter().all(|it| it.plugin != "handler"), "{others:?}");
        assert!(others.iter().all(|it| it.phase != "refused"), "{others:?}");
        host.get("/").assert_contains("v1");
    }
    drop(file);
    events.wait_for(|it| it.phase == "committed" && it.plugin == "handler");
    host.get("/").assert_contains("v2");
}

#[track_caller]
fn check_no_arrival(host: &Host, act: impl FnOnce(&Path)) {
    let mut events = host.events();
    act(&host.home().plugins());
    let others = settle(host, &mut events, "marker");
    let acted = |it: &&Event| ["committed", "refused", "staged"].contains(&it.phase.as_str());
    let acted: Vec<_> = others.iter().filter(acted).collect();
    assert!(acted.is_empty(), "{acted:?}");
    host.get("/").assert_status(200).assert_contains("v1");
}

/// A symlink is not followed; one warning says so.
#[test]
fn a_symlink_is_ignored_with_a_warning() {
    let host = v1();
    let library = host.home().place(&fault("plain_v2"), "libhandler_v2.so");
    check_no_arrival(&host, |folder| {
        std::os::unix::fs::symlink(library, folder.join("libhandler_v2.so")).unwrap();
    });
    host.assert_logged("symlink");
    let log = host.home().read_log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("symlink")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains("follow_links"), "{lines:?}");
    let files = wire::list(&host.status(), "/files");
    assert_eq!(files.len(), 1, "{files:?}");
    assert!(wire::text(&files[0], "/path").ends_with("/libhandler_v2.so"), "{files:?}");
    assert!(wire::text(&files[0], "/why").contains("follow_links"), "{files:?}");
}

/// Names that begin with a dot, other endings, folders.
#[test]
fn other_names_are_ignored() {
    let host = v1();
    check_no_arrival(&host, |folder| {
        for name in [".libhandler_v2.so", "libhandler_v3.so.part", "libhandler_v4", "handler.txt"] {
            fs::copy(fault("plain_v2"), folder.join(name)).unwrap();
        }
        fs::create_dir(folder.join("deeper")).unwrap();
        fs::copy(fault("plain_v2"), folder.join("deeper").join("libhandler_v5.so")).unwrap();
    });
}

/// The same content again at the same path: touch, a repeated copy.
#[test]
fn the_same_again_is_no_arrival() {
    let host = v1();
    check_no_arrival(&host, |folder| {
        let path = folder.join("libhandler_v1.so");
        let touched = File::options().append(true).open(&path).unwrap();
        touched.set_modified(std::time::SystemTime::now()).unwrap();
        fs::copy(fault("plain_v1"), &path).unwrap();
    });
}

/// Removing the file changes nothing.
#[test]
fn removing_the_file_changes_nothing() {
    let host = v1();
    check_no_arrival(&host, |folder| fs::remove_file(folder.join("libhandler_v1.so")).unwrap());
}

/// A file that was gone, and is written again, is an arrival; unless a rollback has left it, see
/// `away`.
#[test]
fn a_file_that_comes_back_is_an_arrival() {
    let host = v1();
    let mut events = host.events();
    host.home().drop_in(&fault("plain_v2"), "libhandler_v2.so");
    check_arrives(&host, &mut events, "v2");
    fs::remove_file(target(&host, "libhandler_v2.so")).unwrap();
    settle(&host, &mut events, "marker");
    host.deploy(&fault("plain_v1"), "libhandler_v9.so").swapped();
    host.get("/").assert_contains("v1");
    host.home().drop_in(&fault("plain_v2"), "libhandler_v2.so");
    events.wait_for(|it| it.phase == "committed" && it.plugin == "handler" && it.label() == "2");
    host.get("/").assert_contains("v2");
}

/// Several versions at once: only the highest is deployed, the others are named.
#[test]
fn of_several_versions_only_the_highest_is_deployed() {
    let host = host!().arg("--debounce=500ms").with(fault("plain_v1"), "libhandler_v1.so").start();
    let mut events = host.events();
    for version in [9, 12, 10] {
        host.home().drop_in(&fault("plain_v2"), &format!("libhandler_v{version}.so"));
    }
    let arrived = check_arrives(&host, &mut events, "v2");
    assert_eq!(arrived.label(), "12", "{}", arrived.json);
    let others = settle(&host, &mut events, "marker");
    assert!(others.iter().all(|it| it.phase != "committed"), "{others:?}");
    assert_eq!(host.active("handler"), arrived.generation);
}

/// A bad file is refused, and the one that follows it is deployed.
#[test]
fn a_bad_file_is_refused_and_the_next_one_deployed() {
    let host = v1();
    let mut events = host.events();
    host.home().drop_in(&fault("new_panics"), "libhandler_v2.so");
    let refused = events.wait_phase("refused");
    assert!(refused.detail.contains("new_panicked"), "{}", refused.json);
    host.home().drop_in(&fault("plain_v2"), "libhandler_v3.so");
    check_arrives(&host, &mut events, "v2");
}

/// Neither a restart nor a rescan undoes a rollback.
#[test]
fn a_restart_does_not_undo_a_rollback() {
    let mut host = v1();
    let mut events = host.events();
    host.home().drop_in(&fault("plain_v2"), "libhandler_v2.so");
    check_arrives(&host, &mut events, "v2");
    host.control().rollback(Some("handler"), None).swapped();
    settle(&host, &mut events, "marker");
    host.get("/").assert_contains("v1");
    host.restart();
    let mut events = host.events();
    settle(&host, &mut events, "second");
    host.get("/").assert_contains("v1");
}

/// What came while the host was away is deployed after the start.
#[test]
fn what_came_meanwhile_is_deployed_at_the_start() {
    let mut host = v1();
    assert!(host.stop().success());
    host.home().drop_in(&fault("plain_v2"), "libhandler_v2.so");
    host.start_again();
    hotseat_test_support::eventually!(host.get("/").text() == "v2", "{}", host.status());
}

/// Without kernel events the rescan finds it.
#[test]
fn polling_finds_it_too() {
    let host = quick().arg("--watch=polling").with(fault("plain_v1"), "libhandler_v1.so").start();
    let mut events = host.events();
    host.home().drop_in(&fault("plain_v2"), "libhandler_v2.so");
    check_arrives(&host, &mut events, "v2");
}

/// The folder itself may go and come back.
#[test]
fn the_folder_may_come_back() {
    let host = v1();
    let mut events = host.events();
    let folder = host.home().plugins();
    fs::rename(&folder, host.home().path().join("away")).unwrap();
    fs::create_dir(&folder).unwrap();
    host.home().drop_in(&fault("plain_v2"), "libhandler_v2.so");
    check_arrives(&host, &mut events, "v2");
}
