//! Whether a file has come to rest, where the kernel cannot tell who writes it.
//!
//! Owns the stamps of two looks. Used for files of other owners, on file systems without leases,
//! and for empty files; everywhere else the kernel's word counts.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::plan::{Found, What};
use crate::artifact::stage::Stamp;

/// Files that are not at rest yet: how each looked, and since when.
#[derive(Debug, Default)]
pub(super) struct Settling(BTreeMap<PathBuf, (Stamp, Instant)>);

impl Settling {
    /// Whether the file at `path` looked the same at an earlier look, at least `debounce` ago.
    pub(super) fn is_settled(
        &mut self,
        path: &Path,
        stamp: Stamp,
        now: Instant,
        debounce: Duration,
    ) -> bool {
        match self.0.get(path) {
            Some((as_was, since)) if *as_was == stamp => {
                let settled = now.saturating_duration_since(*since) >= debounce;
                if settled {
                    self.0.remove(path);
                }
                settled
            }
            _ => {
                self.0.insert(path.to_owned(), (stamp, now));
                false
            }
        }
    }

    /// Forgets files that are no longer waited for.
    pub(super) fn keep(&mut self, found: &[Found]) {
        self.0.retain(|path, _| {
            found.iter().any(|found| found.path == *path && matches!(found.what, What::Unsettled))
        });
    }

    /// Whether nothing is waited for.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_settles_by_looking_the_same_for_long_enough() {
        let debounce = Duration::from_millis(200);
        let start = Instant::now();
        let mut settling = Settling::default();
        let mut look = |ms, ctime_ns| {
            let stamp = Stamp { inode: 1, size: 2, mtime_ns: 3, ctime_ns };
            let now = start + Duration::from_millis(ms);
            settling.is_settled(Path::new("/a.so"), stamp, now, debounce)
        };
        assert!(!look(0, 0), "one look is not enough");
        assert!(!look(199, 0));
        assert!(!look(250, 1), "it changed");
        assert!(!look(449, 1));
        assert!(look(450, 1));
        assert!(!look(451, 1), "a new wait begins");
    }

    #[test]
    fn files_that_went_away_are_not_waited_for() {
        let mut settling = Settling::default();
        let stamp = Stamp { inode: 1, size: 2, mtime_ns: 3, ctime_ns: 4 };
        for name in ["/a.so", "/b.so"] {
            settling.is_settled(Path::new(name), stamp, Instant::now(), Duration::ZERO);
        }
        let found = |what| Found { path: "/b.so".into(), what };
        settling.keep(&[found(What::Unsettled)]);
        assert_eq!(settling.0.keys().collect::<Vec<_>>(), [Path::new("/b.so")]);
        settling.keep(&[found(What::Known)]);
        assert!(settling.is_empty());
    }
}
