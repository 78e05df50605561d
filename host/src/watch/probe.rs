//! Looks into one file: whether it is whole, what its content is, what it is called.
//!
//! Owns the judgement "nobody writes it". Decides nothing about deploying it.
//! Invariant: content counts only when the file did not change from before the question about
//! writers to the end of the read.

use std::{os::fd::AsFd as _, path::Path};

use rustix::{
    fs::{self, FileType, Mode, OFlags},
    io::Errno,
};

use super::plan::{Arrival, UNREAD, What};
use crate::{
    artifact::{
        StageError, elf, name,
        stage::{Stamp, read_whole},
    },
    state::Seen,
    sys::lease::{self, Writers},
};

/// Looks into the file at `path`; `None` when it is gone. `is_settled` is asked about its stamp
/// where the kernel cannot tell whether it is being written, and about empty files.
pub(super) fn probe(
    path: &Path,
    limit: u64,
    is_settled: impl FnOnce(Stamp) -> bool,
) -> Option<What> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match fs::open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return None,
        Err(Errno::LOOP) => return Some(What::Symlink),
        Err(Errno::ACCESS | Errno::PERM) => return unread(path),
        // Out of descriptors or memory: it is looked at again.
        Err(_) => return Some(What::Unsettled),
    };
    let Ok(stat) = fs::fstat(&file) else { return Some(What::Unsettled) };
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let stamp = Stamp::of(&stat);
    let at_rest = match lease::writers(file.as_fd()) {
        // A file that is just being created is there before its writer counts as one.
        Writers::None => stamp.size > 0 || is_settled(stamp),
        Writers::Unknown => is_settled(stamp),
        Writers::Some => false,
    };
    if !at_rest {
        return Some(What::Unsettled);
    }
    match read_whole(&file, &stat, path, limit) {
        Ok((digest, bytes)) => {
            let named = name::from_file_name(path).or_else(|| {
                let facts = elf::verify(&bytes).ok()?;
                let named = name::derive(path, &facts.manifest).ok()?;
                Some((named.plugin, named.label))
            });
            Some(What::Whole(Arrival { seen: seen(stamp, digest), named }))
        }
        // The pipeline says these in its own words.
        Err(StageError::Empty { .. } | StageError::TooLarge { .. }) => {
            let named = name::from_file_name(path);
            Some(What::Whole(Arrival { seen: seen(stamp, UNREAD), named }))
        }
        Err(_) => Some(What::Unsettled),
    }
}

fn unread(path: &Path) -> Option<What> {
    let stamp = Stamp::of(&fs::lstat(path).ok()?);
    let named = name::from_file_name(path);
    Some(What::Whole(Arrival { seen: seen(stamp, UNREAD), named }))
}

fn seen(stamp: Stamp, digest: crate::ids::Digest) -> Seen {
    let Stamp { inode, size, mtime_ns, ctime_ns: _ } = stamp;
    Seen { inode, size, mtime_ns, digest }
}
