//! The state folder itself: made, checked, and held by one host at a time.
//!
//! Owns the lock, and by it knows the folder again: a folder without it is another one, whatever it
//! is called. Knows nothing of the files inside.
//! Invariant: two hosts never share a folder; the kernel drops the lock with the process.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::fd::OwnedFd,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    fs::{Access, AtFlags, CWD, FlockOperation, OFlags, accessat, flock, fstat},
    io::Errno,
};

use crate::{
    artifact::{quoted, shown},
    error::{Coded, Kind},
    ids::LockId,
    sys::{disk::Shortage, path::remedy, process::random_word, start},
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
    /// It was removed, or another one has its place.
    #[error("state folder `{}` is gone, or another one has its place", shown(.path))]
    Lost {
        /// The folder.
        path: PathBuf,
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
            Self::Lost { .. } => "state_lost",
            Self::Failed { source, path, .. } if Shortage::of(source, path, 0).is_some() => {
                "disk_full"
            }
            Self::Failed { .. } => "state_failed",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Locked { .. } => Kind::Conflict,
            Self::WritableByOthers { .. }
            | Self::ForeignOwner { .. }
            | Self::Lost { .. }
            | Self::Failed { .. } => Kind::Host,
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
            Self::Lost { .. } => "the host makes it again by itself".to_owned(),
            Self::Failed { source, path, .. } => remedy(path, source, "--state-dir"),
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
    /// A master holds it, for this process too.
    led: bool,
    /// Stands in the lock, for the processes of this host to know it by; `None`: the master gave
    /// none, so that no lock is known.
    token: Option<String>,
    held: Mutex<Held>,
    /// It is another host's to take.
    left: AtomicBool,
}

#[derive(Debug, Default)]
struct Held {
    /// The open file carries the kernel's lock. `None`: the master's does.
    lock: Option<File>,
    /// `None`: whoever holds it has not said.
    id: Option<LockId>,
}

impl Held {
    fn by(lock: File) -> Self {
        let id = id_of(&lock).ok();
        Self { lock: Some(lock), id }
    }
}

fn id_of(lock: &File) -> io::Result<LockId> {
    let stat = fstat(lock)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// "Group or others may write", of a mode.
const OTHERS_WRITE: u32 = 0o022;

impl StateDir {
    /// Makes the folder at `path` (0700) unless it is there, and takes its lock.
    ///
    /// # Errors
    /// Every [`StateError`] but [`StateError::Lost`].
    pub fn open(path: &Path) -> Result<Self, StateError> {
        // Absolute from here on: the working directory is only looked at once.
        let path = std::path::absolute(path).map_err(|e| StateError::new("find", path, e))?;
        if let Some(parent) = path.parent() {
            start::make_folders(parent).map_err(|e| StateError::new("create", parent, e))?;
        }
        make(&path)?;
        check(&path)?;
        let token = random_word();
        let lock = lock(&path, std::process::id(), Some(&token))?;
        Ok(Self::new(path, Some(token), Held::by(lock)))
    }

    /// The folder at `path`, for a worker whose master holds the lock `id` as long as there are
    /// workers. One worker at a time writes: see [`Worker::freeze`]. What it is like is not looked
    /// at: [`inspect`](Self::inspect) does.
    ///
    /// [`Worker::freeze`]: crate::worker::Worker::freeze
    #[must_use]
    pub fn held_by_master(path: PathBuf, id: Option<LockId>, token: Option<String>) -> Self {
        Self { led: true, ..Self::new(path, token, Held { lock: None, id }) }
    }

    /// A folder that an earlier image of this process held, with the lock and the token that it
    /// left.
    #[must_use]
    pub fn remembered(path: PathBuf, lock: OwnedFd, token: Option<String>) -> Self {
        // What the lock says is asked for only once that was taken anew: with this one.
        let token = Some(token.unwrap_or_else(random_word));
        Self::new(path, token, Held::by(lock.into()))
    }

    fn new(path: PathBuf, token: Option<String>, held: Held) -> Self {
        Self { path, led: false, token, held: Mutex::new(held), left: AtomicBool::new(false) }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What holds the lock, for another process or the next image of this one. `None`: its master
    /// holds it.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn lock(&self) -> io::Result<Option<OwnedFd>> {
        self.held().lock.as_ref().map(|lock| Ok(lock.try_clone()?.into())).transpose()
    }

    /// How its lock is known again.
    #[must_use]
    pub fn lock_id(&self) -> Option<LockId> {
        self.held().id
    }

    /// What the processes of this host know each other's locks by.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Another process of this host had to take the lock anew.
    pub fn follow(&self, lock: OwnedFd) {
        *self.held() = Held::by(lock.into());
    }

    /// Lets go of the lock, for good: another host may want the folder.
    pub fn leave(&self) {
        let mut held = self.held();
        self.left.store(true, Ordering::Release);
        held.lock = None;
    }

    /// Whether it is still the folder that is held, and may be written to. Writes nothing.
    ///
    /// # Errors
    /// [`StateError::Lost`]; [`StateError::WritableByOthers`], [`StateError::ForeignOwner`],
    /// [`StateError::Failed`].
    pub fn inspect(&self) -> Result<(), StateError> {
        let lost = || StateError::Lost { path: self.path.clone() };
        match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(lost()),
            _ => check(&self.path)?,
        }
        let found = match fs::metadata(self.path.join(LOCK)) {
            Ok(meta) => (meta.dev(), meta.ino()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(lost()),
            Err(error) => return Err(StateError::new("read", &self.path, error)),
        };
        if self.lock_id().is_some_and(|held| held != found) {
            return Err(lost());
        }
        let may_write =
            accessat(CWD, &self.path, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
        may_write.map_err(|errno| StateError::new("write", &self.path, errno))
    }

    /// Whether it is gone, or is another host's. One that another worker of this host has made again
    /// meanwhile is this worker's too, from now on. Makes nothing.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        matches!(self.inspect(), Err(StateError::Lost { .. })) && !self.rejoin()
    }

    /// Takes the folder that has the place of the one that was held for it, if this host has its
    /// lock; whether it has.
    fn rejoin(&self) -> bool {
        // Only what names this host is tried: whoever tries holds the lock for a moment.
        let Some(file) = self.lock_of_this_host() else { return false };
        if flock(&file, FlockOperation::NonBlockingLockShared) != Err(Errno::WOULDBLOCK) {
            return false;
        }
        let Ok(id) = id_of(&file) else { return false };
        *self.held() = Held { lock: None, id: Some(id) };
        true
    }

    /// The lock that lies in the folder, if it was taken for this host. Its token says so: process
    /// numbers are the same in every container.
    fn lock_of_this_host(&self) -> Option<File> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(self.path.join(LOCK))
            .ok()?;
        let ours = self.led && self.token.is_some() && token_of(&file) == self.token;
        ours.then_some(file)
    }

    /// The process that the lock is taken for.
    fn host(&self) -> u32 {
        let parent = rustix::process::getppid().map(|it| it.as_raw_nonzero().get().unsigned_abs());
        parent.filter(|_| self.led).unwrap_or_else(std::process::id)
    }

    /// Makes a folder that is lost again, or takes the one that has its place. The lock of it, for
    /// whoever else holds it; `None`: another worker of this host was sooner. The folder above has
    /// to be there: where that is gone, nobody wants the state back.
    ///
    /// # Errors
    /// Every [`StateError`]; [`StateError::Lost`] once it was [left](Self::leave).
    pub fn renew(&self) -> Result<Option<OwnedFd>, StateError> {
        make(&self.path)?;
        check(&self.path)?;
        let host = self.host();
        let failed = |source| StateError::new("lock", &self.path, source);
        match lock(&self.path, host, self.token()) {
            Ok(lock) => {
                let copy = lock.try_clone().map_err(failed)?;
                let mut held = self.held();
                if self.left.load(Ordering::Acquire) {
                    return Err(StateError::Lost { path: self.path.clone() });
                }
                *held = Held::by(lock);
                Ok(Some(copy.into()))
            }
            Err(error @ StateError::Locked { .. }) => match self.lock_of_this_host() {
                Some(file) => {
                    let id = Some(id_of(&file).map_err(failed)?);
                    *self.held() = Held { lock: None, id };
                    Ok(None)
                }
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// The folder, as an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn make(path: &Path) -> Result<(), StateError> {
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

/// The file that carries the lock.
const LOCK: &str = "lock";

/// Takes the lock for the host `pid`, which knows it by `token`.
fn lock(folder: &Path, pid: u32, token: Option<&str>) -> Result<File, StateError> {
    let path = folder.join(LOCK);
    let failed = |source| StateError::new("lock", &path, source);
    let mut options = OpenOptions::new();
    options.read(true).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    let writable = options.clone().write(true).create(true).truncate(false).open(&path);
    if let Ok(file) = &writable {
        // Not to be done where it is somebody else's, who has seen to it himself.
        let _ = start::give_mode(file, 0o600);
    }
    // A folder that can only be read is held as well, by the lock that is there.
    let file = writable.or_else(|error| options.open(&path).map_err(|_| error)).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            return Err(StateError::Locked { path: folder.to_owned(), pid: holder_of(&file) });
        }
        Err(errno) => return Err(failed(errno.into())),
    }
    // For people, the message above and other processes of this host: the lock is the kernel's.
    let _ = write_holder(&file, pid, token);
    Ok(file)
}

/// So much of the file is for the number of its host; 0.1.0 reads no more, and takes nothing else for
/// a number. Units: bytes.
const PID_LEN: usize = 16;

/// More than a token is not read. Units: bytes.
const TOKEN_MAX: u64 = 64;

/// The host that a lock was taken for, as far as the file says.
fn holder_of(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(PID_LEN as u64).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// What the processes of that host know it by, as far as the file says.
fn token_of(mut file: &File) -> Option<String> {
    let mut text = String::new();
    file.seek(io::SeekFrom::Start(PID_LEN as u64)).ok()?;
    file.take(TOKEN_MAX).read_to_string(&mut text).ok()?;
    let token = text.trim();
    (!token.is_empty()).then(|| token.to_owned())
}

fn write_holder(mut file: &File, pid: u32, token: Option<&str>) -> io::Result<()> {
    let token = token.map_or_else(String::new, |token| format!("{token}\n"));
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(format!("{pid:<width$}\n{token}", width = PID_LEN - 1).as_bytes())
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

    fn led_by(master: &StateDir) -> StateDir {
        let token = master.token().map(str::to_owned);
        StateDir::held_by_master(master.path().to_owned(), master.lock_id(), token)
    }

    #[test]
    fn a_worker_uses_the_folder_that_its_master_holds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let master = StateDir::open(&path).unwrap();
        let worker = || led_by(&master);
        let workers = [(); 2].map(|()| worker());
        workers.iter().for_each(|it| it.inspect().unwrap());
        drop(workers);
        assert_eq!(StateDir::open(&path).unwrap_err().code(), "state_locked", "still the master's");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(worker().inspect().unwrap_err().code(), "state_writable_by_others");
    }

    /// However the folder went, it is made again; whoever else holds it then keeps it.
    #[test]
    fn a_folder_that_is_lost_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("above/state");
        let master = StateDir::open(&path).unwrap();
        let worker = led_by(&master);
        let ways: [fn(&Path); 4] = [
            |path| fs::remove_dir_all(path).unwrap(),
            |path| fs::remove_file(path.join(LOCK)).unwrap(),
            |path| {
                fs::rename(path, path.with_extension("aside")).unwrap();
                fs::create_dir(path).unwrap();
            },
            |path| {
                fs::remove_file(path.join(LOCK)).unwrap();
                File::create(path.join(LOCK)).unwrap();
            },
        ];
        for lose in ways {
            lose(&path);
            assert_eq!(worker.inspect().unwrap_err().code(), "state_lost");
            master.follow(worker.renew().unwrap().unwrap());
            worker.inspect().unwrap();
            master.inspect().unwrap();
            assert_eq!(StateDir::open(&path).unwrap_err().code(), "state_locked");
        }
        // Another worker of the host was sooner: it is this one's too.
        let first = led_by(&master);
        fs::remove_dir_all(&path).unwrap();
        assert!(worker.is_lost(), "nobody has made it again");
        master.follow(first.renew().unwrap().unwrap());
        assert!(!worker.is_lost());
        worker.inspect().unwrap();
        fs::remove_dir_all(&path).unwrap();
        let other = StateDir::open(&path).unwrap();
        assert!(worker.is_lost(), "it is another host's");
        assert_eq!(worker.inspect().unwrap_err().code(), "state_lost");
        assert_eq!(worker.renew().unwrap_err().code(), "state_locked", "another host was sooner");
        drop(other);
        fs::remove_dir_all(dir.path().join("above")).unwrap();
        assert_eq!(worker.renew().unwrap_err().code(), "state_failed");
        assert!(!dir.path().join("above").exists());
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
