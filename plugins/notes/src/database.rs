//! The database file, and the one way to it.
//!
//! Each version of a plugin brings its own copy of SQLite, and while one takes over from another both run
//! in one process. SQLite keeps its users apart by POSIX locks, which belong to the *process*: two copies
//! in one do not exclude each other, and when one closes the file the kernel drops the locks of the other,
//! too. Either damages the file (<https://sqlite.org/howtocorrupt.html>, 2.2.1).
//!
//! So whoever uses it holds an exclusive `flock(2)` on `DATABASE.lock` meanwhile. That belongs to the open
//! file, which each version has of its own: it excludes copies in one process as well as processes (an
//! upgrade of the host has two), and the kernel takes it back from whoever dies. What makes that hold:
//! - Only a [`Session`] has a connection. It is opened behind the lock and closed before the lock is let
//!   go, so nothing is open that a version's end would have to close.
//! - The journal is one of rollback: what a killed writer leaves is undone by whoever comes next. With
//!   a log (WAL) the last to close it in one copy would remove that of the other.
//! - The lock is exclusive for readers, too: the first of them after a crash writes.
//! - The folder is on a local file system: NFS makes a POSIX lock of `flock`.
//!
//! This file stands alone: copy it, and give your package what it needs besides the SDK (with its feature
//! `axum`, or `runtime`):
//!
//! ```toml
//! rusqlite = { version = "0.40", default-features = false, features = ["bundled"] }
//! rustix = { version = "1.1", features = ["fs"] }
//! tokio = { version = "1.54", features = ["rt-multi-thread", "sync", "time"] }
//! ```

use std::{
    ffi::OsString,
    fmt::{self, Display},
    fs::{self, File},
    io::{self, ErrorKind, Read as _},
    ops::Deref,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hotseat_plugin_api::{BlockingError, Context, Error as NewError, Result as NewResult};
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use rustix::{
    fs::{Access, FlockOperation},
    io::Errno,
};
use tokio::{
    runtime::Handle,
    sync::{Mutex, OwnedMutexGuard},
    time,
};

/// Why a request cannot use the database.
#[derive(Debug)]
pub(crate) enum Error {
    /// Somebody else has had it for `busy_time`: 503, and worth another try.
    Busy,
    /// The host's pool has no room: as well.
    Full,
    /// The fault of nobody but the plugin or its machine: 500, and a line in the log.
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("the database is in use; try again"),
            Self::Full => f.write_str("the host's pool has no room; try again"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// A lock that a program beside the host holds too long is no fault of the plugin's.
impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            _ => Self::Failed(error.into()),
        }
    }
}

impl From<BlockingError> for Error {
    fn from(error: BlockingError) -> Self {
        match error {
            BlockingError::Full => Self::Full,
            _ => Self::Failed(error.into()),
        }
    }
}

/// Between two looks at a lock that somebody else holds.
const LOOK: Duration = Duration::from_millis(1);

/// A database that is up to date. It holds the file of the lock, and nothing of SQLite's.
#[derive(Debug)]
pub(crate) struct Database {
    path: Arc<Path>,
    busy_time: Duration,
    /// Users of this version queue here, and the first of them looks.
    lock: Arc<Mutex<File>>,
}

impl Database {
    /// Makes the file if there is none, and brings its schema up to date. Blocks.
    pub(crate) fn open(path: &Path, busy_time: Duration, migrations: &[&str]) -> NewResult<Self> {
        let path = resolve(path)?;
        let file = File::options().append(true).create(true).open(lock_path(&path));
        let lock = Arc::new(Mutex::new(file.map_err(|error| said(&lock_path(&path), error))?));
        let database = Self { path: path.into(), busy_time, lock };
        let lock = Handle::current().block_on(database.lock());
        let lock = lock.map_err(|error| said(&database.path, error))?;
        // An empty file is an empty database.
        let file = File::options().append(true).create(true).open(&database.path);
        drop(file.map_err(|error| said(&database.path, error))?);
        let session = lock.open().map_err(|error| said(&database.path, error))?;
        migrate(&session, migrations).map_err(|it| said(&database.path, it))?;
        Ok(database)
    }

    /// Where it is, whichever links lead there.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until nobody else uses the database, no longer than `busy_time`; blocks no thread.
    pub(crate) async fn lock(&self) -> Result<Lock, Error> {
        let locked = async {
            let file = Arc::clone(&self.lock).lock_owned().await;
            while !try_lock(&file)? {
                time::sleep(LOOK).await;
            }
            Ok(Lock { file, path: Arc::clone(&self.path), busy_time: self.busy_time })
        };
        time::timeout(self.busy_time, locked).await.unwrap_or(Err(Error::Busy))
    }

    /// What `work` makes of the database, on the host's pool. It runs to its end also when the client goes.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        context: &Context,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let lock = self.lock().await?;
        context.blocking(move || Ok(work(&*lock.open()?)?)).await?
    }
}

/// Nobody else, in whatever process or copy of SQLite, has the database open.
#[derive(Debug)]
pub(crate) struct Lock {
    file: OwnedMutexGuard<File>,
    path: Arc<Path>,
    busy_time: Duration,
}

impl Lock {
    /// Opens the database. Blocks.
    pub(crate) fn open(self) -> Result<Session, Error> {
        if self.file.metadata()?.nlink() == 0 {
            let text = "its .lock was removed, so others may use it: deploy this version again";
            return Err(io::Error::other(text).into());
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        // For programs that know nothing of the lock: in other processes SQLite's own exclude them.
        connection.busy_timeout(self.busy_time)?;
        connection.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))?;
        Ok(Session { connection, _lock: self })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A lock of ours can be let go of; and the kernel does when the file is closed.
        let _ = rustix::fs::flock(&*self.file, FlockOperation::Unlock);
    }
}

/// A connection, and the lock under which it is used. The fields are dropped in this order.
#[derive(Debug)]
pub(crate) struct Session {
    connection: Connection,
    _lock: Lock,
}

/// Not mutable, so that it cannot be taken out; several changes at once are an `unchecked_transaction`.
impl Deref for Session {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

/// What a preflight can tell without a change of anything: SQLite itself would undo what a killed writer
/// has left, or make files beside this one.
pub(crate) fn check(path: &Path, busy_time: Duration, migrations: &[&str]) -> NewResult<()> {
    let path = resolve(path)?;
    migrate(&Connection::open_in_memory()?, migrations)?;
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let folder = path.parent().unwrap_or(&path);
            return rustix::fs::access(folder, Access::WRITE_OK).map_err(|it| said(folder, it));
        }
        file => file.map_err(|error| said(&path, error))?,
    };
    rustix::fs::access(&path, Access::WRITE_OK).map_err(|error| said(&path, error))?;
    // Without it nobody has used the database in this way.
    let _lock = match File::open(lock_path(&path)) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        file => {
            let lock = Arc::new(Mutex::new(file.map_err(|error| said(&lock_path(&path), error))?));
            let database = Database { path: path.as_path().into(), busy_time, lock };
            Some(Handle::current().block_on(database.lock()).map_err(|error| said(&path, error))?)
        }
    };
    // # Source: <https://sqlite.org/fileformat.html>, 1.3.
    let mut header = Vec::new();
    file.by_ref().take(100).read_to_end(&mut header).map_err(|error| said(&path, error))?;
    match header.get(60..64) {
        _ if header.is_empty() => Ok(()),
        Some(version) if header.starts_with(b"SQLite format 3\0") => {
            let version = version.iter().fold(0, |all, byte| all << 8 | i64::from(*byte));
            known(version, migrations).map_err(|error| said(&path, error))
        }
        _ => Err(said(&path, "it is no SQLite database")),
    }
}

/// Forward only: a version never undoes what a later one has done.
fn migrate(connection: &Connection, migrations: &[&str]) -> NewResult<()> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let version = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    known(version, migrations)?;
    for (number, statements) in (1..).zip(migrations).skip(usize::try_from(version)?) {
        transaction.execute_batch(statements)?;
        transaction.pragma_update(None, "user_version", number)?;
    }
    Ok(transaction.commit()?)
}

fn known(version: i64, migrations: &[&str]) -> NewResult<()> {
    let count = migrations.len();
    if usize::try_from(version).is_ok_and(|version| version <= count) {
        return Ok(());
    }
    Err(NewError::new(format_args!(
        "its schema is {version}, and this version of the plugin knows up to {count}: deploy one that \
         knows it, or put a copy from before in its place"
    )))
}

/// One name for one file, whichever links lead to it: the lock lies beside that.
fn resolve(path: &Path) -> NewResult<PathBuf> {
    match (fs::canonicalize(path), path.file_name()) {
        (Ok(path), _) if path.is_file() => Ok(path),
        (Ok(path), _) => Err(said(&path, "it is no file")),
        (Err(_), _) if path.is_symlink() => Err(said(path, "a link that leads nowhere")),
        (Err(error), Some(name)) if error.kind() == ErrorKind::NotFound => {
            let folder = std::path::absolute(path)?.parent().unwrap_or(path).to_owned();
            Ok(fs::canonicalize(&folder).map_err(|error| said(&folder, error))?.join(name))
        }
        (Err(error), _) => Err(said(path, error)),
    }
}

/// At once; without a limit `flock` would wait as long as the other one takes.
fn try_lock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".lock");
    name.into()
}

fn said(path: &Path, what: impl Display) -> NewError {
    NewError::new(what).context(format_args!("`{}`", path.display()))
}
