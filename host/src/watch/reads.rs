//! When a file's content was read, and when that has to be done again.
//!
//! Owns the doubt in stamps. A file that was read long enough after it took on its looks keeps its
//! content as long as it keeps them; one that was read right away may have been written once more
//! within the same tick of the file system's clock; and a file system of somebody else may not move
//! its times at all. What happened while no process looked is not known either.
//! Time is measured from here, never by the file system's clock: that may be another machine's.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::plan::Found;
use crate::artifact::stage::Stamp;

/// No clock of a file system is coarser: FAT counts in steps of 2 s.
const DOUBT: Duration = Duration::from_secs(2);
/// Reading again and again may take one part of so many of the time.
const SHARE: u32 = 50;

/// One file that was read.
#[derive(Clone, Copy, Debug)]
struct Read {
    stamp: Stamp,
    /// When it was first seen to look so.
    since: Instant,
    /// When its content was read last, and for how long.
    at: Instant,
    took: Duration,
    /// Its file system moves its times.
    local: bool,
}

#[derive(Debug, Default)]
pub(super) struct Reads(BTreeMap<PathBuf, Read>);

impl Reads {
    /// Whether this process has never looked into it.
    pub(super) fn is_first(&self, path: &Path) -> bool {
        !self.0.contains_key(path)
    }

    /// Whether the file at `path`, which looks as `stamp` says, has to be read.
    pub(super) fn wants(&self, path: &Path, stamp: Stamp, now: Instant) -> bool {
        let Some(read) = self.0.get(path).filter(|read| read.stamp == stamp) else { return true };
        let trusted_from = read.since + DOUBT;
        if read.at < trusted_from && now >= trusted_from {
            return true;
        }
        !read.local && now >= read.at + DOUBT.max(read.took * SHARE)
    }

    /// It was read from `began` to `now`.
    pub(super) fn note(
        &mut self,
        path: &Path,
        (stamp, local): (Stamp, bool),
        (began, now): (Instant, Instant),
    ) {
        let known = self.0.get(path).filter(|read| read.stamp == stamp);
        let since = known.map_or(began, |read| read.since);
        let took = now.saturating_duration_since(began);
        self.0.insert(path.to_owned(), Read { stamp, since, at: began, took, local });
    }

    /// Forgets files that are gone.
    pub(super) fn keep(&mut self, found: &[Found]) {
        self.0.retain(|path, _| found.iter().any(|found| found.path == *path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_read_until_its_stamp_can_be_trusted() {
        let (path, start) = (Path::new("/a.so"), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let stamp = |ctime_ns| Stamp { inode: 1, size: 2, mtime_ns: 3, ctime_ns };
        let mut reads = Reads::default();
        assert!(reads.is_first(path) && reads.wants(path, stamp(4), at(0)), "never read");
        reads.note(path, (stamp(4), true), (at(0), at(1)));
        assert!(!reads.is_first(path) && !reads.wants(path, stamp(4), at(1_999)));
        assert!(reads.wants(path, stamp(4), at(2_000)), "it was young when it was read");
        reads.note(path, (stamp(4), true), (at(2_000), at(2_001)));
        assert!(!reads.wants(path, stamp(4), at(9_000_000)), "for good");
        assert!(reads.wants(path, stamp(5), at(9_000_000)), "until it looks otherwise");
        reads.note(path, (stamp(4), false), (at(3_000), at(3_100)));
        assert!(!reads.wants(path, stamp(4), at(7_999)), "one part of fifty of the time");
        assert!(reads.wants(path, stamp(4), at(8_000)), "times that may stand still prove nothing");
        reads.keep(&[]);
        assert!(reads.is_first(path));
    }
}
