//! Libraries that plugins need: each runs with the copy that it was tried with, or is refused before
//! anything moves.

use std::{fs, os::unix::fs::symlink, path::PathBuf, process::Command};

use hotseat_test_support::{
    Builder, Event, Host, elf, eventually, fault, host, library, procfs,
    tool::{skip, tool},
    wire,
};
use rustix::process::Signal;
use tempfile::TempDir;

mod beside;

/// As most companions are made.
const USUAL: &[&str] = &[BUILD, SONAME];
/// As some are.
const BARE: &[&str] = &["-Wl,--build-id=none", SONAME];
/// As others are: what needs them knows them by their file.
const NAMELESS: &[&str] = &[BUILD];
const BUILD: &str = "-Wl,--build-id=sha1";
const SONAME: &str = "-Wl,-soname,libcompanion.so.1";

/// Folders with short names, with a compiler.
struct Shelf {
    compiler: PathBuf,
    root: TempDir,
}

impl Shelf {
    /// `None`: there is no compiler.
    fn new() -> Option<Self> {
        let Some(compiler) = tool("cc") else {
            skip("there is no C compiler (`cc`)");
            return None;
        };
        let root = tempfile::Builder::new().prefix("companions-").tempdir().unwrap();
        Some(Self { compiler, root })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Compiles `folder/name` with more arguments; its file is new.
    fn make(&self, folder: &str, name: &str, code: &str, more: &[&str]) -> PathBuf {
        let folder = self.path(folder);
        fs::create_dir_all(&folder).unwrap();
        let source = folder.join("source.c");
        fs::write(&source, code).unwrap();
        let made = folder.join("made.so");
        let mut command = Command::new(&self.compiler);
        command.args(["-shared", "-fPIC", "-o"]).arg(&made).arg(source).args(more);
        assert!(command.status().unwrap().success());
        let path = folder.join(name);
        fs::rename(made, &path).unwrap();
        path
    }

    /// A companion that says `text`, in `folder`, made with these arguments.
    fn companion(&self, folder: &str, text: &str, more: &[&str]) -> PathBuf {
        let code = format!("const char *companion(void) {{ return \"{text}\"; }}");
        self.make(folder, "libcompanion.so.1", &code, more)
    }

    /// A plugin that looks for its companion in these places, in which `@` is the shelf; another one
    /// for each number.
    fn plugin(&self, places: &str, number: u8) -> Vec<u8> {
        let places = places.replace('@', self.root.path().to_str().unwrap());
        needing("libcompanion.so.1", &places, number)
    }

    /// The same, without places.
    fn plain(number: u8) -> Vec<u8> {
        needing("libcompanion.so.1", "", number)
    }
}

/// The plugin as one that needs `wanted`, and looks for it in `places`.
fn needing(wanted: &str, places: &str, number: u8) -> Vec<u8> {
    let room = format!("room_for_a_path{}", "_".repeat(97));
    let mut bytes = library::bytes(&fault("companion"));
    let places = format!("{places}{}", "\0".repeat(room.len() - places.len()));
    bytes = elf::with_text(bytes, &room, &places);
    if wanted != "libcompanion.so.1" {
        let names = elf::section(&bytes, ".dynstr");
        let changed = elf::with_text(bytes[names.clone()].to_vec(), "libcompanion.so.1", wanted);
        bytes[names].copy_from_slice(&changed);
    }
    let names = elf::section(&bytes, ".dynstr");
    let at = |text: &str| {
        let found = bytes[names.clone()].windows(text.len()).position(|it| it == text.as_bytes());
        u64::try_from(found.expect("a name in the table")).unwrap()
    };
    let (wanted, places) = (at(wanted), at(&places));
    bytes = elf::with_dynamic_entry(bytes, elf::DT_NEEDED, wanted);
    // That it is bound at once is said twice.
    bytes = elf::with_entry_in_place_of(bytes, elf::DT_FLAGS, elf::DT_RUNPATH, places);
    bytes.push(number);
    bytes
}

/// The files of this name that the worker has mapped.
fn mapped(host: &Host, name: &str) -> Vec<String> {
    let maps = procfs::maps(host.worker_pid());
    let mut files: Vec<_> = maps.into_iter().filter(|it| it.contains(name)).collect();
    files.iter_mut().for_each(|it| *it = it[it.find('/').unwrap()..].to_owned());
    files.sort();
    files.dedup();
    files
}

/// A host whose upgrades are not watched for long.
fn brisk() -> Builder {
    host!().arg("--soak-time=100ms")
}

#[track_caller]
fn says(host: &Host, text: &str) {
    assert_eq!(host.get("/").assert_status(200).text(), text, "{}", host.log_end());
}

#[track_caller]
fn contains_all(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no `{word}` in: {text}");
    }
}

/// Another copy under the same name, told by its build or by its file: refused before anything moves,
/// and whoever needs the one that is here is named. Once that is gone it is accepted, and serves again
/// after a crash and a restart, with its own; the way back meets the same rule.
#[test]
fn another_copy_is_refused_until_the_first_is_gone() {
    let Some(shelf) = Shelf::new() else { return };
    for more in [USUAL, BARE, NAMELESS] {
        shelf.companion("a", "A", more);
        shelf.companion("b", "B", more);
        let mut host = brisk().start();
        host.deploy_bytes(&shelf.plugin("@/a", 1), "libhandler_v1.so").swapped();
        says(&host, "A");
        let traffic = host.traffic("/");
        traffic.wait_for(5);
        let second = shelf.plugin("@/b", 2);
        let refused = host.deploy_bytes(&second, "libhandler_v2.so");
        let refused = refused.assert_refused(409, "other_copy");
        let paths = ["a", "b"].map(|it| shelf.path(it).join("libcompanion.so.1"));
        let [a, b] = paths.each_ref().map(|it| it.to_str().unwrap());
        contains_all(&refused.text, &["`libcompanion.so.1`", a, b, "handler v1 (generation 1)"]);
        let told = if more == BARE { "inode" } else { "build id" };
        contains_all(&refused.text, &[told]);
        contains_all(&refused.hint, &["SONAME", "statically", "handler v1"]);
        says(&host, "A");
        assert_eq!(mapped(&host, "libcompanion"), [a], "nothing is left of the other");
        assert_eq!(host.loaded().len(), 1);
        assert_eq!(traffic.finish().keys().collect::<Vec<_>>(), ["A"]);
        let mut events = host.events();
        host.deploy(&fault("plain_v1"), "libhandler_v3.so").swapped();
        events.wait_generation(1, "unloaded");
        let serves = host.deploy_bytes(&second, "libhandler_v2.so").swapped().generation;
        says(&host, "B");
        assert_eq!(mapped(&host, "libcompanion"), [b]);
        // The way back is held to the same.
        let refused = host.control().rollback(Some("handler"), Some(1));
        let refused = refused.assert_refused(409, "other_copy");
        contains_all(&refused.text, &[a, b, &format!("generation {serves}")]);
        says(&host, "B");
        let worker = host.worker_pid();
        host.signal_process(worker, Signal::KILL);
        host.wait_other_worker(worker);
        says(&host, "B");
        host.restart();
        says(&host, "B");
        host.upgrade(&["--wait"]).assert_code(0);
        says(&host, "B");
        assert_eq!(mapped(&host, "libcompanion"), [b]);
    }
}

/// A file in the plugins folder waits until the other copy is gone, without a word more.
#[test]
fn a_file_waits_until_the_other_copy_is_gone() {
    let Some(shelf) = Shelf::new() else { return };
    shelf.companion("a", "A", USUAL);
    shelf.companion("b", "B", USUAL);
    let host = brisk().arg("--rescan=50ms").start();
    host.deploy_bytes(&shelf.plugin("@/a", 1), "libother_v1.so").swapped();
    let mut events = host.events();
    let made = host.home().write("made.so", &shelf.plugin("@/b", 2));
    host.home().drop_in(&made, "libhandler_v1.so");
    let refused = events.wait_for(|event| event.phase == "refused");
    assert!(refused.detail.contains("other_copy"), "{}", refused.json);
    let mut next = |plugin: &str| {
        let wanted = |it: &Event| it.phase == "refused" || it.phase == "committed";
        let event = events.wait_for(wanted);
        assert_eq!((&*event.phase, &*event.plugin), ("committed", plugin), "{}", event.json);
    };
    for marker in ["one", "two", "three"] {
        host.home().drop_in(&fault("plain_v1"), &format!("lib{marker}_v1.so"));
        next(marker);
    }
    host.control().unload("other").assert_status(200);
    next("handler");
    says(&host, "B");
}

/// A package was upgraded: the file is another one by now, and the process has the one of before.
#[test]
fn a_copy_that_was_replaced_needs_a_fresh_worker() {
    let Some(shelf) = Shelf::new() else { return };
    for more in [USUAL, BARE, NAMELESS] {
        let path = shelf.companion("a", "A", more);
        let host = brisk().start();
        host.deploy_bytes(&shelf.plugin("@/a", 1), "libhandler_v1.so").swapped();
        shelf.companion("a", "B", more);
        let second = shelf.plugin("@/a", 2);
        let refused = host.deploy_bytes(&second, "libhandler_v2.so");
        let refused = refused.assert_refused(409, "other_copy");
        contains_all(&refused.text, &[path.to_str().unwrap(), "inode", "still", "handler v1"]);
        contains_all(&refused.hint, &["hotseat upgrade", "recycle"]);
        says(&host, "A");
        host.upgrade(&["--wait"]).assert_code(0);
        says(&host, "B");
        host.deploy_bytes(&second, "libhandler_v2.so").swapped();
        says(&host, "B");
        assert_eq!(mapped(&host, "libcompanion"), [path.to_str().unwrap()]);
        host.assert_no_failed_requests();
    }
}

/// With the option the host does that by itself, and the order goes on.
#[test]
fn a_replaced_copy_renews_the_worker_where_that_is_wanted() {
    let Some(shelf) = Shelf::new() else { return };
    shelf.companion("a", "A", USUAL);
    let host = brisk().arg("--recycle=auto").arg("--upgrade-drain=30s").start();
    host.deploy_bytes(&shelf.plugin("@/a", 1), "libhandler_v1.so").swapped();
    shelf.companion("a", "B", USUAL);
    let worker = host.worker_pid();
    let swapped = host.deploy_bytes(&shelf.plugin("@/a", 2), "libhandler_v2.so").swapped();
    assert_eq!(swapped.label, "2");
    says(&host, "B");
    assert_ne!(host.worker_pid(), worker, "{}", host.log_end());
    host.assert_no_failed_requests();
}

/// What is the same is never refused: one file, another way to it, another copy of the same build, one
/// that was deleted and put there again, what two plugins share.
#[test]
fn the_same_copy_is_accepted_wherever_it_lies() {
    let Some(shelf) = Shelf::new() else { return };
    let path = shelf.companion("a", "A", USUAL);
    let bare = shelf.companion("n", "A", BARE);
    symlink("a", shelf.path("link")).unwrap();
    fs::create_dir(shelf.path("name")).unwrap();
    symlink(&path, shelf.path("name").join("libcompanion.so.1")).unwrap();
    fs::create_dir(shelf.path("copy")).unwrap();
    fs::copy(&path, shelf.path("copy").join("libcompanion.so.1")).unwrap();
    fs::create_dir(shelf.path("hard")).unwrap();
    fs::hard_link(&bare, shelf.path("hard").join("libcompanion.so.1")).unwrap();
    for (first, others) in [("@/a", ["@/a", "@/link", "@/name", "@/copy"]), ("@/n", ["@/hard"; 4])]
    {
        let host = brisk().start();
        host.deploy_bytes(&shelf.plugin(first, 1), "libhandler_v1.so").swapped();
        for (number, place) in (2..).zip(others) {
            let name = format!("libother{number}_v1.so");
            host.deploy_bytes(&shelf.plugin(place, number), &name).swapped();
            let answer = host.get(&format!("/other{number}/"));
            assert_eq!(answer.assert_status(200).text(), "A", "{place}");
        }
        assert_eq!(mapped(&host, "libcompanion").len(), 1, "one for all");
    }
    let host = brisk().start();
    host.deploy_bytes(&shelf.plugin("@/a", 1), "libhandler_v1.so").swapped();
    let again = shelf.path("again");
    fs::copy(&path, &again).unwrap();
    fs::remove_file(&path).unwrap();
    fs::rename(again, &path).unwrap();
    assert!(mapped(&host, "libcompanion")[0].ends_with("(deleted)"));
    host.deploy_bytes(&shelf.plugin("@/a", 2), "libhandler_v2.so").swapped();
    says(&host, "A");
    let env = brisk().env("LD_LIBRARY_PATH", shelf.path("copy")).start();
    env.deploy_bytes(&Shelf::plain(1), "libhandler_v1.so").swapped();
    env.deploy_bytes(&shelf.plugin("@/n", 2), "libhandler_v2.so").swapped();
    says(&env, "A");
}

/// A companion for `number` that needs a library of its own, made with these arguments, and a function of
/// it that no other has.
fn with_inner(shelf: &Shelf, folder: &str, number: u8, more: &[&str]) {
    let code = format!("const char *inner{number}(void) {{ return \"A\"; }}");
    shelf.make(folder, "libinner.so.1", &code, more);
    let code = format!(
        "extern const char *inner{number}(void);
        const char *companion(void) {{ return inner{number}(); }}"
    );
    let name = format!("libcompanion.so.{number}");
    let (soname, places) =
        (format!("-Wl,-soname,{name}"), format!("-L{}", shelf.path(folder).display()));
    shelf.make(folder, &name, &code, &[&soname, &places, "-l:libinner.so.1", "-Wl,-rpath,$ORIGIN"]);
}

/// What a companion needs counts like what the plugin needs. It is seen before anything is loaded: else
/// the loader would miss a function, and not say why.
#[test]
fn a_copy_behind_a_companion_is_told() {
    let Some(shelf) = Shelf::new() else { return };
    for more in [&[BUILD, "-Wl,-soname,libinner.so.1"][..], NAMELESS] {
        with_inner(&shelf, "a", 1, more);
        with_inner(&shelf, "b", 2, more);
        let host = brisk().start();
        host.deploy_bytes(&shelf.plugin("@/a", 1), "libhandler_v1.so").swapped();
        says(&host, "A");
        let second = needing("libcompanion.so.2", shelf.path("b").to_str().unwrap(), 2);
        let refused = host.deploy_bytes(&second, "libother_v1.so");
        let refused = refused.assert_refused(409, "other_copy");
        contains_all(
            &refused.text,
            &["`libinner.so.1`", "/a/libinner", "/b/libinner", "handler v1"],
        );
        assert!(mapped(&host, "libcompanion.so.2").is_empty(), "its companion was not loaded");
        says(&host, "A");
    }
}

/// Two that agreed when they were deployed and do not agree any more: at a start and after a crash one of
/// them serves, the other says why not; an upgrade leaves both as they are.
#[test]
fn what_disagrees_by_now_does_not_boot_together() {
    let Some(shelf) = Shelf::new() else { return };
    shelf.companion("a", "A", USUAL);
    shelf.companion("b", "A", USUAL);
    let mut host = brisk().start();
    host.deploy_bytes(&shelf.plugin("@/a", 1), "libhandler_v1.so").swapped();
    host.deploy_bytes(&shelf.plugin("@/b", 2), "libother_v1.so").swapped();
    let other = |host: &Host| host.get("/other/").text().to_owned();
    assert_eq!(other(&host), "A");
    shelf.companion("b", "B", USUAL);
    let upgrade = host.upgrade(&["--wait"]);
    assert_ne!(upgrade.verdict(), "committed", "{}", upgrade.text());
    says(&host, "A");
    assert_eq!(other(&host), "A", "what served serves");
    for crash in [true, false] {
        if crash {
            let worker = host.worker_pid();
            host.signal_process(worker, Signal::KILL);
            host.wait_other_worker(worker);
        } else {
            host.restart();
        }
        says(&host, "A");
        host.get("/other/").assert_status(503);
        let warned = wire::plugin(&host.status(), "other").to_string();
        contains_all(&warned, &["libcompanion.so.1", "/b/", "/a/", "generation 1"]);
    }
    shelf.companion("b", "A", USUAL);
    host.restart();
    eventually!(other(&host) == "A", "both again\n{}", host.log_end());
}

/// Where the serving process finds another one than the child, it says so behind its load: a folder that
/// was not there at its start is one in which the loader does not look again.
#[test]
fn a_copy_that_is_found_elsewhere_is_refused() {
    let Some(shelf) = Shelf::new() else { return };
    shelf.companion("b", "B", USUAL);
    let host = brisk().env("LD_LIBRARY_PATH", shelf.path("late")).start();
    shelf.companion("late", "A", USUAL);
    let refused = host.deploy_bytes(&shelf.plugin("@/b", 1), "libhandler_v1.so");
    let refused = refused.assert_refused(409, "other_copy");
    contains_all(&refused.text, &["/late/libcompanion.so.1", "finds", "/b/libcompanion.so.1"]);
    contains_all(&refused.hint, &["hotseat upgrade"]);
    assert!(mapped(&host, "libcompanion").is_empty() && host.loaded().is_empty());
    host.upgrade(&["--wait"]).assert_code(0);
    host.deploy_bytes(&shelf.plugin("@/b", 1), "libhandler_v1.so").swapped();
    says(&host, "A");
}

/// One that stays when its plugin goes is nobody's, and another worker does not have it.
#[test]
fn a_copy_that_stays_is_left_behind_by_an_upgrade() {
    let Some(shelf) = Shelf::new() else { return };
    shelf.companion("a", "A", &[BUILD, SONAME, "-Wl,-z,nodelete"]);
    shelf.companion("b", "B", USUAL);
    let host = brisk().arg("--recycle=auto").start();
    host.deploy_bytes(&shelf.plugin("@/a", 1), "libhandler_v1.so").swapped();
    let mut events = host.events();
    host.deploy(&fault("plain_v1"), "libhandler_v2.so").swapped();
    events.wait_generation(1, "unloaded");
    let third = shelf.plugin("@/b", 3);
    let refused = host.deploy_bytes(&third, "libhandler_v3.so");
    let refused = refused.assert_refused(409, "other_copy");
    contains_all(&refused.text, &["/a/libcompanion.so.1", "/b/libcompanion.so.1", "nothing needs"]);
    contains_all(&refused.hint, &["hotseat upgrade"]);
    host.upgrade(&["--wait"]).assert_code(0);
    host.deploy_bytes(&third, "libhandler_v3.so").swapped();
    says(&host, "B");
}
