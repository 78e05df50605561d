//! Binaries of the host itself: kept by content, so that the one that runs can be started again
//! whatever happens to the file that it came from.
//!
//! Knows nothing of when a binary is started. Entry point: [`keep`].
//! Invariants: a copy appears whole, by rename, and its name is the hash of the bytes that were
//! written; what was checked is the copy, not the file that somebody may still be writing.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, StatVfsMountFlags, accessat, fstat},
    io::Errno,
};
use sha2::Digest as _;

use super::{
    elf::program::{self, NoProgram},
    shown,
    stage::Stamp,
    store::{TEMPORARY, is_gone, sweep},
};
use crate::{
    error::{Coded, Kind},
    ids::Digest,
    sys::{disk::Shortage, path::remedy, start::make_folder},
};

/// A binary that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The copy.
    pub path: PathBuf,
    /// Its content.
    pub digest: Digest,
}

/// Why a binary is not kept. The text is said of the file that was named.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    /// It cannot be opened or read.
    #[error("{}", plain(.0))]
    Unreadable(io::Error),
    /// A folder, a pipe, a device.
    #[error("it is {what}")]
    NotAFile {
        /// `a folder`.
        what: &'static str,
    },
    /// It has no bytes.
    #[error("it is empty")]
    Empty,
    /// Its mode does not let us run it.
    #[error("not executable: run chmod +x")]
    NotExecutable,
    /// Nothing on its file system may be run.
    #[error("not executable: its file system is mounted noexec")]
    NoExec,
    /// See [`NoProgram`].
    #[error(transparent)]
    NoProgram(#[from] NoProgram),
    /// Somebody writes it right now.
    #[error("it changed while it was read: put it there by a rename")]
    Changed,
    /// The copy could not be made; nothing of it is left.
    #[error("its copy cannot be kept: {}", not_kept_for(folder, source, shortage.as_ref()))]
    NotKept {
        /// Where to.
        folder: PathBuf,
        /// Why.
        source: io::Error,
        /// What there is too little of, if that is why.
        shortage: Option<Shortage>,
    },
}

fn not_kept_for(folder: &Path, source: &io::Error, shortage: Option<&Shortage>) -> String {
    let folder = shown(folder);
    match shortage {
        Some(shortage) => shortage.said_of(&folder),
        None => format!("`{folder}`: {}", plain(source)),
    }
}

/// An error of the system in its own words, without the number.
fn plain(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::PermissionDenied {
        return "permission denied".to_owned();
    }
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

impl Coded for BinaryError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "binary_unreadable",
            Self::NotAFile { .. } => "binary_not_a_file",
            Self::Empty => "binary_empty",
            Self::NotExecutable | Self::NoExec => "binary_not_executable",
            Self::NoProgram(_) => "binary_no_program",
            Self::Changed => "binary_changed",
            Self::NotKept { .. } => "binary_not_kept",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NotKept { .. } => Kind::Host,
            _ => Kind::Refused,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotKept { folder, source, .. } => Some(remedy(folder, source, "--state-dir")),
            Self::Unreadable(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Some("let the host's account read it, and enter the folders above it".to_owned())
            }
            // The text says what to do where there is something.
            _ => None,
        }
    }
}

/// Units: bytes read, hashed and written at a time.
const PIECE_BYTES: usize = 128 << 10;

/// Keeps a copy of the program at `source`, behind all symlinks, in `folder`, which is made (0700)
/// unless it is there. A copy that is there already is replaced, and becomes the newest.
///
/// # Errors
/// [`BinaryError`]; `folder` is as it was then.
pub fn keep(source: &Path, folder: &Path) -> Result<Kept, BinaryError> {
    let file = open(source)?;
    let before = fstat(&file).map_err(unreadable)?;
    let size = check(&file)?;
    may_run(&file, before.st_mode)?;
    let (digest, partial) = copy(&file, size, folder)?;
    let after = fstat(&file).map_err(unreadable)?;
    if Stamp::of(&after) != Stamp::of(&before) || size != partial.size {
        return Err(BinaryError::Changed);
    }
    let path = folder.join(digest.to_string());
    partial.become_file(&path).map_err(|source| not_kept(folder, source, size))?;
    Ok(Kept { path, digest })
}

fn unreadable(errno: Errno) -> BinaryError {
    BinaryError::Unreadable(errno.into())
}

/// A copy of `size` bytes could not be made.
fn not_kept(folder: &Path, source: io::Error, size: u64) -> BinaryError {
    let shortage = Shortage::of(&source, folder, size);
    BinaryError::NotKept { folder: folder.to_owned(), source, shortage }
}

fn open(source: &Path) -> Result<File, BinaryError> {
    // A pipe would wait for its writer without `NONBLOCK`.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match rustix::fs::open(source, flags, Mode::empty()) {
        Ok(file) => Ok(file.into()),
        Err(Errno::NXIO) => Err(BinaryError::NotAFile { what: "a socket" }),
        Err(errno) => Err(unreadable(errno)),
    }
}

/// Checks that an open file is a program of this machine; its size.
fn check(file: &File) -> Result<u64, BinaryError> {
    let stat = fstat(file).map_err(unreadable)?;
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => None,
        FileType::Directory => Some("a folder"),
        FileType::Fifo => Some("a pipe"),
        FileType::Socket => Some("a socket"),
        FileType::CharacterDevice | FileType::BlockDevice => Some("a device"),
        FileType::Symlink | FileType::Unknown => Some("no regular file"),
    };
    if let Some(what) = what {
        return Err(BinaryError::NotAFile { what });
    }
    let size = u64::try_from(stat.st_size).unwrap_or_default();
    if size == 0 {
        return Err(BinaryError::Empty);
    }
    program::check(size, |at, length| {
        let length = length.min(usize::try_from(size.saturating_sub(at)).unwrap_or(length));
        let mut piece = vec![0; length];
        match file.read_exact_at(&mut piece, at) {
            Ok(()) => Ok(piece),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(BinaryError::Changed),
            Err(error) => Err(BinaryError::Unreadable(error)),
        }
    })?;
    Ok(size)
}

/// Whether this account may run it where it lies.
fn may_run(file: &File, mode: u32) -> Result<(), BinaryError> {
    // By descriptor: what is checked is what is open.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    match accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        Ok(()) => Ok(()),
        // Without `/proc` only what anybody may do is looked at.
        Err(Errno::NOENT) if mode & 0o111 != 0 => Ok(()),
        Err(Errno::NOENT) => Err(BinaryError::NotExecutable),
        Err(Errno::ACCESS) => {
            let flags = rustix::fs::fstatvfs(file).map(|it| it.f_flag);
            let no_exec = flags.is_ok_and(|it| it.contains(StatVfsMountFlags::NOEXEC));
            let executable = no_exec && mode & 0o111 != 0;
            Err(if executable { BinaryError::NoExec } else { BinaryError::NotExecutable })
        }
        Err(errno) => Err(unreadable(errno)),
    }
}

/// Copies and hashes in one pass, and checks what was written.
fn copy(mut file: &File, size: u64, folder: &Path) -> Result<(Digest, Partial), BinaryError> {
    let mut partial = Partial::create(folder).map_err(|source| not_kept(folder, source, size))?;
    let mut hasher = sha2::Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = match file.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(BinaryError::Unreadable(error)),
        };
        hasher.update(&piece[..count]);
        partial.file.write_all(&piece[..count]).map_err(|source| not_kept(folder, source, size))?;
    }
    partial.size = match check(&partial.file) {
        // It was whole before.
        Err(BinaryError::NoProgram(_) | BinaryError::Empty) => return Err(BinaryError::Changed),
        checked => checked?,
    };
    Ok((Digest(hasher.finalize().into()), partial))
}

/// A copy under way; removed unless it [becomes a file](Self::become_file).
#[derive(Debug)]
struct Partial {
    file: File,
    path: PathBuf,
    /// Units: bytes.
    size: u64,
}

impl Partial {
    fn create(folder: &Path) -> io::Result<Self> {
        make_folder(folder, 0o700)?;
        let own = std::process::id();
        // What was killed on the way is not here any more to clean up.
        let left = |name: &str| is_gone(name.strip_prefix(TEMPORARY)?.parse().ok()?, own);
        sweep(folder, left).map_err(io::Error::other)?;
        let path = folder.join(format!("{TEMPORARY}{own}"));
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o500).open(&path)?;
        let partial = Self { file, path, size: 0 };
        // Whatever the umask has taken away.
        partial.file.set_permissions(fs::Permissions::from_mode(0o500))?;
        Ok(partial)
    }

    /// Also over a copy that is there: of that one nobody knows whether all of it has reached the
    /// disk before a power cut.
    fn become_file(self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Not there any more where it was renamed; else the next copy sweeps it.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests;
