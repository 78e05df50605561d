//! What is in the folder, by name and `lstat` alone.
//!
//! Owns which names count: `*.so` at the top, none that begins with a dot.
//! Invariant: nothing is opened or followed.

use std::{
    io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FileType, lstat},
    io::Errno,
};

use crate::artifact::stage::Stamp;

/// Libraries in one folder; a folder with more is no plugins folder.
const FILES_COUNT_MAX: usize = 4096;

/// A name that counts.
pub(super) enum Listed {
    /// A regular file as it is now.
    File(PathBuf, Stamp),
    /// A symlink.
    Symlink(PathBuf),
}

/// Lists `dir`, in the order of the names.
pub(super) fn list(dir: &Path) -> io::Result<Vec<Listed>> {
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
            FileType::RegularFile => listed.push(Listed::File(path, Stamp::of(&stat))),
            FileType::Symlink => listed.push(Listed::Symlink(path)),
            _ => {}
        }
    }
    Ok(listed)
}

fn counts(name: &[u8]) -> bool {
    name.ends_with(b".so") && !name.starts_with(b".")
}
