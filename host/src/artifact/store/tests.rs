//! The store in a real folder.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;
use crate::artifact::digest;

fn put(path: impl AsRef<Path>, content: &[u8]) -> io::Result<()> {
    File::create(path)?.write_all(content)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn artifacts_are_kept_once_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let one = digest(b"one");
    let path = store.keep(one, b"one").unwrap();
    assert_eq!(path, dir.path().join(format!("artifacts/{one}.so")));
    assert_eq!(mode(&path), 0o400);
    assert_eq!(&store.read(one).unwrap()[..], b"one");
    let inode = fs::metadata(&path).unwrap().ino();
    store.keep(one, b"one").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode, "an intact artifact is left alone");
    for damage in [&b"oNe"[..], b"on", b"once"] {
        fs::remove_file(&path).unwrap();
        put(&path, damage).unwrap();
        assert_eq!(&store.read(one).unwrap()[..], b"one", "what is open here is as good");
        fs::remove_file(&path).unwrap();
        put(&path, damage).unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.read(one).unwrap_err().code(), "artifact_damaged");
        store.keep(one, b"one").unwrap();
        assert_eq!(&store.read(one).unwrap()[..], b"one");
    }
    assert_eq!(store.read(digest(b"two")).unwrap_err().code(), "artifact_missing");
    assert_eq!(names(&dir.path().join("artifacts")), [format!("{one}.so")]);
}

#[test]
fn every_private_copy_is_a_file_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let one = digest(b"one");
    let kept = store.keep(one, b"one").unwrap();
    let first = store.private_copy(Generation(7), one, b"one").unwrap().path().to_owned();
    let second = store.private_copy(Generation(8), one, b"one").unwrap().path().to_owned();
    let folder = dir.path().join(format!("loaded/{}", std::process::id()));
    assert_eq!(first, folder.join(format!("7-{}.so", one.short())));
    assert_eq!((mode(&first), mode(&folder)), (0o400, 0o700));
    let inodes: BTreeSet<_> =
        [&kept, &first, &second].iter().map(|path| fs::metadata(path).unwrap().ino()).collect();
    assert_eq!(inodes.len(), 3);
    fs::remove_file(&second).unwrap();
    let again = store.private_copy(Generation(8), one, b"one").unwrap().path().to_owned();
    assert_ne!(again, second, "a path is never used twice");
    assert_eq!(fs::read(again).unwrap(), b"one");
}

#[test]
fn only_what_is_wanted_is_retained() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for content in [b"one", b"two", b"six"] {
        store.keep(digest(content), content).unwrap();
    }
    let foreign = dir.path().join("artifacts/notes.txt");
    put(&foreign, b"").unwrap();
    assert_eq!(store.retain(&BTreeSet::from([digest(b"two")]), &BTreeSet::new()).unwrap(), 2);
    assert_eq!(store.read(digest(b"one")).unwrap_err().code(), "artifact_missing");
    store.read(digest(b"two")).unwrap();
    assert!(foreign.exists());
}

#[test]
fn a_start_sweeps_what_the_dead_left_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    // A process that has ended and was waited for: its pid is free.
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let dead = child.id();
    child.wait().unwrap();
    let own = std::process::id();
    let alive = std::os::unix::process::parent_id();
    for pid in [dead, own, alive] {
        fs::create_dir_all(dir.path().join(format!("loaded/{pid}"))).unwrap();
        put(dir.path().join(format!("loaded/{pid}/1-x.so")), b"").unwrap();
        fs::create_dir_all(dir.path().join("artifacts")).unwrap();
        put(dir.path().join(format!("artifacts/.tmp-{pid}-0")), b"").unwrap();
    }
    fs::create_dir(dir.path().join("loaded/other")).unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut left = vec![own.to_string(), alive.to_string(), "other".to_owned()];
    left.sort();
    assert_eq!(names(&dir.path().join("loaded")), left);
    assert_eq!(names(&dir.path().join(format!("loaded/{own}"))), [""; 0]);
    assert_eq!(names(&dir.path().join("artifacts")), [format!(".tmp-{alive}-0")]);
    drop(store);
    assert!(!dir.path().join(format!("loaded/{own}")).exists());
}

#[test]
fn a_full_disk_is_said() {
    let full = io::Error::from(io::ErrorKind::StorageFull);
    assert_eq!(StoreError::new("write", Path::new("/x"), full, 7).code(), "disk_full");
    let other = io::Error::from(io::ErrorKind::PermissionDenied);
    assert_eq!(StoreError::new("write", Path::new("/x"), other, 7).code(), "state_failed");
}

/// What a process before has handed on outlives its file, and is put back; what is not what it was
/// is not believed.
#[test]
fn carried_bytes_are_preferred_and_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let before = Store::open(dir.path()).unwrap();
    let [one, two] = [&b"one"[..], b"two"].map(digest);
    let path = before.keep(one, b"one").unwrap();
    let handed_on = before.open_artifact(one).unwrap();
    before.keep(two, b"two").unwrap();
    let wrong = before.open_artifact(two).unwrap();
    assert!(before.open_artifact(digest(b"three")).is_err());
    fs::remove_file(&path).unwrap();
    // The offset is shared by everybody who has the file open.
    let mut shared = File::from(handed_on.try_clone().unwrap());
    io::Read::read_exact(&mut shared, &mut [0; 2]).unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.carry(vec![(one, handed_on), (digest(b"three"), wrong)]);
    assert_eq!(&store.read(one).unwrap()[..], b"one");
    assert_eq!(&fs::read(&path).unwrap()[..], b"one", "it is there again");
    assert_eq!(store.read(digest(b"three")).unwrap_err().code(), "artifact_missing");
    fs::remove_file(&path).unwrap();
    store.open_artifact(one).expect("handed on once more");
    store.retain(&BTreeSet::new(), &BTreeSet::new()).unwrap();
    assert!(store.open_artifact(one).is_err(), "nothing needs it any more");
}

/// Whatever somebody puts in the place of an artifact, what is handed on is what was checked.
#[test]
fn only_what_was_checked_is_handed_on() {
    let one = digest(b"one");
    let bytes_of = |store: &Store| {
        let file = File::from(store.open_artifact(one).ok()?);
        let mut bytes = vec![0; 8];
        // By position, as whoever it is handed to reads it.
        let count = file.read_at(&mut bytes, 0).unwrap();
        bytes.truncate(count);
        Some(bytes)
    };
    for damage in [&b""[..], b"o", b"two", b"once"] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let path = store.keep(one, b"one").unwrap();
        // As from a backup: another file under the same name.
        fs::remove_file(&path).unwrap();
        put(&path, damage).unwrap();
        assert_eq!(bytes_of(&store).unwrap(), b"one");
        // Nothing is open: the file is looked at first.
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(bytes_of(&store), None);
        // What was taken over and is wrong gives way to what is right.
        store.carry(vec![(one, File::open(&path).unwrap().into())]);
        fs::remove_file(&path).unwrap();
        put(&path, b"one").unwrap();
        assert_eq!(&store.read(one).unwrap()[..], b"one");
        fs::remove_file(&path).unwrap();
        assert_eq!(bytes_of(&store).unwrap(), b"one");
        let store = Store::open(dir.path()).unwrap();
        put(&path, damage).unwrap();
        store.carry(vec![(one, File::open(&path).unwrap().into())]);
        store.keep(one, b"one").unwrap();
        assert_eq!(bytes_of(&store).unwrap(), b"one");
    }
}
