//! The state folder itself: made, checked, and held by one host at a time.
//!
//! Owns the lock. Knows nothing of the files inside.
//! Invariant: two hosts never share a folder; the kernel drops the lock with the process.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
};

use crate::{
    artifact::{quoted, shown},
    error::{Coded, Kind},
    sys::{process::shortage_of, start},
};

/// The state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another host has it.
    #[error(
        "state folder `{}` is used by {}",
        shown(.path),
        .pid.map_or_else(|| "another host".to_owned(), |pid| format!("the host with pid {pid}"))
    )]
    Locked {
        /// The folder.
        path: PathBuf,
        /// The host that holds it, when it could be read.
        pid: Option<u32>,
    },
    /// Other accounts may write into it: what they put there would be run.
    #[error("state folder `{}` is writable by others (mode {mode:04o})", shown(.path))]
    WritableByOthers {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to another account.
    #[error("state folder `{}` belongs to user {owner}", shown(.path))]
    ForeignOwner {
        /// The folder.
        path: PathBuf,
        /// Its uid.
        owner: u32,
        /// The host's uid.
        host: u32,
    },
    /// Anything else.
    #[error("cannot {doing} `{}`: {source}", shown(.path))]
    Failed {
        /// `create`.
        doing: &'static str,
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Coded for StateError {
    fn code(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "state_locked",
            Self::WritableByOthers { .. } => "state_writable_by_others",
            Self::ForeignOwner { .. } => "state_foreign_owner",
            Self::Failed { .. } => "state_failed",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Locked { .. } => Kind::Conflict,
            Self::WritableByOthers { .. } | Self::ForeignOwner { .. } | Self::Failed { .. } => {
                Kind::Host
            }
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Locked { pid: Some(pid), .. } => {
                format!("stop it with `kill {pid}`, or use another `--state-dir`")
            }
            Self::Locked { pid: None, .. } => "use another `--state-dir`".to_owned(),
            Self::WritableByOthers { path, .. } => format!("run `chmod 0700 {}`", quoted(path)),
            Self::ForeignOwner { path, host, .. } => {
                format!("run `chown -R {host} {}`, or use another `--state-dir`", quoted(path))
            }
            Self::Failed { source, .. } => shortage_of(source).unwrap_or_else(|| {
                "give a folder that this account may create and write with `--state-dir`".to_owned()
            }),
        })
    }
}

impl StateError {
    fn new(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Failed { doing, path: path.to_owned(), source: source.into() }
    }
}

/// A state folder that this process (or its master) holds, until the value is dropped.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// The open file carries the kernel's lock.
    lock: Option<File>,
}

/// "Group or others may write", of a mode.
const OTHERS_WRITE: u32 = 0o022;

impl StateDir {
    /// Makes the folder at `path` (0700) unless it is there, and takes its lock.
    ///
    /// # Errors
    /// Every [`StateError`].
    pub fn open(path: &Path) -> Result<Self, StateError> {
        // Absolute from here on: the working directory is only looked at once.
        let path = std::path::absolute(path).map_err(|e| StateError::new("find", path, e))?;
        make(&path)?;
        check(&path)?;
        let lock = lock(&path)?;
        Ok(Self { path, lock: Some(lock) })
    }

    /// The folder at `path`, for a worker whose master has made it and holds its lock as long as
    /// there are workers. One worker at a time writes: see [`Worker::freeze`].
    ///
    /// # Errors
    /// Every [`StateError`] but [`StateError::Locked`].
    ///
    /// [`Worker::freeze`]: crate::worker::Worker::freeze
    pub fn held_by_master(path: &Path) -> Result<Self, StateError> {
        let path = std::path::absolute(path).map_err(|e| StateError::new("find", path, e))?;
        check(&path)?;
        Ok(Self { path, lock: None })
    }

    /// A folder that an earlier image of this process held, with the lock that it left.
    ///
    /// # Errors
    /// The path cannot be made absolute.
    pub fn remembered(path: &Path, lock: OwnedFd) -> Result<Self, StateError> {
        let path = std::path::absolute(path).map_err(|e| StateError::new("find", path, e))?;
        Ok(Self { path, lock: Some(lock.into()) })
    }

    /// What holds the lock, for the next image of this process. `None`: its master holds it.
    #[must_use]
    pub fn lock(&self) -> Option<BorrowedFd<'_>> {
        self.lock.as_ref().map(|lock| lock.as_fd())
    }

    /// The folder, as an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn make(path: &Path) -> Result<(), StateError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|e| StateError::new("create", parent, e))?;
    }
    start::make_folder(path, 0o700).map_err(|error| StateError::new("create", path, error))
}

fn check(path: &Path) -> Result<(), StateError> {
    let meta = fs::metadata(path).map_err(|e| StateError::new("read", path, e))?;
    if !meta.is_dir() {
        return Err(StateError::new("use", path, io::ErrorKind::NotADirectory));
    }
    let host = rustix::process::geteuid().as_raw();
    let (path, owner, mode) = (path.to_owned(), meta.uid(), meta.mode() & 0o7777);
    if owner != host && owner != 0 {
        return Err(StateError::ForeignOwner { path, owner, host });
    }
    if mode & OTHERS_WRITE != 0 {
        return Err(StateError::WritableByOthers { path, mode });
    }
    Ok(())
}

fn lock(folder: &Path) -> Result<File, StateError> {
    let path = folder.join("lock");
    let failed = |source| StateError::new("lock", &path, source);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(&path)
        .map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let read = (&file).take(16).read_to_string(&mut text);
            let pid = read.ok().and_then(|_| text.trim().parse().ok());
            return Err(StateError::Locked { path: folder.to_owned(), pid });
        }
        Err(errno) => return Err(failed(errno.into())),
    }
    // Only for people and for the message above: the lock itself is the kernel's.
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()))
        .map_err(failed)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_folder_belongs_to_one_host_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let held = StateDir::open(&path).unwrap();
        assert_eq!(held.path(), path);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
        let error = StateDir::open(&path).unwrap_err();
        assert_eq!((error.code(), error.kind()), ("state_locked", Kind::Conflict));
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        assert!(error.hint().unwrap().contains("--state-dir"));
        drop(held);
        StateDir::open(&path).expect("free again");
    }

    #[test]
    fn a_folder_that_others_may_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let set = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        for mode in [0o770, 0o702, 0o1777] {
            set(mode);
            let error = StateDir::open(dir.path()).unwrap_err();
            assert_eq!(error.code(), "state_writable_by_others", "{mode:o}");
        }
        set(0o755);
        StateDir::open(dir.path()).expect("others may read it");
    }

    #[test]
    fn a_worker_uses_the_folder_that_its_master_holds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        assert_eq!(StateDir::held_by_master(&path).unwrap_err().code(), "state_failed");
        let master = StateDir::open(&path).unwrap();
        let workers = [(); 2].map(|()| StateDir::held_by_master(&path).unwrap());
        assert!(workers.iter().all(|worker| worker.path() == master.path()));
        drop(workers);
        assert_eq!(StateDir::open(&path).unwrap_err().code(), "state_locked", "still the master's");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        let error = StateDir::held_by_master(&path).unwrap_err();
        assert_eq!(error.code(), "state_writable_by_others");
    }

    #[test]
    fn what_is_no_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        File::create(&path).unwrap();
        assert_eq!(StateDir::open(&path).unwrap_err().code(), "state_failed");
        assert_eq!(StateDir::open(&path.join("below")).unwrap_err().code(), "state_failed");
    }
}
