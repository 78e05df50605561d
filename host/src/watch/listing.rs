//! What is in the folder, by name and `lstat` alone; links by `stat`, where they are followed.
//!
//! Owns which names count: `*.so` at the top, none that begins with a dot.
//! Invariant: nothing is opened.

use std::{
    io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FileType, lstat, stat},
    io::Errno,
};

use crate::artifact::stage::Stamp;

/// Libraries in one folder; a folder with more is no plugins folder.
const FILES_COUNT_MAX: usize = 4096;

/// Says how to have it followed.
const NOT_FOLLOWED: &str =
    "a symlink is not followed: set `follow_links`, or copy the library itself";

/// A name that counts.
pub(super) enum Listed {
    /// A regular file as it is now; whether it is what a link leads to.
    File(PathBuf, Stamp, bool),
    /// A symlink that is not followed, or that leads to no file; why.
    Symlink(PathBuf, &'static str),
}

/// Lists `dir`, in the order of the names; `follow`: links stand for what they lead to.
pub(super) fn list(dir: &Path, follow: bool) -> io::Result<Vec<Listed>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        if !counts(name.as_bytes()) {
            continue;
        }
        if paths.len() == FILES_COUNT_MAX {
            let message = format!("more than {FILES_COUNT_MAX} libraries");
            return Err(io::Error::other(message));
        }
        paths.push(dir.join(name));
    }
    paths.sort();
    let mut listed = Vec::with_capacity(paths.len());
    for path in paths {
        let stat = match lstat(&path) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno.into()),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                listed.push(Listed::File(path, Stamp::of(&stat), false));
            }
            FileType::Symlink => listed.push(link(path, follow)),
            _ => {}
        }
    }
    Ok(listed)
}

fn link(path: PathBuf, follow: bool) -> Listed {
    if !follow {
        return Listed::Symlink(path, NOT_FOLLOWED);
    }
    let stat = stat(&path);
    let kind = stat.as_ref().map(|stat| FileType::from_raw_mode(stat.st_mode));
    match (stat, kind) {
        (Ok(stat), Ok(FileType::RegularFile)) => Listed::File(path, Stamp::of(&stat), true),
        (Ok(_), _) => Listed::Symlink(path, "a symlink that leads to no file is ignored"),
        (Err(Errno::LOOP), _) => {
            Listed::Symlink(path, "a symlink that leads in a circle is ignored")
        }
        (Err(Errno::ACCESS | Errno::PERM), _) => {
            Listed::Symlink(path, "a symlink that leads where this host may not go is ignored")
        }
        (Err(_), _) => Listed::Symlink(path, "a symlink that leads nowhere is ignored"),
    }
}

fn counts(name: &[u8]) -> bool {
    name.ends_with(b".so") && !name.starts_with(b".")
}
