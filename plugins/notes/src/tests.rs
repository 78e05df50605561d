//! The database, which stands alone in its file.

use std::{fs, time::Duration};

use rusqlite::Connection;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::{
    MIGRATIONS,
    database::{Database, Error, check},
};

const TIME: Duration = Duration::from_millis(50);

fn runtime() -> (TempDir, Runtime) {
    // With a thread for its timers, as a plugin's.
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    (TempDir::new().unwrap(), runtime)
}

fn files(folder: &TempDir) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().path());
    let mut files: Vec<_> =
        entries.map(|it| (it.display().to_string(), fs::read(it).unwrap())).collect();
    files.sort();
    files
}

/// Each version has an open file of its own: that they are in one process does not matter.
#[test]
fn one_at_a_time() {
    let (folder, runtime) = runtime();
    let _entered = runtime.enter();
    let path = folder.path().join("a.db");
    let [one, other] = [(); 2].map(|()| Database::open(&path, TIME, MIGRATIONS).unwrap());
    let lock = runtime.block_on(one.lock()).unwrap();
    let wait = |database: &Database| runtime.block_on(database.lock()).map(drop);
    assert!(matches!(wait(&other), Err(Error::Busy)));
    assert!(matches!(wait(&one), Err(Error::Busy)));
    let session = lock.open().unwrap();
    assert!(matches!(wait(&other), Err(Error::Busy)));
    drop(session);
    assert!([&one, &other].into_iter().all(|it| wait(it).is_ok()));
}

/// A link is another name of the same file, so it has the same lock.
#[test]
fn a_link_has_the_lock_of_its_file() {
    let (folder, runtime) = runtime();
    let _entered = runtime.enter();
    let [path, link] = ["a.db", "b.db"].map(|name| folder.path().join(name));
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let error = Database::open(&link, TIME, MIGRATIONS).unwrap_err().to_string();
    assert!(error.contains("a link that leads nowhere"), "{error}");
    let one = Database::open(&path, TIME, MIGRATIONS).unwrap();
    let other = Database::open(&link, TIME, MIGRATIONS).unwrap();
    let _lock = runtime.block_on(one.lock()).unwrap();
    assert!(matches!(runtime.block_on(other.lock()), Err(Error::Busy)));
}

/// Whoever comes later would have another lock, so this one is worth nothing any more.
#[test]
fn a_lock_that_was_removed_is_none() {
    let (folder, runtime) = runtime();
    let _entered = runtime.enter();
    let path = folder.path().join("a.db");
    let database = Database::open(&path, TIME, MIGRATIONS).unwrap();
    fs::remove_file(folder.path().join("a.db.lock")).unwrap();
    let error = runtime.block_on(database.lock()).unwrap().open().unwrap_err();
    assert!(error.to_string().contains("its .lock was removed"), "{error}");
}

#[test]
fn migrations_go_forward_once() {
    let (folder, runtime) = runtime();
    let _entered = runtime.enter();
    let path = folder.path().join("a.db");
    for known in [1, 1, MIGRATIONS.len(), MIGRATIONS.len()] {
        let database = Database::open(&path, TIME, &MIGRATIONS[..known]).unwrap();
        let session = runtime.block_on(database.lock()).unwrap().open().unwrap();
        let version = session.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
        assert_eq!(version, Ok(i64::try_from(known).unwrap()));
        session.execute("insert into notes (text, made) values ('a', 'b')", []).unwrap();
    }
    let says = "its schema is 2, and this version of the plugin knows up to 1";
    let refused = Database::open(&path, TIME, &MIGRATIONS[..1]).unwrap_err().to_string();
    assert!(refused.contains(says), "{refused}");
    let refused = check(&path, TIME, &MIGRATIONS[..1]).unwrap_err().to_string();
    assert!(refused.contains(says), "{refused}");
}

/// Of a migration that fails nothing is left.
#[test]
fn a_migration_is_whole_or_not() {
    let (folder, runtime) = runtime();
    let _entered = runtime.enter();
    let path = folder.path().join("a.db");
    let bad = [MIGRATIONS[0], "create table half (a); create table notes (b)"];
    Database::open(&path, TIME, &bad).unwrap_err();
    Database::open(&path, TIME, MIGRATIONS).unwrap();
}

#[test]
fn a_log_becomes_a_rollback_journal() {
    let (folder, runtime) = runtime();
    let _entered = runtime.enter();
    let path = folder.path().join("a.db");
    let other = Connection::open(&path).unwrap();
    other.pragma_update(None, "journal_mode", "wal").unwrap();
    drop(other);
    let database = Database::open(&path, TIME, MIGRATIONS).unwrap();
    let session = runtime.block_on(database.lock()).unwrap().open().unwrap();
    let mode = session.pragma_query_value(None, "journal_mode", |row| row.get(0));
    assert_eq!(mode, Ok("delete".to_owned()));
}

/// A preflight changes nothing, whatever it finds.
#[test]
fn a_check_changes_nothing() {
    let (folder, runtime) = runtime();
    let _entered = runtime.enter();
    let path = folder.path().join("a.db");
    let unchanged = |says: &str| {
        let before = files(&folder);
        let said = check(&path, TIME, MIGRATIONS).map_err(|error| error.to_string());
        assert!(files(&folder) == before);
        assert!(said.as_ref().err().map_or(says.is_empty(), |it| it.contains(says)), "{said:?}");
    };
    unchanged("");
    fs::write(&path, "").unwrap();
    unchanged("");
    fs::write(&path, "a text").unwrap();
    unchanged("it is no SQLite database");
    fs::remove_file(&path).unwrap();
    let database = Database::open(&path, TIME, &MIGRATIONS[..1]).unwrap();
    unchanged("");
    let lock = runtime.block_on(database.lock()).unwrap();
    unchanged("the database is in use");
    // A writer that was killed: its journal has to be undone, which is for whoever changes things.
    let session = lock.open().unwrap();
    session.execute_batch("pragma cache_size = 1; begin immediate; create table half (a)").unwrap();
    let journal = folder.path().join("a.db-journal");
    let left = fs::read(&journal).unwrap();
    drop(session);
    fs::write(&journal, left).unwrap();
    unchanged("");
}
