//! Looks into one file: whether it is whole, what its content is, what it is called.
//!
//! Owns the judgement "nobody writes it". Decides nothing about deploying it.
//! Invariant: content counts only when the file did not change from before the question about
//! writers to the end of the read.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{self, FileType, Mode, OFlags},
    io::Errno,
};

use super::{
    how::How,
    plan::{Arrival, UNREAD, What},
};
use crate::{
    artifact::{
        StageError, elf, name,
        stage::{Stamp, read_whole},
    },
    ids::{Digest, Label, PluginName},
    state::{Fate, Seen},
    sys::lease::{self, Writers},
};

/// Looks into the file at `path`, behind a link if `follow` says so; `None` when it is gone.
/// `is_settled` is asked about its stamp where the kernel cannot tell whether it is being written,
/// and about empty files.
pub(super) fn probe(
    path: &Path,
    follow: bool,
    limit: u64,
    is_settled: impl FnOnce(Stamp) -> bool,
) -> Option<What> {
    let file = match open(path, follow) {
        Ok(file) => file,
        Err(Errno::NOENT) => return None,
        // It was no link a moment ago, or it was one that leads to a file.
        Err(Errno::LOOP) => return Some(What::Unsettled),
        Err(Errno::ACCESS | Errno::PERM) => return unread(path, follow),
        // Out of descriptors or memory: it is looked at again.
        Err(_) => return Some(What::Unsettled),
    };
    let Ok(stat) = fs::fstat(&file) else { return Some(What::Unsettled) };
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let stamp = Stamp::of(&stat);
    let local = is_local(&file);
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
            Some(arrival(seen(stamp, digest), named, local))
        }
        // The pipeline says these in its own words.
        Err(StageError::Empty { .. } | StageError::TooLarge { .. }) => {
            let named = name::from_file_name(path);
            Some(arrival(seen(stamp, UNREAD), named, local))
        }
        Err(_) => Some(What::Unsettled),
    }
}

/// Whether somebody has the file at `path` open for writing, as far as the kernel can tell.
pub(super) fn is_written(path: &Path, follow: bool) -> bool {
    open(path, follow).is_ok_and(|file| lease::writers(file.as_fd()) == Writers::Some)
}

fn open(path: &Path, follow: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    flags.set(OFlags::NOFOLLOW, !follow);
    fs::open(path, flags, Mode::empty())
}

fn unread(path: &Path, follow: bool) -> Option<What> {
    let stat = if follow { fs::stat(path) } else { fs::lstat(path) };
    let stamp = Stamp::of(&stat.ok()?);
    // What cannot be read cannot be read again either.
    Some(arrival(seen(stamp, UNREAD), name::from_file_name(path), true))
}

/// As if it were new; whoever knows what was there before says how it came.
fn arrival(seen: Seen, named: Option<(PluginName, Label)>, local: bool) -> What {
    What::Whole(Arrival { seen, named, how: How::Written, local })
}

fn seen(stamp: Stamp, digest: Digest) -> Seen {
    let Stamp { inode, size, mtime_ns, ctime_ns } = stamp;
    Seen { inode, size, mtime_ns, ctime_ns: Some(ctime_ns), digest, fate: Fate::Ended }
}

/// File systems of this machine, which number files for good and move a file's change time with
/// whatever is done to it. Source: statfs(2), `linux/magic.h`; ZFS and bcachefs from their own.
const LOCAL: [i64; 10] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // btrfs
    0xf2f5_2010, // F2FS
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0x794c_7630, // overlayfs
    0x7371_7368, // SquashFS
    0x2fc1_2fc1, // ZFS
    0xca45_1a4e, // bcachefs
];

fn is_local(file: impl AsFd) -> bool {
    fs::fstatfs(file).is_ok_and(|stat| LOCAL.contains(&stat.f_type))
}
