//! The whole thread against a real folder. Where a test claims that something does not happen, a
//! file dropped afterwards and ordered proves that the folder was looked at meanwhile.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use super::*;
use crate::{
    artifact::{digest, elf::fixture},
    deploy::{
        condition::Condition,
        desk::DeskError,
        order::{Order, Source},
    },
    event::{Event, Heard, Listener, Phase},
    ids::{Digest, PluginName},
    state::{Fate, Note, Seen, Standing},
};

const PATIENCE: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(3_600);

#[derive(Default)]
pub(super) struct Memory {
    seen: Mutex<BTreeMap<PathBuf, Seen>>,
    changed: Condvar,
    /// What every content is to its plugin.
    standing: Mutex<Option<Standing>>,
    notes: Mutex<BTreeMap<PathBuf, Note>>,
    /// Its disk cannot be written.
    pub(super) fails: AtomicBool,
}

impl SeenStore for Memory {
    fn seen(&self) -> BTreeMap<PathBuf, Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn may_remember(&self) -> bool {
        !self.fails.load(Ordering::Relaxed)
    }

    fn remember(&self, path: &Path, seen: Option<Seen>) {
        let mut all = self.seen.lock().unwrap();
        match seen {
            Some(seen) => all.insert(path.to_owned(), seen),
            None => all.remove(path),
        };
        drop(all);
        self.changed.notify_all();
    }

    fn standing(&self, _: &PluginName, _: Digest) -> Standing {
        self.standing.lock().unwrap().unwrap_or(Standing::Free)
    }

    fn note(&self, path: &Path, note: Option<Note>) {
        let mut notes = self.notes.lock().unwrap();
        match note {
            Some(note) => notes.insert(path.to_owned(), note),
            None => notes.remove(path),
        };
    }
}

impl Memory {
    #[track_caller]
    fn wait_until(&self, mut condition: impl FnMut(&BTreeMap<PathBuf, Seen>) -> bool) {
        let seen = self.seen.lock().unwrap();
        let waited = self.changed.wait_timeout_while(seen, PATIENCE, |seen| !condition(seen));
        assert!(!waited.unwrap().1.timed_out(), "the memory never looked as expected");
    }
}

/// A folder, its watcher, and a desk whose orders are taken out and told.
struct Fixture {
    _temporary: tempfile::TempDir,
    dir: PathBuf,
    desk: Desk,
    memory: Arc<Memory>,
    events: Listener,
    watcher: Option<Watcher>,
}

fn fixture(mode: Watch, queue: usize) -> Fixture {
    match mode {
        // Far apart: whatever happens, happens because of an event.
        Watch::Events => fixture_with(mode, queue, Duration::from_millis(30), LONG),
        Watch::Polling => {
            fixture_with(mode, queue, Duration::from_millis(2), Duration::from_millis(5))
        }
    }
}

fn fixture_with(mode: Watch, queue: usize, debounce: Duration, rescan: Duration) -> Fixture {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("plugins");
    let all = Events::new(64);
    let (desk, events) = (Desk::new(queue, all.clone()), all.listen());
    let memory = Arc::new(Memory::default());
    let (dir_, follow_links, library_bytes) = (dir.clone(), false, 1 << 20);
    let serves = false;
    let config =
        WatchConfig { dir: dir_, serves, mode, follow_links, debounce, rescan, library_bytes };
    let store = Arc::clone(&memory) as Arc<dyn SeenStore>;
    let watcher = Watcher::start(config, desk.clone(), store, all).unwrap();
    Fixture { _temporary: temporary, dir, desk, memory, events, watcher: Some(watcher) }
}

fn begun(mode: Watch) -> Fixture {
    let fixture = fixture(mode, 64);
    fixture.watcher.as_ref().unwrap().begin();
    fixture
}

impl Fixture {
    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.dir.join(name);
        File::create(&path).unwrap().write_all(content).unwrap();
        path
    }

    /// Moves a whole file in, as `install` and most programs do.
    fn drop_in(&self, name: &str, content: &[u8]) -> PathBuf {
        let outside = self.dir.with_file_name("outside");
        File::create(&outside).unwrap().write_all(content).unwrap();
        let path = self.dir.join(name);
        fs::rename(outside, &path).unwrap();
        path
    }

    /// The next order's path. It is refused: the watcher must not care.
    #[track_caller]
    fn ordered(&self) -> PathBuf {
        let (sender, receiver) = mpsc::sync_channel(1);
        let desk = self.desk.clone();
        // `take` waits without a limit; this thread ends with the desk.
        std::thread::spawn(move || {
            if let Some(job) = desk.take() {
                let Order::Deploy { path, force: false, source: Source::Folder, .. } = &job.order
                else {
                    panic!("an order that the folder never gives: {:?}", job.order);
                };
                let path = path.clone();
                desk.finish(job, Err(Arc::new(DeskError::Busy { limit: 0 })));
                let _ = sender.send(path);
            }
        });
        receiver.recv_timeout(PATIENCE).expect("an order")
    }

    /// The next `Ignored` event's detail.
    #[track_caller]
    fn ignored(&mut self) -> Event {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let next = async {
            loop {
                let Heard::Event(event) = self.events.next().await else { continue };
                if event.phase == Phase::Ignored {
                    return event;
                }
            }
        };
        runtime.block_on(async { tokio::time::timeout(PATIENCE, next).await }).expect("an event")
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.desk.close();
        self.watcher = None;
    }
}

#[test]
fn files_that_arrive_whole_are_ordered_once() {
    for mode in [Watch::Events, Watch::Polling] {
        let fixture = begun(mode);
        let moved = fixture.drop_in("liba_v1.so", b"one");
        assert_eq!(fixture.ordered(), moved);
        let copied = fixture.write("libb_v1.so", b"two");
        assert_eq!(fixture.ordered(), copied);
        fs::remove_file(&copied).unwrap();
        let changed = fixture.drop_in("liba_v1.so", b"other");
        assert_eq!(fixture.ordered(), changed, "{mode:?}: other content under a known path");
        assert!(fixture.desk.orders().iter().all(|order| order.state == "refused"));
    }
}

#[test]
fn nothing_is_looked_at_before_the_begin() {
    let fixture = fixture(Watch::Polling, 64);
    let early = fixture.write("liba_v1.so", b"one");
    assert!(fixture.desk.orders().is_empty());
    fixture.watcher.as_ref().unwrap().begin();
    assert_eq!(fixture.ordered(), early);
}

#[test]
fn a_file_that_is_being_written_waits_for_its_writer() {
    let fixture = begun(Watch::Polling);
    let path = fixture.dir.join("libslow_v1.so");
    let mut slow = File::create(&path).unwrap();
    slow.write_all(b"half").unwrap();
    for round in ["a", "b", "c"] {
        let other = fixture.drop_in(&format!("lib{round}_v1.so"), round.as_bytes());
        assert_eq!(fixture.ordered(), other, "not the one that is being written");
    }
    slow.write_all(b" and half").unwrap();
    drop(slow);
    assert_eq!(fixture.ordered(), path);
    let whole = digest(b"half and half");
    fixture.memory.wait_until(|seen| seen.get(&path).is_some_and(|seen| seen.digest == whole));
}

#[test]
fn the_same_content_again_is_ordered_unless_it_serves_or_was_left() {
    let mut fixture = begun(Watch::Events);
    let path = fixture.write("liba_v1.so", b"one");
    assert_eq!(fixture.ordered(), path);
    let ended = |seen: &BTreeMap<PathBuf, Seen>| {
        seen.get(&path).is_some_and(|seen| !matches!(seen.fate, Fate::Ordered(_)))
    };
    fixture.memory.wait_until(ended);
    fixture.drop_in("liba_v1.so", b"one");
    assert_eq!(fixture.ordered(), path, "whoever copies it means it");
    fixture.memory.wait_until(ended);
    for (standing, command) in [
        (Standing::Serves, format!("hotseat load --force {}", path.display())),
        (Standing::Left, format!("hotseat load {}", path.display())),
    ] {
        *fixture.memory.standing.lock().unwrap() = Some(standing);
        fixture.drop_in("liba_v1.so", b"one");
        let event = fixture.ignored();
        assert_eq!(event.plugin.unwrap().as_str(), "a");
        assert_eq!(event.digest, Some(digest(b"one")));
        assert!(event.detail.unwrap().contains(&command), "{standing:?}");
        let notes = fixture.memory.notes.lock().unwrap();
        assert_eq!(notes.contains_key(&path), standing == Standing::Left, "{notes:?}");
    }
    let other = fixture.drop_in("libb_v1.so", b"two");
    assert_eq!(fixture.ordered(), other);
}

#[test]
fn of_one_name_only_the_highest_version_is_ordered() {
    let mut fixture = fixture(Watch::Events, 64);
    fixture.write("liba_v9.so", b"nine");
    let highest = fixture.write("liba_v10.so", b"ten");
    // The name comes from the manifest inside.
    let library = fixture.write("some.so", &fixture::library("a_v2"));
    fixture.watcher.as_ref().unwrap().begin();
    assert_eq!(fixture.ordered(), highest);
    for lower in [library, fixture.dir.join("liba_v9.so")] {
        let detail = fixture.ignored().detail.unwrap();
        assert!(detail.contains(lower.to_str().unwrap()), "{detail}");
        assert!(detail.contains("superseded by v10"), "{detail}");
    }
    fs::remove_file(&highest).unwrap();
    let other = fixture.drop_in("libb_v1.so", b"b");
    assert_eq!(fixture.ordered(), other, "a superseded file stays superseded");
}

#[test]
fn what_does_not_count_is_ignored() {
    let mut fixture = begun(Watch::Polling);
    let outside = fixture.dir.with_file_name("liboutside_v1.so");
    File::create(&outside).unwrap().write_all(b"x").unwrap();
    symlink(&outside, fixture.dir.join("liblink_v1.so")).unwrap();
    let detail = fixture.ignored().detail.unwrap();
    assert!(detail.contains("liblink_v1.so") && detail.contains("symlink"), "{detail}");
    fixture.write(".liba_v1.so", b"x");
    fixture.write("liba_v1.so.part", b"x");
    fs::create_dir(fixture.dir.join("libdir_v1.so")).unwrap();
    for round in ["a", "b", "c"] {
        let other = fixture.drop_in(&format!("lib{round}_v1.so"), round.as_bytes());
        assert_eq!(fixture.ordered(), other);
    }
    let told = std::iter::from_fn(|| fixture.events.try_next());
    let told = told.filter_map(|heard| match heard {
        Heard::Event(event) => Some(event),
        Heard::Missed { .. } | Heard::Lost { .. } => None,
    });
    let warnings = told.filter(|event| event.phase == Phase::Ignored).count();
    assert_eq!(warnings, 0, "a symlink is warned about once");
}

#[test]
fn a_full_queue_is_tried_again() {
    let mut fixture = fixture(Watch::Polling, 1);
    fixture
        .desk
        .submit(Order::Rollback { plugin: None, to: None, condition: Condition::None })
        .unwrap();
    let path = fixture.write("liba_v1.so", b"one");
    fixture.watcher.as_ref().unwrap().begin();
    // The second warning says that a whole look has met the full queue.
    for link in ["y.so", "z.so"] {
        symlink("/", fixture.dir.join(link)).unwrap();
        fixture.ignored();
    }
    fixture.memory.wait_until(BTreeMap::is_empty);
    let job = fixture.desk.take().unwrap();
    fixture.desk.finish(job, Err(Arc::new(DeskError::Stopping)));
    assert_eq!(fixture.ordered(), path);
    fixture.memory.wait_until(|seen| seen.contains_key(&path));
}

#[test]
fn an_order_that_a_stop_turns_away_comes_again_at_the_next_start() {
    let mut fixture = begun(Watch::Polling);
    let path = fixture.write("liba_v1.so", b"one");
    fixture.memory.wait_until(|seen| seen.contains_key(&path));
    fixture.desk.close();
    fixture.watcher = None;
    assert_eq!(fixture.memory.seen(), BTreeMap::new());
}

#[test]
fn the_folder_may_be_removed_and_made_again() {
    for mode in [Watch::Events, Watch::Polling] {
        // While there is no folder there are no events: the rescan finds the next one.
        let short = Duration::from_millis(5);
        let fixture = fixture_with(mode, 64, short, short);
        fixture.watcher.as_ref().unwrap().begin();
        let path = fixture.drop_in("liba_v1.so", b"one");
        assert_eq!(fixture.ordered(), path);
        fs::remove_dir_all(&fixture.dir).unwrap();
        fs::create_dir(&fixture.dir).unwrap();
        let path = fixture.drop_in("liba_v1.so", b"other");
        assert_eq!(fixture.ordered(), path, "{mode:?}");
    }
}

#[test]
fn a_file_that_cannot_be_judged_is_ordered_for_its_refusal() {
    let fixture = begun(Watch::Polling);
    let path = fixture.write("libempty_v1.so", b"");
    assert_eq!(fixture.ordered(), path);
    let large = fixture.write("liblarge_v1.so", &vec![1; (1 << 20) + 1]);
    assert_eq!(fixture.ordered(), large);
    let other = fixture.drop_in("liba_v1.so", b"one");
    assert_eq!(fixture.ordered(), other, "each is refused once");
    fixture.write("libempty_v1.so", b"no more");
    assert_eq!(fixture.ordered(), path, "content that can be read is an arrival");
}

/// Before somebody else writes, and without another look.
#[test]
fn answers_are_taken_in_a_pause() {
    let fixture = begun(Watch::Polling);
    let watcher = fixture.watcher.as_ref().unwrap();
    let path = fixture.write("liba_v1.so", b"one");
    let fate = || fixture.memory.seen().remove(&path).map(|seen| seen.fate);
    fixture.memory.wait_until(|seen| seen.contains_key(&path));
    assert!(watcher.pause(PATIENCE));
    assert!(watcher.take_answers(PATIENCE));
    assert_eq!(fate(), Some(Fate::Ordered(1)), "it is not answered");
    assert_eq!(fixture.ordered(), path);
    assert_eq!(fate(), Some(Fate::Ordered(1)), "nobody looks");
    assert!(watcher.take_answers(PATIENCE));
    assert_eq!(fate(), Some(Fate::Ended));
    assert!(watcher.pause(Duration::ZERO), "it is no look");
}
