//! Binaries, held by an open descriptor: whatever happens to the file, this one can be started.

use std::{
    fs, io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::{fs::MetadataExt as _, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::fs::fstat;

use crate::sys::program;

/// What tells a file from its successor without reading it: a change of content changes `ctime`,
/// which nobody can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Stamp([i64; 6]);

impl Stamp {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let meta = fs::metadata(path)?;
        let (dev, ino) = (meta.dev().cast_signed(), meta.ino().cast_signed());
        let size = meta.size().cast_signed();
        Ok(Self([dev, ino, size, meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()]))
    }
}

/// Whoever started the master talks to it alone: variables that no child of it gets.
pub(super) const PRIVATE: [&str; 7] = [
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    crate::link::MASTER_FD,
];

/// A binary that can be started.
#[derive(Debug)]
pub(super) struct Pinned {
    descriptor: OwnedFd,
    /// Its content, in hex, once somebody has read it.
    pub(super) digest: Option<String>,
    /// Where it was found.
    pub(super) source: PathBuf,
    /// What was found there.
    pub(super) stamp: Option<Stamp>,
}

impl Pinned {
    /// The one that this process runs, found at `source`.
    pub(super) fn own(source: &Path, digest: Option<String>) -> io::Result<Self> {
        let descriptor = program::open_own()?;
        let itself = fstat(&descriptor)?;
        let there = fs::metadata(source).ok();
        let is_it = there.is_some_and(|it| (it.dev(), it.ino()) == (itself.st_dev, itself.st_ino));
        let stamp = Stamp::of(source).ok().filter(|_| is_it);
        Ok(Self { descriptor, digest, source: source.to_owned(), stamp })
    }

    /// A kept copy of what was found at `source`.
    pub(super) fn copy(
        path: &Path,
        digest: String,
        source: &Path,
        stamp: Option<Stamp>,
    ) -> io::Result<Self> {
        let descriptor = program::open_place(path)?;
        Ok(Self { descriptor, digest: Some(digest), source: source.to_owned(), stamp })
    }

    /// One that an earlier image of this process held.
    pub(super) fn remembered(
        descriptor: OwnedFd,
        digest: Option<String>,
        source: PathBuf,
        stamp: Option<Stamp>,
    ) -> Self {
        Self { descriptor, digest, source, stamp }
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// A command that runs it. The kernel resolves the descriptor in the child, before it is
    /// closed there.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(program::of_descriptor(self.descriptor()));
        command.arg0("hotseat");
        for name in PRIVATE {
            command.env_remove(name);
        }
        crate::sys::signals::unblock_in_child(&mut command);
        command.stdin(Stdio::null());
        command
    }
}

/// Removes kept copies beyond the newest `count`, but none of `needed`.
pub(super) fn tidy(folder: &Path, count: usize, needed: &[&str]) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut copies: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let modified = entry.metadata().ok()?.modified().ok()?;
            (!needed.contains(&name.as_str())).then(|| (modified, entry.path()))
        })
        .collect();
    copies.sort_by(|one, other| other.cmp(one));
    for (_, path) in copies.into_iter().skip(count.saturating_sub(needed.len())) {
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "a kept binary could not be removed");
        }
    }
}
