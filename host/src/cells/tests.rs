use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    os::{fd::AsFd as _, unix::fs::FileExt as _, unix::fs::MetadataExt as _},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicI64, Ordering},
};

use super::{layout::*, *};

/// Ends the writes of a process in the midst of them, as a kill would: the write that it falls on is
/// done by half if it is a large one, and all later ones are not done.
#[derive(Default)]
pub(super) struct Fuse(AtomicI64, Mutex<Option<OnWrite>>);

/// Done before each write, with its bytes.
type OnWrite = Box<dyn FnMut(&[u8]) + Send>;

impl fmt::Debug for Fuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fuse")
    }
}

impl Fuse {
    /// Does it once, before the first write of `bytes`.
    fn before(&self, bytes: &[u8], act: impl FnOnce() + Send + 'static) {
        let (bytes, mut act) = (bytes.to_vec(), Some(act));
        *self.1.lock().unwrap() = Some(Box::new(move |written| {
            if written == bytes
                && let Some(act) = act.take()
            {
                act();
            }
        }));
    }

    /// So many more are done.
    fn set(&self, writes: i64) {
        self.0.store(writes + 1, Ordering::Relaxed);
    }

    fn has_blown(&self) -> bool {
        self.0.load(Ordering::Relaxed) < 0
    }

    pub(super) fn burn(
        &self,
        bytes: &[u8],
        write: impl FnOnce(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        // Not held meanwhile: what is done may write as well.
        let hears = self.1.lock().unwrap().take();
        if let Some(mut hears) = hears {
            hears(bytes);
            self.1.lock().unwrap().get_or_insert(hears);
        }
        match self.0.load(Ordering::Relaxed) {
            0 => return Ok(()),
            1 => {
                self.0.store(-1, Ordering::Relaxed);
                if bytes.len() > RECORD_BYTES {
                    write(&bytes[..bytes.len() / 2])?;
                }
            }
            -1 => {}
            left => {
                self.0.store(left - 1, Ordering::Relaxed);
                return Ok(());
            }
        }
        Err(io::Error::other("the process was ended"))
    }
}

const BOUNDS: Bounds =
    Bounds { value_bytes: 1 << 20, count: 100, bytes: 4 << 20, total_bytes: 6 << 20 };

fn name(text: &str) -> PluginName {
    text.parse().unwrap()
}

fn shop() -> PluginName {
    name("shop")
}

/// Another process's view, as far as one process can have it.
fn view(file: &OwnedFd) -> Cells {
    Cells::adopt(file.try_clone().unwrap(), BOUNDS).unwrap()
}

fn set(cells: &Cells, key: &str, value: &[u8]) -> Result<u64, CellError> {
    cells.change(&shop(), key, When::Always, Some(value))
}

fn get(cells: &Cells, key: &str) -> Option<Vec<u8>> {
    cells.get(&shop(), key).unwrap().map(|value| value.bytes)
}

fn region(cells: &Cells) -> &Region {
    cells.region.as_ref().unwrap()
}

fn usage(cells: &Cells) -> (u64, u64) {
    let all = cells.usage().unwrap();
    let shop = all.iter().find(|it| it.plugin == shop()).unwrap();
    (shop.count, shop.bytes)
}

/// Memory of the file. Units: bytes.
fn memory(file: &OwnedFd) -> u64 {
    std::fs::File::from(file.try_clone().unwrap()).metadata().unwrap().blocks() * 512
}

#[test]
fn a_value_is_set_read_listed_and_removed() {
    let file = make().unwrap();
    let (one, other) = (view(&file), view(&file));
    assert_eq!(one.get(&shop(), "a").unwrap(), None);
    assert!(other.list(&shop()).unwrap().is_empty());
    let first = set(&one, "a", b"first").unwrap();
    let read = other.get(&shop(), "a").unwrap().unwrap();
    assert_eq!(read, Value { version: first, bytes: b"first".to_vec() });
    assert_eq!(other.get(&name("other"), "a").unwrap(), None, "another plugin's");
    let second = other.change(&shop(), "a", When::Version(first), Some(b"second")).unwrap();
    assert!(second > first);
    let now = Value { version: second, bytes: b"second".to_vec() };
    let conflict = one.change(&shop(), "a", When::Version(first), Some(b"no"));
    assert_eq!(conflict, Err(CellError::Conflict(Some(now))));
    let conflict = one.change(&shop(), "b", When::Version(first), Some(b"no"));
    assert_eq!(conflict, Err(CellError::Conflict(None)));
    set(&one, "b", b"").unwrap();
    assert_eq!(get(&other, "b"), Some(Vec::new()), "an empty value is one");
    let keys: Vec<_> = other.list(&shop()).unwrap().into_iter().map(|it| it.key).collect();
    assert_eq!(keys, ["a", "b"]);
    assert_eq!(usage(&one), (2, 8));
    assert_eq!(other.change(&shop(), "a", When::Version(second), None), Ok(0));
    assert_eq!((get(&one, "a"), get(&other, "a")), (None, None));
    assert_eq!(one.change(&shop(), "a", When::Always, None), Ok(0), "it was gone");
    let third = one.change(&shop(), "a", When::Version(0), Some(b"third")).unwrap();
    assert!(third > second, "no version comes twice");
    assert_eq!(get(&other, "a").unwrap(), b"third");
    assert_eq!(other.clear(&shop()), Ok(2));
    assert_eq!(usage(&one), (0, 0));
}

#[test]
fn there_are_bounds() {
    let file = make().unwrap();
    let cells = view(&file);
    let long = vec![7; (1 << 20) + 1];
    let too_long = CellError::TooLong { len: (1 << 20) + 1, max: 1 << 20 };
    assert_eq!(set(&cells, "a", &long), Err(too_long));
    for key in ["", "a\nb", &"k".repeat(KEY_BYTES_MAX + 1)] {
        assert!(matches!(set(&cells, key, b""), Err(CellError::BadKey(_))), "{key}");
    }
    set(&cells, &"k".repeat(KEY_BYTES_MAX), b"").unwrap();
    let mega = &long[..1 << 20];
    for key in ["1", "2", "3"] {
        set(&cells, key, mega).unwrap();
    }
    assert_eq!(set(&cells, "4", mega), Err(CellError::Full(Limit::Bytes(4 << 20))));
    assert_eq!(get(&cells, "4"), None);
    set(&cells, "1", mega).expect("as large as before");
    let other = name("other");
    let beyond = |key| cells.change(&other, key, When::Always, Some(mega));
    beyond("1").unwrap();
    beyond("2").unwrap();
    assert_eq!(beyond("3"), Err(CellError::Full(Limit::Total(6 << 20))));
    cells.clear(&shop()).unwrap();
    beyond("3").expect("there is room again");
    for number in 0..100 {
        set(&cells, &number.to_string(), b"x").unwrap();
    }
    assert_eq!(set(&cells, "more", b""), Err(CellError::Full(Limit::Count(100))));
    set(&cells, "7", b"y").expect("it is there already");
}

#[test]
fn memory_comes_back() {
    let file = make().unwrap();
    let cells = view(&file);
    let before = memory(&file);
    for round in 0..50_u8 {
        set(&cells, "large", &vec![round; 1 << 20]).unwrap();
    }
    assert!(memory(&file) - before < 2 << 20, "{}", memory(&file));
    cells.clear(&shop()).unwrap();
    assert!(memory(&file) - before < 128 << 10, "{}", memory(&file));
}

/// What is done, with what it makes of the key `it`.
type Step = (fn(&Cells) -> Result<u64, CellError>, Option<Vec<u8>>);

/// Every write of every kind of change is the last one of a process once.
#[test]
fn a_change_that_breaks_off_is_done_or_not_begun() {
    let large = |byte: u8| vec![byte; 10_000];
    let begin: [Option<Vec<u8>>; 3] = [None, Some(b"small".to_vec()), Some(large(1))];
    let steps: [Step; 3] = [
        (|cells| set(cells, "it", b"new"), Some(b"new".to_vec())),
        (|cells| set(cells, "it", &[2; 10_000]), Some(large(2))),
        (|cells| cells.change(&shop(), "it", When::Always, None), None),
    ];
    let mut broken = 0;
    for old in &begin {
        for (step, new) in &steps {
            for writes in 0.. {
                let file = make().unwrap();
                let before = view(&file);
                set(&before, "beside", b"it stays").unwrap();
                old.iter().for_each(|old| _ = set(&before, "it", old).unwrap());
                let dying = view(&file);
                get(&dying, "beside").unwrap();
                region(&dying).fuse.set(writes);
                let said = step(&dying);
                let ended = region(&dying).fuse.has_blown();
                drop(dying);
                for after in [&before, &view(&file)] {
                    let found = get(after, "it");
                    assert!(found == *old || found == *new, "{writes} {old:?} {found:?}");
                    assert!(said.is_err() || found == *new, "it was acknowledged");
                    assert_eq!(get(after, "beside").unwrap(), b"it stays");
                }
                // Everybody can go on, and the books are right again.
                set(&before, "it", &large(9)).unwrap();
                assert_eq!(get(&view(&file), "it"), Some(large(9)));
                assert_eq!(usage(&before), (2, 10_000 + 2 + 6 + 8), "{writes}");
                assert!(memory(&file) < 128 << 10, "{}", memory(&file));
                if !ended {
                    break;
                }
                broken += 1;
            }
        }
    }
    assert!(broken > 30, "{broken}");
}

#[test]
fn what_is_damaged_is_told_and_can_be_mended() {
    let file = make().unwrap();
    let cells = view(&file);
    for key in ["value", "slot", "key"] {
        set(&cells, key, b"12345678").unwrap();
    }
    let area = area_at(0);
    let harm = |at: u64| {
        let file = std::fs::File::from(file.try_clone().unwrap());
        file.write_all_at(b"!!", at).unwrap();
    };
    harm(value_at(area, 0, 0) + 3);
    harm(slot_at(area, 1) + 8);
    harm(slot_at(area, 2) + RECORD_BYTES as u64 + 1);
    harm(area + 16);
    for cells in [&cells, &view(&file)] {
        for key in ["value", "slot"] {
            let damaged = CellError::Damaged(key.to_owned());
            assert_eq!(cells.get(&shop(), key), Err(damaged.clone()));
            let expecting = cells.change(&shop(), key, When::Version(77), Some(b"x"));
            assert_eq!(expecting, Err(damaged));
        }
        assert!(cells.list(&shop()).unwrap().len() >= 2);
    }
    let fresh = view(&file);
    assert_eq!(get(&fresh, "key"), None, "nobody can find it");
    set(&fresh, "value", b"new").unwrap();
    fresh.change(&shop(), "slot", When::Always, None).unwrap();
    set(&fresh, "key", b"new").unwrap();
    assert_eq!((get(&cells, "value"), get(&cells, "slot")), (Some(b"new".to_vec()), None));
    let list = fresh.list(&shop()).unwrap();
    assert!(list.iter().all(|it| it.version > 3), "versions go on behind the last ones: {list:?}");
    assert_eq!(usage(&fresh), (2, 3 + 5 + 3 + 3));
}

#[test]
fn what_is_no_cells_is_refused() {
    let file = std::fs::File::from(make().unwrap());
    assert!(file.set_len(0).is_err(), "nobody can make it shorter");
    file.write_all_at(&9_u64.to_ne_bytes(), LAYOUT_AT).unwrap();
    let error = Cells::adopt(file.into(), BOUNDS).unwrap_err();
    assert!(matches!(error, Foreign::Layout { found: 9 }), "{error}");
    let other = rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    assert!(matches!(Cells::adopt(other, BOUNDS), Err(Foreign::NoCells)));
    let none = Cells::unavailable("there is none");
    assert!(matches!(none.get(&shop(), "a"), Err(CellError::Unavailable(_))));
    assert!(matches!(set(&none, "a", b""), Err(CellError::Unavailable(_))));
}

fn add_one(cells: &Cells, plugin: &PluginName, key: &str) {
    loop {
        let now = cells.get(plugin, key).unwrap();
        let number = now.as_ref().map_or(0, |it| {
            u64::from_le_bytes(it.bytes.as_slice().try_into().expect("a value is never torn"))
        });
        let when = When::Version(now.map_or(0, |it| it.version));
        match cells.change(plugin, key, when, Some(&(number + 1).to_le_bytes())) {
            Ok(_) => return,
            Err(CellError::Conflict(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn number(cells: &Cells, key: &str) -> u64 {
    u64::from_le_bytes(get(cells, key).unwrap().as_slice().try_into().unwrap())
}

#[test]
fn threads_lose_nothing() {
    let file = make().unwrap();
    let cells = view(&file);
    std::thread::scope(|scope| {
        for own in ["a", "b", "c", "d"] {
            let cells = &cells;
            scope.spawn(move || {
                for round in 0..200 {
                    add_one(cells, &shop(), "all");
                    set(cells, own, &vec![round; 5000]).unwrap();
                    cells.change(&shop(), own, When::Always, None).unwrap();
                }
            });
        }
    });
    assert_eq!(number(&cells, "all"), 800);
    assert_eq!(usage(&cells), (1, 3 + 8));
}

const HAMMER: &str = "HOTSEAT_TEST_HAMMER";

/// No test by itself: adds to two counters until it is killed, and says so each time.
#[test]
fn hammer() {
    if std::env::var_os(HAMMER).is_none() {
        return;
    }
    let file = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let cells = view(&file);
    let mut said = std::fs::File::from(std::io::stderr().as_fd().try_clone_to_owned().unwrap());
    let mut round = 0_u32;
    loop {
        add_one(&cells, &shop(), "all");
        said.write_all(b".").unwrap();
        round += 1;
        set(&cells, "large", &round.to_le_bytes().repeat(4000)).unwrap();
        set(&cells, &format!("key {}", round % 7), b"comes and goes").unwrap();
        cells.change(&shop(), &format!("key {}", (round + 3) % 7), When::Always, None).unwrap();
    }
}

fn hammering(file: &OwnedFd) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "cells::tests::hammer", "--nocapture"])
        .env(HAMMER, "1")
        .stdin(Stdio::from(file.try_clone().unwrap()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Two processes add as fast as they can; one after the other is killed wherever it is, the other
/// goes on, and what was acknowledged is there.
#[test]
fn processes_that_are_killed_leave_whole_values() {
    let file = make().unwrap();
    let kills = 40;
    let mut acknowledged = 0;
    let mut children = vec![hammering(&file), hammering(&file)];
    let cells = view(&file);
    for round in 0..kills {
        let mut child = children.remove(0);
        let mut said = child.stderr.take().unwrap();
        // It is at work; where exactly, the number of the round decides as well as chance.
        let mut some = vec![0; 1 + round % 7];
        said.read_exact(&mut some).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let mut rest = Vec::new();
        said.read_to_end(&mut rest).unwrap();
        let all = [some, rest].concat();
        assert!(all.iter().all(|it| *it == b'.'), "{}", String::from_utf8_lossy(&all));
        acknowledged += all.len();
        let large = get(&cells, "large").unwrap_or_default();
        assert!(large.chunks_exact(4).all(|it| it == &large[..4]), "a torn value");
        children.push(hammering(&file));
    }
    for mut child in children {
        child.kill().unwrap();
        child.wait().unwrap();
        let mut rest = Vec::new();
        child.stderr.take().unwrap().read_to_end(&mut rest).unwrap();
        acknowledged += rest.len();
    }
    let counted = usize::try_from(number(&cells, "all")).unwrap();
    // Of each that was killed one change may be done and not told.
    let range = acknowledged..=acknowledged + kills + 2;
    assert!(range.contains(&counted), "{counted} of {acknowledged}");
    add_one(&cells, &shop(), "all");
    let list = cells.list(&shop()).unwrap();
    let bytes: u64 = list.iter().map(|it| it.bytes + it.key.len() as u64).sum();
    assert_eq!(usage(&cells), (list.len() as u64, bytes));
}

#[test]
fn a_trial_reads_and_changes_nothing() {
    let file = make().unwrap();
    let cells = view(&file);
    let version = set(&cells, "a", b"serves").unwrap();
    let trial = Trial::of(cells.file(), BOUNDS);
    let read = trial.get(&shop(), "a").unwrap().unwrap();
    assert_eq!(read, Value { version, bytes: b"serves".to_vec() });
    let stale = trial.change(&shop(), "a", When::Version(version + 1), Some(b"x"));
    assert!(matches!(stale, Err(CellError::Conflict(Some(_)))));
    let own = trial.change(&shop(), "a", When::Version(version), Some(b"tried")).unwrap();
    assert!(own > version);
    assert_eq!(trial.get(&shop(), "a").unwrap().unwrap().bytes, b"tried");
    trial.change(&shop(), "b", When::Always, Some(b"tried")).unwrap();
    assert_eq!(trial.list(&shop()).unwrap().len(), 2);
    assert_eq!(trial.change(&shop(), "a", When::Always, None), Ok(0));
    assert_eq!((get(&cells, "a").unwrap().as_slice(), get(&cells, "b")), (&b"serves"[..], None));
    let none = Trial::of(None, BOUNDS);
    assert_eq!(none.get(&shop(), "a").unwrap(), None);
    let lost = Trial::of(Some("/nowhere".into()), BOUNDS);
    assert_eq!(lost.get(&shop(), "a"), Ok(None), "a plugin is tried all the same");
    let foreign = tempfile::NamedTempFile::new().unwrap();
    let foreign = Trial::of(Some(foreign.path().into()), BOUNDS);
    assert!(matches!(foreign.get(&shop(), "a"), Err(CellError::Unavailable(_))));
}

/// What would be refused in the host is refused where it is tried.
#[test]
fn a_trial_has_the_same_bounds() {
    let (file, bounds) =
        (make().unwrap(), Bounds { value_bytes: 9, count: 2, bytes: 12, ..BOUNDS });
    let cells = Cells::adopt(file, bounds).unwrap();
    let trial = Trial::of(None, bounds);
    let steps: [(&str, Option<&[u8]>); 8] = [
        ("a", Some(&[1; 10])),
        ("a", Some(&[1; 9])),
        ("b", Some(&[1; 2])),
        ("b", Some(&[1; 1])),
        ("c", Some(&[])),
        ("a", Some(&[1; 8])),
        ("a", None),
        ("c", Some(&[1; 9])),
    ];
    for (key, to) in steps {
        let [real, tried] = [&cells as &dyn CellStore, &trial].map(|it| {
            let said = it.change(&shop(), key, When::Always, to);
            said.map(drop)
        });
        assert_eq!(real, tried, "{key} {to:?}");
    }
    assert_eq!(trial.list(&shop()).unwrap().len(), 2);
}

#[test]
fn what_was_saved_is_taken_in_once() {
    let file = make().unwrap();
    let plugins = BTreeSet::from([shop()]);
    let saved = |_: &PluginName| {
        let value = Value { version: 5, bytes: b"saved".to_vec() };
        Some(Copied { version: 9, values: vec![("a".to_owned(), value)] })
    };
    let dying = view(&file);
    region(&dying).fuse.set(4);
    dying.seed(&plugins, saved).unwrap_err();
    let cells = view(&file);
    assert!(cells.seed(&plugins, saved).unwrap().is_empty());
    assert_eq!(cells.get(&shop(), "a").unwrap().unwrap().version, 5);
    let next = set(&cells, "a", b"newer").unwrap();
    assert!(next > 9 + 1_000_000, "lost versions are not given again");
    let again = view(&file).seed(&plugins, |_| panic!("it is done")).unwrap();
    assert!(again.is_empty());
    assert_eq!(cells.copy(&shop()).unwrap().values.len(), 1);
    assert_eq!(get(&cells, "a").unwrap(), b"newer");
}

/// Whoever keeps them on the disk must not write over what never came from there, in a later worker
/// neither.
#[test]
fn what_was_not_taken_in_whole_is_known() {
    let file = make().unwrap();
    let plugins = ["half", "new", "unread", "whole"].map(name).into();
    let saved = |plugin: &PluginName| {
        let value = |key: &str| (key.to_owned(), Value { version: 5, bytes: b"saved".to_vec() });
        let values = match plugin.as_str() {
            "unread" => return None,
            "new" => return Some(Copied::default()),
            "half" => vec![value("a"), value("")],
            _ => vec![value("a")],
        };
        Some(Copied { version: 9, values })
    };
    let left_out = BTreeSet::from(["half", "unread"].map(name));
    let cells = view(&file);
    assert_eq!(cells.seed(&plugins, saved), Ok(left_out.clone()));
    cells.change(&name("unread"), "a", When::Always, Some(b"its own")).unwrap();
    let later = view(&file);
    assert_eq!(later.seed(&plugins, |_| panic!("it is done")), Ok(left_out));
    assert_eq!(later.get(&name("unread"), "a").unwrap().unwrap().bytes, b"its own");
}

/// As where the machine has no memory for a name.
#[test]
fn what_has_no_place_may_be_any() {
    let file = make().unwrap();
    let plugins = BTreeSet::from([shop(), name("other")]);
    let cells = view(&file);
    region(&cells).write_word(PLUGINS_AT, PLUGINS_MAX).unwrap();
    assert_eq!(cells.seed(&plugins, |_| None), Ok(plugins.clone()));
    assert_eq!(view(&file).seed(&plugins, |_| panic!("it is done")), Ok(plugins));
}

#[test]
fn changes_are_heard_of() {
    let file = make().unwrap();
    let cells = view(&file);
    let heard = Arc::new(AtomicI64::new(0));
    let theirs = heard.clone();
    cells.on_change(move |plugin| {
        assert_eq!(plugin, &shop());
        theirs.fetch_add(1, Ordering::Relaxed);
    });
    set(&cells, "a", b"1").unwrap();
    cells.change(&shop(), "a", When::Version(77), Some(b"2")).unwrap_err();
    assert_eq!(heard.load(Ordering::Relaxed), 1);
}

/// What is copied while a change is under way says so: the version that it will have is not in it.
#[test]
fn a_copy_has_what_its_version_says() {
    let file = make().unwrap();
    let cells = Arc::new(view(&file));
    let before = set(&cells, "a", b"old").unwrap();
    let (sender, copies) = std::sync::mpsc::channel();
    let copying = cells.clone();
    region(&cells).fuse.before(b"new", move || {
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            sender.send(copying.copy(&shop()).unwrap()).unwrap();
            let _ = done.send(());
        });
        // It may wait for the end of this change.
        let _ = is_done.recv_timeout(std::time::Duration::from_millis(300));
    });
    let after = set(&cells, "a", b"new").unwrap();
    let Copied { version, values } = copies.recv().unwrap();
    assert!(version == before || values[0].1.version == after, "{version}: {values:?}");
}

/// One that died within a change, and left its version without a value.
#[test]
fn a_copy_does_not_believe_the_dead() {
    let file = make().unwrap();
    let cells = view(&file);
    let before = set(&cells, "a", b"old").unwrap();
    let dying = view(&file);
    get(&dying, "a").unwrap();
    region(&dying).fuse.set(1);
    set(&dying, "a", b"new").unwrap_err();
    let reader = Cells::open_to_read(&cells.file().unwrap()).unwrap();
    assert_eq!(reader.copy(&shop()).unwrap().version, before, "it can only look");
    let copied = cells.copy(&shop()).unwrap();
    assert_eq!(copied.version, cells.usage().unwrap()[0].version, "it is not looked at for ever");
    assert_eq!(copied.values[0].1.bytes, b"old");
}

/// A value that is another one at each look is not left out.
#[test]
fn a_copy_has_what_changes_all_the_time() {
    let file = make().unwrap();
    let cells = view(&file);
    set(&cells, "beside", b"it stays").unwrap();
    set(&cells, "a", &[0; 200_000]).unwrap();
    let ends = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=255_u8 {
                for _ in 0..4 {
                    set(&cells, "a", &vec![round; 200_000]).unwrap();
                }
            }
            ends.store(true, Ordering::Relaxed);
        });
        while !ends.load(Ordering::Relaxed) {
            let copied = cells.copy(&shop()).unwrap();
            assert_eq!(copied.values.len(), 2);
        }
    });
}

/// What is not whole may be so once the lock is free; before that nobody knows, and no copy is without.
#[test]
fn a_copy_waits_for_what_is_not_whole() {
    let file = make().unwrap();
    let cells = Arc::new(view(&file));
    set(&cells, "a", b"it stays").unwrap();
    let raw = std::fs::File::from(file.try_clone().unwrap());
    let slot = slot_at(area_at(0), 0);
    let mut whole = [0; RECORD_BYTES];
    raw.read_exact_at(&mut whole, slot).unwrap();
    let area = cells.known(&shop()).unwrap();
    let held = area.lock().take(region(&cells), lock::due()).unwrap();
    raw.write_all_at(b"written by half", slot).unwrap();
    assert!(matches!(cells.copy(&shop()), Err(CellError::Unavailable(_))));
    let (sender, copies) = std::sync::mpsc::channel();
    let copying = cells.clone();
    std::thread::spawn(move || sender.send(copying.copy(&shop())));
    copies.recv_timeout(std::time::Duration::from_millis(100)).unwrap_err();
    raw.write_all_at(&whole, slot).unwrap();
    drop(held);
    let copied = copies.recv().unwrap().unwrap();
    assert_eq!(copied.values[0].1.bytes, b"it stays");
    // What stays so is damaged, and keeps nothing else from being copied.
    raw.write_all_at(b"written by half", slot).unwrap();
    set(&cells, "b", b"beside").unwrap();
    assert_eq!(cells.copy(&shop()).unwrap().values[0].0, "b");
}

/// What a change will take is booked before it is written, and nobody waits for that.
#[test]
fn a_large_change_keeps_no_other_plugin() {
    let file = make().unwrap();
    let cells = Arc::new(view(&file));
    for key in ["1", "2"] {
        cells.change(&name("other"), key, When::Always, Some(&[1; 1 << 20])).unwrap();
    }
    cells.change(&name("third"), "a", When::Always, Some(&[1; 1 << 20])).unwrap();
    set(&cells, "1", &[1; 1 << 20]).unwrap();
    let (large, heard) = (vec![7; 1 << 20], Arc::new(Mutex::default()));
    let (theirs, said) = (cells.clone(), heard.clone());
    region(&cells).fuse.before(&large, move || {
        let began = Instant::now();
        let third =
            |key, len| theirs.change(&name("third"), key, When::Always, Some(&vec![1; len]));
        let answers = (third("b", 1 << 20), third("c", 1000));
        *said.lock().unwrap() = Some((answers, began.elapsed()));
    });
    set(&cells, "2", &large).unwrap();
    let ((beyond, small), took) = heard.lock().unwrap().take().unwrap();
    assert_eq!(beyond, Err(CellError::Full(Limit::Total(6 << 20))), "it is booked");
    small.unwrap();
    assert!(took < std::time::Duration::from_secs(1), "{took:?}");
    // One that fails gives it back.
    cells.change(&shop(), "2", When::Always, None).unwrap();
    let dying = view(&file);
    region(&dying).fuse.set(1);
    set(&dying, "2", &large).unwrap_err();
    cells.list(&shop()).unwrap();
    cells.change(&name("third"), "b", When::Always, Some(&large)).unwrap();
}

/// What many values have left is given back at once, however many they were.
#[test]
fn what_is_counted_anew_is_given_back_in_runs() {
    let file = make().unwrap();
    let cells = view(&file);
    for number in 0..100 {
        set(&cells, &number.to_string(), &[1; 5000]).unwrap();
    }
    for number in 0..99 {
        cells.change(&shop(), &number.to_string(), When::Always, None).unwrap();
    }
    let dying = view(&file);
    region(&dying).fuse.set(1);
    set(&dying, "more", &[2; 10_000]).unwrap_err();
    let punches = Arc::new(AtomicI64::new(0));
    let counted = punches.clone();
    *region(&cells).fuse.1.lock().unwrap() = Some(Box::new(move |bytes| {
        counted.fetch_add(i64::from(bytes.is_empty()), Ordering::Relaxed);
    }));
    assert_eq!(cells.list(&shop()).unwrap().len(), 1);
    assert_eq!(get(&cells, "99"), Some(vec![1; 5000]));
    assert_eq!(punches.load(Ordering::Relaxed), 2, "before and behind the value");
    assert!(memory(&file) < 96 << 10, "{}", memory(&file));
}
