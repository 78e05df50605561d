//! What is withdrawn, and two workers that take turns with one folder.

use std::path::Path;

use super::*;
use crate::{
    artifact::Store,
    config::Limits,
    state::{Fate, Seen, SeenStore, Standing},
};

fn name() -> PluginName {
    "handler".parse().unwrap()
}

fn open(folder: &Path) -> Record {
    handed(folder, None)
}

fn handed(folder: &Path, manifest: Option<Manifest>) -> Record {
    std::fs::File::create(folder.join("lock")).unwrap();
    let dir = StateDir::held_by_master(folder.to_owned(), None, None);
    let handed = Handed { manifest, renewed: Arc::new(|_| ()), next: None, marks: None };
    Record::open(dir, &Limits::default(), handed).unwrap()
}

fn commit(record: &Record, label: &str) -> Generation {
    let generation = record.take_generation();
    let digest = Digest([u8::try_from(generation.0).unwrap(); 32]);
    let label = label.parse().unwrap();
    let commit = Commit { generation, digest, label, target: None, file: None };
    record.commit(&name(), commit).unwrap();
    generation
}

fn seen(content: u8, fate: Fate) -> Seen {
    let digest = Digest([content; 32]);
    Seen { inode: 1, size: 2, mtime_ns: 3, ctime_ns: Some(4), digest, fate }
}

/// Generation and label of what boots.
fn boots(record: &Record) -> Option<(u64, String)> {
    let committed = record.committed();
    let first = committed.get(&name())?.first()?;
    Some((first.generation.0, first.label.as_str().to_owned()))
}

fn ended(generation: Generation) -> Withdrawal {
    Withdrawal { generation, why: "it crashed".to_owned(), content: None }
}

fn warning(record: &Record) -> String {
    record.warned().remove(&name()).unwrap_or_default()
}

#[test]
fn a_withdrawn_version_is_left_for_the_one_before_it_and_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let record = open(folder.path());
    let [one, two, three] = ["1", "2", "3"].map(|label| commit(&record, label));
    assert!(record.withdraw(&ended(two)).is_none(), "it is not active");
    let done = record.withdraw(&ended(three)).unwrap();
    assert_eq!((done.plugin, done.was.generation), (name(), three));
    let now = done.now.unwrap();
    assert_eq!((now.generation, now.from), (Generation(4), Some(two)));
    // The next process reads the same.
    let record = open(folder.path());
    assert_eq!(boots(&record), Some((4, "2".to_owned())));
    assert_eq!(record.rollback_target(&name(), None).unwrap().generation, one);
    let kept = record.kept(&name());
    assert!(kept.iter().any(|it| it.generation == three && it.rolled_back), "{kept:?}");
    // The rollback's bytes end their process too.
    let done = record.withdraw(&ended(Generation(4))).unwrap();
    assert_eq!(done.now.unwrap().from, Some(one));
    let done = record.withdraw(&ended(Generation(5))).unwrap();
    assert!(done.now.is_none(), "nothing is older");
    let record = open(folder.path());
    assert_eq!(boots(&record), None);
    // It keeps its place, and what is said of it, until something else is committed.
    assert_eq!(record.without_a_version(), [name()]);
    assert!(warning(&record).contains("generation 5 (v1) was withdrawn"), "{}", warning(&record));
    assert!(
        record.rollback_target(&name(), None).is_err(),
        "nothing that ended a process comes back"
    );
    assert_eq!(record.remove(&name()).unwrap().unwrap().generation, Generation(5));
    let record = open(folder.path());
    assert_eq!((record.without_a_version(), warning(&record)), (vec![], String::new()));
    commit(&record, "4");
    assert_eq!(boots(&open(folder.path())).unwrap().1, "4");
}

/// Nothing that a worker withdraws reaches the disk, and it dies before it can tell anybody: the
/// next one begins with what the disk has, and knows of contents alone.
#[test]
fn one_bad_version_after_another_is_left_without_a_disk() {
    let folder = tempfile::tempdir().unwrap();
    let record = open(folder.path());
    let contents = ["1", "2", "3", "4"].map(|label| {
        let generation = commit(&record, label).0;
        Digest([u8::try_from(generation).unwrap(); 32])
    });
    let file = folder.path().join("manifest.json");
    let kept = std::fs::read(&file).unwrap();
    let mut withdrawn = Vec::new();
    for left in ["3", "2", "1"] {
        std::fs::write(&file, &kept).unwrap();
        let record = open(folder.path());
        // As whoever leads the workers sees to it.
        record.skip_generations(Generation(5 + withdrawn.len() as u64));
        let (active, _) = boots(&record).unwrap();
        let generation = Generation(active + withdrawn.len() as u64);
        let content = contents[3 - withdrawn.len()];
        withdrawn.push(Withdrawal { content: Some(content), ..ended(generation) });
        record.shun(withdrawn.iter().filter_map(|it| it.content));
        let done: Vec<_> = withdrawn.iter().filter_map(|it| record.withdraw(it)).collect();
        assert_eq!(done.len(), 1, "the others are not known by number: {done:?}");
        assert_eq!(boots(&record).unwrap().1, left);
    }
    // Nothing is left at last.
    std::fs::write(&file, &kept).unwrap();
    let record = open(folder.path());
    record.shun(contents);
    assert!(record.withdraw(&ended(Generation(4))).unwrap().now.is_none());
    assert_eq!((boots(&record), record.without_a_version()), (None, vec![name()]));
}

/// The active version does not load, and what stands in for it ends its process.
#[test]
fn what_only_stands_in_is_not_tried_again_either() {
    let folder = tempfile::tempdir().unwrap();
    let record = open(folder.path());
    let [one, two, three] = ["1", "2", "3"].map(|label| commit(&record, label));
    assert!(record.withdraw(&ended(two)).is_none(), "it is not active");
    assert_eq!(record.avoid(&name(), one), None);
    let text = record.avoid(&name(), two).unwrap();
    let record = open(folder.path());
    assert_eq!(warning(&record), text);
    let tried: Vec<_> = record.committed()[&name()].iter().map(|it| it.generation).collect();
    assert_eq!(tried, [three, one]);
}

/// What ended a process before anything of it was committed is blamed alone.
#[test]
fn the_number_of_what_was_never_committed_is_not_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let record = open(folder.path());
    commit(&record, "1");
    assert!(record.withdraw(&ended(Generation(2))).is_none());
    assert_eq!(commit(&record, "2"), Generation(3));
}

#[test]
fn what_another_worker_writes_is_seen_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let before = open(folder.path());
    commit(&before, "1");
    before.seal(true);
    let store = Store::open(folder.path()).unwrap();
    let successor = open(folder.path());
    commit(&successor, "2");
    let bytes = b"the successor's";
    let kept = store.keep(crate::artifact::digest(bytes), bytes).unwrap();
    let path = Path::new("/plugins/libhandler_v3.so");
    let seen = seen(3, Fate::Ended);
    before.remember(path, Some(seen.clone()));
    before.tidy(&store, 1);
    assert!(kept.exists(), "only the one that writes removes anything");
    assert_eq!(boots(&open(folder.path())), Some((2, "2".to_owned())), "nor has it written");
    // A number that was used for a load that failed is not used again.
    assert_eq!([(); 3].map(|()| before.take_generation().0), [2, 3, 4]);
    before.reload(None).unwrap();
    before.seal(false);
    assert_eq!(boots(&before), Some((2, "2".to_owned())));
    assert_eq!(before.take_generation(), Generation(5));
    before.remember(path, Some(seen.clone()));
    assert_eq!(open(folder.path()).seen()[path], seen);
}

/// A file's order has ended when the disk has what it brought: nothing lies between the two.
#[test]
fn a_commit_ends_the_order_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let record = open(folder.path());
    let [path, other] = ["/plugins/liba_v1.so", "/plugins/libb_v1.so"].map(Path::new);
    record.remember(path, Some(seen(1, Fate::Ordered(1))));
    record.remember(other, Some(seen(1, Fate::Ordered(1))));
    let commit = Commit {
        generation: record.take_generation(),
        digest: Digest([1; 32]),
        label: "1".parse().unwrap(),
        target: None,
        file: Some(path.to_owned()),
    };
    record.commit(&name(), commit).unwrap();
    let kept = open(folder.path()).seen();
    assert_eq!((&kept[path].fate, &kept[other].fate), (&Fate::Ended, &Fate::Ordered(1)));
}

/// What a content is to its plugin; a note about it goes with its commit.
#[test]
fn what_was_left_is_known_by_content() {
    let folder = tempfile::tempdir().unwrap();
    let record = open(folder.path());
    let [one, two] = ["1", "2"].map(|label| commit(&record, label));
    let stands = |generation: Generation| {
        record.standing(&name(), Digest([u8::try_from(generation.0).unwrap(); 32]))
    };
    assert_eq!((stands(one), stands(two)), (Standing::Free, Standing::Serves));
    record.withdraw(&ended(two)).unwrap();
    assert_eq!((stands(one), stands(two)), (Standing::Serves, Standing::Left));
    let path = Path::new("/plugins/libhandler_v2.so");
    let digest = Digest([2; 32]);
    record.remember(path, Some(seen(2, Fate::Held)));
    SeenStore::note(&record, path, Some(Note { text: "held".to_owned(), digest: Some(digest) }));
    assert_eq!(record.noted().len(), 1);
    let again = Commit {
        generation: record.take_generation(),
        digest,
        label: "2".parse().unwrap(),
        target: None,
        file: None,
    };
    record.commit(&name(), again).unwrap();
    assert_eq!(stands(two), Standing::Serves);
    assert_eq!((record.noted().len(), &record.seen()[path].fate), (0, &Fate::Ended));
}

/// Where the disk fails, a file is remembered all the same: else it would be ordered at every look.
#[test]
fn a_file_is_remembered_without_a_disk() {
    let folder = tempfile::tempdir().unwrap();
    let record = open(folder.path());
    let path = Path::new("/plugins/liba_v1.so");
    std::fs::create_dir(folder.path().join("manifest.json.tmp")).unwrap();
    record.remember(path, Some(seen(1, Fate::Ended)));
    assert_eq!(record.seen().len(), 1);
    std::fs::remove_dir(folder.path().join("manifest.json.tmp")).unwrap();
    commit(&record, "1");
    assert_eq!(open(folder.path()).seen().len(), 1, "it is written with what comes next");
}

/// Whichever of folder and hand-over knows more; a folder that is gone is made again with it.
#[test]
fn what_was_handed_on_counts_where_the_folder_knows_less() {
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("state");
    std::fs::create_dir(&folder).unwrap();
    let record = open(&folder);
    commit(&record, "1");
    let older = Manifest::from_text(&record.manifest());
    commit(&record, "2");
    let newer = Manifest::from_text(&record.manifest());
    assert_eq!(boots(&handed(&folder, older)), Some((2, "2".to_owned())));
    std::fs::remove_dir_all(&folder).unwrap();
    let store = Store::of_host(&folder);
    let dir = StateDir::held_by_master(folder.clone(), None, None);
    let renewed: OnRenewed = Arc::new(|_| ());
    let handed = Handed { manifest: newer, renewed, next: None, marks: None };
    let record = Record::open(dir, &Limits::default(), handed).unwrap();
    assert_eq!(boots(&record), Some((2, "2".to_owned())));
    record.look(&store).unwrap();
    assert!(record.unwritable().is_none());
    assert_eq!(boots(&open(&folder)), Some((2, "2".to_owned())));
}

/// What cannot be written is refused, known, and written as soon as it can be; what somebody else
/// has put there meanwhile is not lost.
#[test]
fn a_record_takes_up_writing_by_itself() {
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("state");
    std::fs::create_dir(&folder).unwrap();
    let record = open(&folder);
    let store = Store::open(&folder).unwrap();
    let one = commit(&record, "1");
    record.look(&store).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, b"a file").unwrap();
    let refused = record.look(&store).unwrap_err();
    assert_eq!((refused.code(), refused.kind()), ("state_failed", crate::error::Kind::Host));
    assert!(refused.hint().unwrap().contains("out of the way"), "{refused:?}");
    assert!(!record.may_remember());
    // Taken out in memory, since whatever ended a process is not loaded again.
    record.withdraw(&ended(one)).unwrap();
    std::fs::remove_file(&folder).unwrap();
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(
        folder.join("manifest.json"),
        Manifest { serial: 9, ..Manifest::default() }.to_text(),
    )
    .unwrap();
    record.look(&store).unwrap();
    assert!(record.may_remember());
    assert_eq!(boots(&open(&folder)), None);
    assert!(folder.join("manifest.replaced.json").exists());
}

/// A successor makes the lost folder again, commits there, and is taken back: whichever way the
/// worker before goes on, it goes on with that.
#[test]
fn what_a_successor_has_committed_in_a_folder_made_again_is_kept() {
    let goes_on: [fn(&Record, &Store); 2] = [
        // Resumed.
        |record, _| record.reload(None).unwrap(),
        // Thawed: nobody tells it to read anything.
        |record, store| {
            record.seal(false);
            record.look(store).unwrap();
        },
    ];
    for go_on in goes_on {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("state");
        let master = StateDir::open(&folder).unwrap();
        let renewed = Arc::new(Mutex::new(None));
        let worker = |manifest| {
            let token = master.token().map(str::to_owned);
            let dir = StateDir::held_by_master(folder.clone(), master.lock_id(), token);
            let lock = Arc::clone(&renewed);
            let renewed: OnRenewed = Arc::new(move |it| *lock.lock().unwrap() = Some(it));
            let handed = Handed { manifest, renewed, next: None, marks: None };
            Record::open(dir, &Limits::default(), handed).unwrap()
        };
        let before = worker(None);
        commit(&before, "1");
        before.seal(true);
        let successor = worker(Manifest::from_text(&before.manifest()));
        std::fs::remove_dir_all(&folder).unwrap();
        let store = Store::of_host(&folder);
        successor.look(&store).unwrap();
        assert!(renewed.lock().unwrap().is_some(), "the master has the new lock");
        commit(&successor, "2");
        go_on(&before, &store);
        before.seal(false);
        before.look(&store).unwrap();
        assert_eq!(boots(&before), Some((2, "2".to_owned())));
        assert_eq!(commit(&before, "3"), Generation(3));
        assert_eq!(boots(&worker(None)), Some((3, "3".to_owned())));
        assert!(!folder.join("manifest.replaced.json").exists());
    }
}

/// What another worker has changed of one plugin leaves what stands in for another one.
#[test]
fn what_stands_in_stays_until_its_plugin_changes() {
    let other: PluginName = "other".parse().unwrap();
    let serves = |record: &Record| record.serving(&name()).map(|it| it.0);
    for newer in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let record = open(folder.path());
        let [one, _] = ["1", "2"].map(|label| commit(&record, label));
        record.stand_in(&name(), Some(one), "it does not load".to_owned());
        let successor = open(folder.path());
        if newer {
            let generation = successor.take_generation();
            let (digest, label) = (Digest([9; 32]), "1".parse().unwrap());
            let commit = Commit { generation, digest, label, target: None, file: None };
            successor.commit(&other, commit).unwrap();
        }
        record.reload(None).unwrap();
        assert_eq!(serves(&record), Some(1), "newer: {newer}");
        assert_eq!(record.warned()[&name()], "it does not load");
        assert_eq!(record.serving(&other).is_some(), newer);
        commit(&successor, "3");
        record.reload(None).unwrap();
        assert_eq!(serves(&record), Some(3 + u64::from(newer)));
        assert!(record.warned().is_empty());
    }
}

/// What could not be written before a hand-over is not forgotten when the worker comes back.
#[test]
fn what_the_disk_does_not_have_outlives_a_look_at_it() {
    let folder = tempfile::tempdir().unwrap();
    let record = open(folder.path());
    let [_, two] = ["1", "2"].map(|label| commit(&record, label));
    let blocked = folder.path().join("manifest.json.tmp");
    std::fs::create_dir(&blocked).unwrap();
    record.withdraw(&ended(two)).unwrap();
    record.reload(None).unwrap();
    assert_eq!(boots(&record), Some((3, "1".to_owned())));
    std::fs::remove_dir(&blocked).unwrap();
    record.look(&Store::open(folder.path()).unwrap()).unwrap();
    assert_eq!(boots(&open(folder.path())), Some((3, "1".to_owned())));
}

/// A record in a folder that it holds itself, with two versions and a lock that somebody removes.
fn without_its_lock(folder: &Path) -> Record {
    let handed = Handed { manifest: None, renewed: Arc::new(|_| ()), next: None, marks: None };
    let record = Record::open(StateDir::open(folder).unwrap(), &Limits::default(), handed).unwrap();
    for label in ["1", "2"] {
        commit(&record, label);
    }
    std::fs::remove_file(folder.join("lock")).unwrap();
    record
}

/// What a process has in memory alone makes its own manifest nobody else's.
#[test]
fn its_own_manifest_is_known_again() {
    let ways: [fn(&Record, &Store); 4] = [
        |record, _| record.stand_in(&name(), Some(Generation(1)), "it does not load".to_owned()),
        |record, _| assert_eq!(record.take_generation(), Generation(3)),
        |record, store| record.tidy(store, 0),
        // Known and not yet written: the disk has the change before.
        |record, _| {
            let mut book = record.book();
            book.manifest.serial += 1;
            book.behind = true;
        },
    ];
    for change in ways {
        let folder = tempfile::tempdir().unwrap();
        let record = without_its_lock(folder.path());
        let store = Store::open(folder.path()).unwrap();
        record.look(&store).unwrap();
        change(&record, &store);
        std::fs::remove_file(folder.path().join("lock")).unwrap();
        record.look(&store).unwrap();
        assert!(!folder.path().join("manifest.replaced.json").exists());
        drop(record);
        assert_eq!(boots(&open(folder.path())), Some((2, "2".to_owned())));
    }
}

/// What another host has left stays where it is until this one's is written, whatever it says.
#[test]
fn what_another_host_has_written_is_put_aside_only_for_something() {
    let newer = br#"{"schema": 99}"#.to_vec();
    let same_serial = Manifest { serial: 2, ..Manifest::default() }.to_text();
    let ways: [fn(&Record, &Store); 2] = [
        |record, store| record.look(store).unwrap(),
        |record, _| assert_eq!(commit(record, "3"), Generation(3)),
    ];
    for (theirs, write) in [newer, same_serial, b"{".to_vec()].iter().zip(ways.iter().cycle()) {
        let folder = tempfile::tempdir().unwrap();
        let [newest, aside, blocked] =
            ["manifest.json", "manifest.replaced.json", "manifest.json.tmp"]
                .map(|name| folder.path().join(name));
        let record = without_its_lock(folder.path());
        let store = Store::open(folder.path()).unwrap();
        let _ = std::fs::remove_file(folder.path().join("manifest.previous.json"));
        std::fs::write(&newest, theirs).unwrap();
        std::fs::create_dir(&blocked).unwrap();
        for _ in 0..2 {
            record.look(&store).unwrap_err();
            assert_eq!(&std::fs::read(&newest).unwrap(), theirs, "still there");
        }
        std::fs::remove_dir(&blocked).unwrap();
        write(&record, &store);
        assert_eq!(&std::fs::read(&aside).unwrap(), theirs);
        drop(record);
        assert!(boots(&open(folder.path())).is_some_and(|(number, _)| number >= 2));
    }
}

/// A disk that does not answer holds up whoever writes, and nobody who asks.
///
/// Method: the temporary file is a pipe that nobody reads; to open it takes until somebody does.
#[test]
fn who_only_reads_does_not_wait_for_the_disk() {
    type Way = fn(&Record, &Store);
    let ways: [(Way, Way); 5] = [
        (|_, _| (), |record, _| drop(record.remove(&name()))),
        (|_, _| (), |record, _| drop(record.withdraw(&ended(Generation(2))))),
        (|_, _| (), |record, _| record.remember(Path::new("/x"), Some(seen(1, Fate::Ended)))),
        (
            |record, _| drop(record.withdraw(&ended(Generation(1)))),
            |record, _| drop(record.avoid(&name(), Generation(1))),
        ),
        (|record, _| record.book().behind = true, |record, store| drop(record.look(store))),
    ];
    for (prepare, write) in ways {
        let folder = tempfile::tempdir().unwrap();
        let record = Arc::new(open(folder.path()));
        let store = Store::open(folder.path()).unwrap();
        for label in ["1", "2"] {
            commit(&record, label);
        }
        prepare(&record, &store);
        let pipe = folder.path().join("manifest.json.tmp");
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
        let theirs = Arc::clone(&record);
        let writer = std::thread::spawn(move || write(&theirs, &store));
        while record.pen.try_lock().is_ok() {
            std::thread::yield_now();
        }
        let (answers, answered) = std::sync::mpsc::channel();
        let asked = Arc::clone(&record);
        let reader = std::thread::spawn(move || {
            let status = (asked.kept(&name()), asked.warned(), asked.noted(), asked.unwritable());
            let rest = (asked.committed(), asked.seen(), asked.manifest());
            answers.send((status, rest)).unwrap();
        });
        let answer = answered.recv_timeout(Duration::from_secs(20));
        assert!(!writer.is_finished());
        // Under another name, so that it does not become the manifest.
        let aside = folder.path().join("pipe");
        std::fs::rename(&pipe, &aside).unwrap();
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK;
        let end = rustix::fs::open(&aside, flags, rustix::fs::Mode::empty()).unwrap();
        writer.join().unwrap();
        reader.join().unwrap();
        drop(end);
        assert!(!answer.unwrap().1.2.is_empty());
    }
}

/// The look that nobody has asked for may hang in its folder: it holds up no change, and no
/// hand-over.
#[test]
fn a_look_at_what_is_well_holds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let record = open(folder.path());
    let store = Store::open(folder.path()).unwrap();
    commit(&record, "1");
    for digest in record.book().manifest.in_traffic() {
        std::fs::write(store.artifact_path(digest), b"there").unwrap();
    }
    let pen = record.pen();
    std::thread::scope(|scope| {
        let (done, looked) = std::sync::mpsc::channel();
        let (record, store) = (&record, &store);
        scope.spawn(move || done.send(record.look(store).is_ok()).unwrap());
        let well = looked.recv_timeout(Duration::from_secs(20));
        drop(pen);
        assert!(well.unwrap());
    });
}
