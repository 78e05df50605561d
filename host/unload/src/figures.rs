//! What this process has at one moment: descriptors, threads, mapped files, memory.
//!
//! Owns the counting and the difference of two countings. Knows nothing of what is between them.
//! Invariant: what the system does not tell is `None`, and never 0.
#![expect(unsafe_code, reason = "asks malloc")]

use std::{collections::BTreeMap, fs, ops::AddAssign};

use serde::{Deserialize, Serialize};

/// What there is, or, as a difference, what has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Open descriptors.
    pub descriptors: Option<i64>,
    /// Threads.
    pub threads: Option<i64>,
    /// Mappings of files; those of memory come and go with the allocator.
    pub mappings: Option<i64>,
    /// What `malloc` has handed out. Units: bytes.
    pub heap_bytes: Option<i64>,
    /// Resident memory. Units: bytes.
    pub rss_bytes: Option<i64>,
}

impl Figures {
    /// Counts now. Takes a tenth of a millisecond in a small process.
    #[must_use]
    pub fn now() -> Self {
        // The one that the count itself opens is among them, each time.
        Self::with_descriptors(entries("/proc/self/fd"))
    }

    /// Counts the rest.
    pub(crate) fn with_descriptors(descriptors: Option<i64>) -> Self {
        Self {
            descriptors,
            threads: entries("/proc/self/task"),
            mappings: mapped_files(),
            heap_bytes: Some(heap_bytes().cast_signed()),
            rss_bytes: rss_bytes().map(u64::cast_signed),
        }
    }

    /// What has come since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        self.with(before, |now, before| now - before)
    }

    /// What is known of it, by name.
    #[must_use]
    pub fn by_name(self) -> BTreeMap<&'static str, i64> {
        let Self { descriptors, threads, mappings, heap_bytes, rss_bytes } = self;
        let all = [
            ("descriptors", descriptors),
            ("threads", threads),
            ("mappings", mappings),
            ("heap_bytes", heap_bytes),
            ("rss_bytes", rss_bytes),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// Field by field; what either lacks, the result lacks.
    fn with(self, other: Self, combine: impl Fn(i64, i64) -> i64) -> Self {
        let combine = |a: Option<i64>, b: Option<i64>| Some(combine(a?, b?));
        Self {
            descriptors: combine(self.descriptors, other.descriptors),
            threads: combine(self.threads, other.threads),
            mappings: combine(self.mappings, other.mappings),
            heap_bytes: combine(self.heap_bytes, other.heap_bytes),
            rss_bytes: combine(self.rss_bytes, other.rss_bytes),
        }
    }
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        *self = self.with(other, |a, b| a + b);
    }
}

fn entries(folder: &str) -> Option<i64> {
    i64::try_from(fs::read_dir(folder).ok()?.count()).ok()
}

fn mapped_files() -> Option<i64> {
    let maps = fs::read("/proc/self/maps").ok()?;
    // A path is the only thing in a line that begins with a slash.
    let files = maps.split(|byte| *byte == b'\n').filter(|line| line.contains(&b'/')).count();
    i64::try_from(files).ok()
}

/// Resident memory of this process. Units: bytes. `None`: there is no `/proc`.
#[must_use]
pub fn rss_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// What the C library's `malloc` has handed out and not got back. Units: bytes.
#[must_use]
pub fn heap_bytes() -> u64 {
    // SAFETY: only counts.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_is_counted() {
        let before = Figures::now();
        let file = fs::File::open("/proc/self/status").unwrap();
        let large = std::hint::black_box(vec![1_u8; 3 << 20]);
        let come = Figures::now().since(before);
        assert!(come.descriptors >= Some(1), "{come:?}");
        assert!(come.heap_bytes.is_none_or(|bytes| bytes >= 3 << 20), "{come:?}");
        drop((file, large));
        let resident = rss_bytes().unwrap();
        assert!((1 << 19..1 << 40).contains(&resident), "{resident}");
        let gone = Figures { descriptors: None, threads: Some(2), ..Figures::default() };
        let mut sum = Figures { threads: Some(3), ..before };
        sum += gone;
        assert_eq!((sum.descriptors, sum.threads), (None, Some(5)));
        assert_eq!(gone.by_name(), [("threads", 2)].into());
    }
}
