//! Reads a library that somebody names, once, and refuses what must not be deployed.
//!
//! Owns the rules about the file as such: what kind it is, how large, whose, and that it did not
//! change meanwhile. Knows nothing of what is inside. Entry point: [`stage()`].
//! Invariant: the file is opened once; what is checked is what is read, by descriptor.

mod link;
pub mod refusal;

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, Stat, StatVfsMountFlags},
    io::Errno,
};
use sha2::Digest as _;

pub use self::refusal::StageError;
use crate::{ids::Digest, sys::start::start};

/// What a file must obey.
#[derive(Clone, Debug)]
pub struct StageRules {
    /// The largest file that is read. Units: bytes.
    pub library_bytes: u64,
    /// Accounts besides root and the host's own whose files are accepted.
    pub trusted_owners: Vec<u32>,
    /// A symlink as last component is followed, under the same rules at every step.
    pub follow_links: bool,
}

/// A file that was read as a whole.
#[derive(Clone, Debug)]
pub struct Read {
    /// As it was given.
    pub path: PathBuf,
    /// The sha256 of `bytes`.
    pub digest: Digest,
    /// The file's content.
    pub bytes: Arc<[u8]>,
}

/// Reads and hashes the file at `path` (relative to the working directory of the start), and checks
/// that it is a regular file that may be deployed. A symlink as last component is followed only where
/// the rules say so.
///
/// # Errors
/// Every [`StageError`].
pub fn stage(path: &Path, rules: &StageRules) -> Result<Read, StageError> {
    let (folder, name) = split(path)?;
    let folder_fd = open_folder(folder, path)?;
    // A look before the open: opening a device may act on it, and a socket cannot be opened.
    let look = fs::statat(&folder_fd, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| StageError::open(path, errno))?;
    if rules.follow_links && FileType::from_raw_mode(look.st_mode) == FileType::Symlink {
        let end = link::follow(path, (folder_fd, folder), name, rules)?;
        return read_at(path, &end.folder, &end.path, &end.name, rules);
    }
    must_be_regular(&look, path, || link_target(&folder_fd, name))?;
    read_at(path, &folder_fd, folder, name, rules)
}

/// Reads `name` in a folder, which is no link.
fn read_at(
    path: &Path,
    folder_fd: &OwnedFd,
    folder: &Path,
    name: &OsStr,
    rules: &StageRules,
) -> Result<Read, StageError> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = fs::openat(folder_fd, name, flags, Mode::empty())
        .map_err(|errno| StageError::open(path, errno))?;
    let stat = fs::fstat(&file).map_err(|errno| StageError::read(path, errno))?;
    must_be_regular(&stat, path, || link_target(folder_fd, name))?;
    let host = rustix::process::geteuid().as_raw();
    may_deploy(path, &Ownership::of(&stat), host, rules)?;
    folder_is_safe(path, folder, folder_fd)?;
    let (digest, bytes) = read_whole(file.as_fd(), &stat, path, rules.library_bytes)?;
    Ok(Read { path: path.to_owned(), digest, bytes })
}

/// Reads and hashes an open regular file in one pass, bounded by the size `before` says, and
/// refuses one that changes meanwhile.
///
/// # Errors
/// [`StageError::Empty`], [`StageError::TooLarge`], [`StageError::Changed`],
/// [`StageError::ReadFailed`].
pub(crate) fn read_whole(
    file: impl AsFd,
    before: &Stat,
    path: &Path,
    limit: u64,
) -> Result<(Digest, Arc<[u8]>), StageError> {
    let size = u64::try_from(before.st_size).unwrap_or(0);
    if size == 0 {
        return Err(StageError::Empty { path: path.to_owned() });
    }
    let too_large = || StageError::TooLarge { path: path.to_owned(), size, limit };
    let len = usize::try_from(size).map_err(|_| too_large())?;
    if size > limit {
        return Err(too_large());
    }
    // Made at its final place: no second copy of what may be many megabytes.
    let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, len).collect();
    let buffer = Arc::get_mut(&mut bytes).expect("nobody else has seen this Arc yet");
    let mut hasher = sha2::Sha256::new();
    let changed = || StageError::Changed { path: path.to_owned() };
    let mut at = 0;
    while at < len {
        let end = len.min(at + PIECE_BYTES);
        match rustix::io::pread(&file, &mut buffer[at..end], at as u64) {
            Ok(0) => return Err(changed()),
            Ok(count) => {
                // Hashed piece by piece, while it is in the cache.
                hasher.update(&buffer[at..at + count]);
                at += count;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(StageError::read(path, errno)),
        }
    }
    let after = fs::fstat(&file).map_err(|errno| StageError::read(path, errno))?;
    if Stamp::of(&after) != Stamp::of(before) {
        return Err(changed());
    }
    Ok((Digest(hasher.finalize().into()), bytes))
}

/// Units: bytes. Fits the second level cache beside what else runs.
const PIECE_BYTES: usize = 128 << 10;

/// Tells a changed file from an unchanged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The inode's number.
    pub(crate) inode: u64,
    /// Units: bytes.
    pub(crate) size: u64,
    /// Units: nanoseconds since the epoch.
    pub(crate) mtime_ns: i64,
    /// Units: nanoseconds since the epoch.
    pub(crate) ctime_ns: i64,
}

impl Stamp {
    pub(crate) fn of(stat: &Stat) -> Self {
        let time = |seconds: i64, nanoseconds: i64| {
            seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
        };
        Self {
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_ns: time(stat.st_mtime, stat.st_mtime_nsec.cast_signed()),
            ctime_ns: time(stat.st_ctime, stat.st_ctime_nsec.cast_signed()),
        }
    }
}

/// Folder and last component. A path that cannot name a file is refused here.
fn split(path: &Path) -> Result<(&Path, &OsStr), StageError> {
    let bytes = path.as_os_str().as_bytes();
    // `Path` hides a slash or a `/.` at the end; the kernel reads either as "this is a folder".
    let folder_form = bytes.ends_with(b"/") || bytes.ends_with(b"/.") || bytes == b".";
    match path.file_name() {
        Some(name) if !folder_form => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            Ok((parent.unwrap_or_else(|| Path::new(".")), name))
        }
        _ if !bytes.is_empty() && is_folder(path) => {
            Err(StageError::IsDirectory { path: path.to_owned() })
        }
        _ => Err(StageError::Missing { path: path.to_owned() }),
    }
}

fn is_folder(path: &Path) -> bool {
    let stat = fs::statat(start().at(), path, AtFlags::empty());
    stat.is_ok_and(|it| FileType::from_raw_mode(it.st_mode) == FileType::Directory)
}

fn open_folder(folder: &Path, path: &Path) -> Result<OwnedFd, StageError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::openat(start().at(), folder, flags, Mode::empty()).map_err(|errno| match errno {
        // Too many symlinks on the way, not a symlink as the last component.
        Errno::LOOP => StageError::read(path, errno),
        errno => StageError::open(path, errno),
    })
}

fn link_target(folder: &OwnedFd, name: &OsStr) -> PathBuf {
    let target = fs::readlinkat(folder, name, Vec::new()).unwrap_or_default();
    PathBuf::from(OsStr::from_bytes(target.as_bytes()))
}

fn must_be_regular(
    stat: &Stat,
    path: &Path,
    target: impl FnOnce() -> PathBuf,
) -> Result<(), StageError> {
    let path = path.to_owned();
    Err(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok(()),
        FileType::Symlink => StageError::IsSymlink { path, target: target() },
        FileType::Directory => StageError::IsDirectory { path },
        FileType::Fifo => StageError::IsFifo { path },
        FileType::Socket => StageError::IsSocket { path },
        FileType::CharacterDevice | FileType::BlockDevice => StageError::IsDevice { path },
        FileType::Unknown => StageError::NotRegular { path },
    })
}

/// Whose a file is and who may write it.
#[derive(Clone, Copy, Debug)]
struct Ownership {
    uid: u32,
    mode: u32,
}

impl Ownership {
    fn of(stat: &Stat) -> Self {
        Self { uid: stat.st_uid, mode: stat.st_mode }
    }
}

/// "Others may write", of a mode.
const WORLD_WRITE: u32 = 0o002;
/// "Only its owner may rename or remove an entry", of a folder's mode.
const STICKY: u32 = 0o1000;

fn may_deploy(
    path: &Path,
    file: &Ownership,
    host: u32,
    rules: &StageRules,
) -> Result<(), StageError> {
    if file.uid != 0 && file.uid != host && !rules.trusted_owners.contains(&file.uid) {
        return Err(StageError::ForeignOwner { path: path.to_owned(), owner: file.uid, host });
    }
    if file.mode & WORLD_WRITE != 0 {
        return Err(StageError::WorldWritable { path: path.to_owned() });
    }
    Ok(())
}

/// Whether not everybody may put another file in this one's place.
fn folder_is_safe(path: &Path, folder: &Path, fd: &OwnedFd) -> Result<(), StageError> {
    let stat = fs::fstat(fd).map_err(|errno| StageError::read(path, errno))?;
    if stat.st_mode & WORLD_WRITE != 0 && stat.st_mode & STICKY == 0 && !is_read_only(fd) {
        let (path, folder) = (path.to_owned(), folder.to_owned());
        return Err(StageError::FolderWorldWritable { path, folder });
    }
    Ok(())
}

/// A mounted ConfigMap is a folder with mode 0777 into which nobody can write all the same.
fn is_read_only(fd: &OwnedFd) -> bool {
    fs::fstatvfs(fd).is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::RDONLY))
}

impl StageError {
    /// What a failed open or stat means.
    pub(crate) fn open(path: &Path, errno: Errno) -> Self {
        let path = path.to_owned();
        match errno {
            // A NUL inside a path and a name that is too long can name no file either.
            Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::INVAL => {
                Self::Missing { path }
            }
            Errno::ACCESS | Errno::PERM => Self::PermissionDenied { path },
            // It was a regular file a moment ago.
            Errno::LOOP | Errno::NXIO | Errno::STALE => Self::Changed { path },
            errno => Self::ReadFailed { path, source: io::Error::from(errno) },
        }
    }

    fn read(path: &Path, errno: Errno) -> Self {
        Self::ReadFailed { path: path.to_owned(), source: io::Error::from(errno) }
    }
}

#[cfg(test)]
mod tests;
