//! What is withdrawn, and two workers that take turns with one folder.

use super::*;

fn name() -> PluginName {
    "handler".parse().unwrap()
}

fn open(folder: &Path) -> Record {
    Record::open(StateDir::held_by_master(folder).unwrap(), &Limits::default()).unwrap()
}

fn commit(record: &Record, label: &str) -> Generation {
    let generation = record.take_generation();
    let digest = Digest([u8::try_from(generation.0).unwrap(); 32]);
    let label = label.parse().unwrap();
    record.commit(&name(), Commit { generation, digest, label, target: None }).unwrap();
    generation
}

/// Generation and label of what boots.
fn boots(record: &Record) -> Option<(u64, String)> {
    let committed = record.committed();
    let first = committed.get(&name())?.first()?;
    Some((first.generation.0, first.label.as_str().to_owned()))
}

#[test]
fn a_withdrawn_version_is_left_for_the_one_before_it_and_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let record = open(folder.path());
    let [one, two, three] = ["1", "2", "3"].map(|label| commit(&record, label));
    assert!(record.withdraw(two).is_none(), "it is not active");
    let done = record.withdraw(three).unwrap();
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
    assert_eq!(record.withdraw(Generation(4)).unwrap().now.unwrap().from, Some(one));
    let done = record.withdraw(Generation(5)).unwrap();
    assert!(done.now.is_none(), "nothing is older");
    assert_eq!(boots(&open(folder.path())), None);
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
    let seen = Seen { inode: 1, size: 2, mtime_ns: 3, digest: Digest([3; 32]) };
    before.remember(path, Some(seen));
    before.tidy(&store, 1);
    assert!(kept.exists(), "only the one that writes removes anything");
    assert_eq!(boots(&open(folder.path())), Some((2, "2".to_owned())), "nor has it written");
    // A number that was used for a load that failed is not used again.
    assert_eq!([(); 3].map(|()| before.take_generation().0), [2, 3, 4]);
    before.reload().unwrap();
    before.seal(false);
    assert_eq!(boots(&before), Some((2, "2".to_owned())));
    assert_eq!(before.take_generation(), Generation(5));
    before.remember(path, Some(seen));
    assert_eq!(open(folder.path()).seen()[path], seen);
}
