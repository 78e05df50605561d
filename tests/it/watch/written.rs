//! What is written into the folder, how, and what was there before: every way of writing, with every
//! kind of content, by events and by polling.

use std::{
    fs::{self, File, FileTimes},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use hotseat_test_support::{EventStream, Host, eventually, fault, host, library, wire};

/// How a library comes to its place. `$S` is the file, `$T` where it goes, `$D` the folder of the
/// latter; all files have one size and one time.
const WAYS: [(&str, &str); 11] = [
    ("cp", "cp $S $T"),
    ("cp -p", "cp -p $S $T"),
    ("cp --reflink", "cp -p --reflink=auto $S $T"),
    ("written in place, time restored", "cat $S >$T; touch -r $S $T"),
    ("cut, written, time restored", "truncate -s 0 $T; cat $S >>$T; touch -r $S $T"),
    ("mv", "cp -p $S $D/.new; mv $D/.new $T"),
    ("rm, cp -p", "rm -f $T; cp -p $S $T"),
    ("install -p", "install -p -m 644 $S $T"),
    ("tar x", "tar -C $(dirname $S) -cf - $(basename $T) | tar -C $D -xf -"),
    ("ln", "rm -f $T; ln $S $T"),
    ("an older time", "cp -p $S $D/.new; touch -d 1990-01-01 $D/.new; mv $D/.new $T"),
];

pub(super) struct Folder {
    pub(super) host: Host,
    pub(super) events: EventStream,
    /// A file whose rewriting says that the folder was looked at.
    marker: PathBuf,
    /// Those before it: a number of a file that is given again would make a new one look like the one
    /// before, touched.
    markers: Vec<File>,
    versions: u32,
}

impl Folder {
    pub(super) fn watched(mode: &str) -> Self {
        let host = host!()
            .arg("--debounce=30ms")
            .arg("--rescan=150ms")
            .arg(format!("--watch={mode}"))
            .with(fault("plain_v1"), "libhandler_v1.so")
            .start();
        let mut events = host.events();
        let marker = host.home().drop_in(&fault("reflect"), "libmarker_v1.so");
        events.wait_for(|it| it.phase == "committed" && it.plugin == "marker");
        fs::create_dir(host.home().path().join("source")).unwrap();
        Self { host, events, marker, markers: Vec::new(), versions: 0 }
    }

    fn source(&self) -> PathBuf {
        self.host.home().path().join("source/libhandler_v2.so")
    }

    pub(super) fn target(&self) -> PathBuf {
        self.host.home().plugins().join("libhandler_v2.so")
    }

    /// Another content with the size and the time of all others.
    pub(super) fn new_content(&mut self) {
        self.versions += 1;
        let bytes = [library::bytes(&fault("plain_v2")), self.versions.to_le_bytes().into()];
        // A new file: the one before may be what lies in the folder.
        let _ = fs::remove_file(self.source());
        fs::write(self.source(), bytes.concat()).unwrap();
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let times = FileTimes::new().set_accessed(at).set_modified(at);
        File::options().write(true).open(self.source()).unwrap().set_times(times).unwrap();
    }

    pub(super) fn write(&self, script: &str) {
        let mut shell = Command::new("sh");
        let names = [("S", self.source()), ("T", self.target()), ("D", self.host.home().plugins())];
        let done = shell.args(["-ec", script]).envs(names).status().unwrap();
        assert!(done.success(), "{script}");
    }

    #[track_caller]
    pub(super) fn check_deployed(&mut self, what: &str) {
        let ended = |it: &hotseat_test_support::Event| {
            it.plugin == "handler" && ["committed", "refused"].contains(&&*it.phase)
        };
        let event = self.events.wait_for(ended);
        assert_eq!(event.phase, "committed", "{what}: {}", event.json);
        assert_eq!(event.generation, self.host.active("handler"), "{what}");
    }

    /// Two looks have been taken, and nothing that they ordered is left to do. Nothing was.
    #[track_caller]
    pub(super) fn check_nothing(&mut self, before: u64, what: &str) {
        for _ in 0..2 {
            let marker = self.host.home().drop_in(&fault("reflect"), "libmarker_v1.so");
            self.markers.push(File::open(marker).unwrap());
            self.events.wait_for(|it| it.phase == "ignored" && it.plugin == "marker");
        }
        let open = |host: &Host| {
            let orders = wire::list(&host.control().get_json("/v1/deploys"), "/orders");
            orders
                .iter()
                .filter(|it| ["waiting", "running"].contains(&it["state"].as_str().unwrap()))
                .count()
        };
        eventually!(open(&self.host) == 0);
        assert_eq!(self.host.active("handler"), before, "{what}: something was deployed");
        assert!(self.marker.exists());
    }

    /// Something else serves, by an order that has nothing to do with the folder.
    pub(super) fn load_another(&mut self) -> u64 {
        let loaded = self.host.deploy(&fault("plain_v1"), "libhandler_v9.so").swapped();
        self.events.wait_generation(loaded.generation, "committed");
        loaded.generation
    }

    /// A line in the log and the status names the command, and it works.
    #[track_caller]
    fn check_held(&mut self, before: u64, what: &str) {
        let target = self.target();
        let event = self.events.wait_for(|it| it.phase == "ignored" && it.plugin == "handler");
        let command = format!("hotseat load {}", target.display());
        assert!(event.detail.contains("rolled back") && event.detail.contains(&command), "{what}");
        self.check_nothing(before, what);
        let files = wire::list(&self.host.status(), "/files");
        let why = files.iter().find(|it| wire::text(it, "/path") == target.to_str().unwrap());
        let why = why.unwrap_or_else(|| panic!("{what}: the status says nothing: {files:?}"));
        assert!(wire::text(why, "/why").contains(&command), "{what}: {why}");
        let loaded = self.host.control().deploy(&target).swapped();
        self.events.wait_generation(loaded.generation, "committed");
        assert_eq!(wire::list(&self.host.status(), "/files").len(), 0, "{what}");
    }
}

fn check_every_way(mode: &str) {
    let mut folder = Folder::watched(mode);
    for (way, script) in WAYS {
        let what = |content: &str| format!("{way}, {content}, {mode}");
        folder.new_content();
        folder.write(script);
        folder.check_deployed(&what("new content"));
        let serving = folder.host.active("handler");
        folder.write(script);
        folder.check_nothing(serving, &what("what serves"));
        folder.host.control().rollback(Some("handler"), None).swapped();
        let back = folder.host.active("handler");
        folder.events.wait_generation(back, "committed");
        folder.write(script);
        folder.check_held(back, &what("what was rolled back"));
        folder.load_another();
        folder.write(script);
        folder.check_deployed(&what("what was there before and does not serve"));
        folder.host.control().unload("handler").assert_status(200);
        folder.write(script);
        folder.check_deployed(&what("what was there before and was unloaded"));
    }
}

#[test]
fn every_way_of_writing_by_events() {
    check_every_way("events");
}

#[test]
fn every_way_of_writing_by_polling() {
    check_every_way("polling");
}

/// Whatever is done to a file without writing it changes nothing: neither what was loaded by hand nor
/// what was taken out.
#[test]
fn a_touch_is_no_write() {
    for mode in ["events", "polling"] {
        let mut folder = Folder::watched(mode);
        folder.new_content();
        folder.write("cp -p $S $T");
        folder.check_deployed("new content");
        let loaded = folder.load_another();
        for script in [
            "touch $T",
            "touch -d 2030-01-01 $T",
            "touch -m -d 1995-01-01 $T",
            "chmod 600 $T",
            "chown $(id -u) $T",
            "ln $T $D/../another",
            "mv $D $D.away; mv $D.away $D",
        ] {
            folder.write(script);
            folder.check_nothing(loaded, &format!("{script}, {mode}"));
        }
    }
}

/// Nor does a start: what was loaded by hand, rolled back or taken out stays so, whatever lies in the
/// folder, and a file that was touched meanwhile is no write either.
#[test]
fn a_restart_is_no_write() {
    let mut folder = Folder::watched("events");
    folder.new_content();
    folder.write("cp -p $S $T");
    folder.check_deployed("new content");
    let loaded = folder.load_another();
    assert!(folder.host.stop().success());
    folder.write("touch $T; chmod 600 $T");
    folder.host.start_again();
    folder.events = folder.host.events();
    folder.check_nothing(loaded, "a restart after a load");
    folder.host.control().rollback(Some("handler"), None).swapped();
    let back = folder.host.control().rollback(Some("handler"), None).swapped().generation;
    folder.host.restart();
    folder.events = folder.host.events();
    folder.check_nothing(back, "a restart after rollbacks");
    // What was left is remembered across restarts, and so is that somebody was told.
    folder.write("rm $T; cp $S $T");
    folder.events.wait_for(|it| it.phase == "ignored" && it.plugin == "handler");
    folder.host.restart();
    folder.events = folder.host.events();
    folder.check_nothing(back, "a restart after a line");
    let files = wire::list(&folder.host.status(), "/files");
    assert_eq!(files.len(), 1, "{files:?}");
}

/// What came while the host was away is content like any other, whatever its size and time.
#[test]
fn new_content_at_a_start() {
    let mut folder = Folder::watched("events");
    folder.new_content();
    folder.write("cp -p $S $T");
    folder.check_deployed("new content");
    assert!(folder.host.stop().success());
    folder.new_content();
    folder.write("cp -p $S $T");
    let before = fs::read(folder.state_manifest()).unwrap();
    folder.host.start_again();
    eventually!(folder.host.active("handler") == 4, "{}", folder.host.status());
    assert_ne!(fs::read(folder.state_manifest()).unwrap(), before);
}

impl Folder {
    fn state_manifest(&self) -> PathBuf {
        self.host.state_file("manifest.json")
    }
}

/// An order that ended with its process, before its end, is given again by the next one.
#[test]
fn a_kill_before_the_commit_loses_no_file() {
    let mut folder = Folder::watched("events");
    let slow: &Path = &fault("new_slow");
    folder.host.home().drop_in(slow, "libslow_v1.so");
    folder.events.wait_for(|it| it.phase == "verified" && it.plugin == "slow");
    folder.host.kill9();
    folder.host.start_again();
    eventually!(folder.host.get("/slow").text() == "new_slow", "{}", folder.host.status());
    let manifest: serde_json::Value =
        serde_json::from_slice(&library::bytes(&folder.state_manifest())).unwrap();
    let open = wire::list(&manifest, "/seen").into_iter().filter(|it| !it["ordered"].is_null());
    assert_eq!(open.count(), 0, "{manifest}");
}
