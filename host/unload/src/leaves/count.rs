//! What a process has at one moment, and what of it is new at a later one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, thread,
    time::{Duration, Instant},
};

use super::Leaves;
use crate::figures::Figures;

/// A thread is listed for a moment after whoever joined it goes on.
const SETTLE_TIME: Duration = Duration::from_millis(5);

/// A count to compare with.
#[derive(Debug)]
pub struct Count {
    descriptors: BTreeMap<u32, String>,
    figures: Figures,
}

impl Count {
    /// Counts now.
    #[must_use]
    pub fn take() -> Self {
        let descriptors = descriptors();
        Self { figures: Self::figures(&descriptors), descriptors }
    }

    /// With the descriptors that were listed anyway.
    fn figures(descriptors: &BTreeMap<u32, String>) -> Figures {
        let listed = i64::try_from(descriptors.len()).ok().filter(|count| *count > 0);
        Figures::with_descriptors(listed)
    }

    /// What is there now and was not then. Waits a few milliseconds for threads that are about to
    /// end.
    #[must_use]
    pub fn leaves(&self) -> Leaves {
        let until = Instant::now() + SETTLE_TIME;
        let (figures, descriptors) = loop {
            let descriptors = descriptors();
            let figures = Self::figures(&descriptors).since(self.figures);
            if figures.threads.is_none_or(|more| more <= 0) || Instant::now() >= until {
                break (figures, descriptors);
            }
            thread::park_timeout(Duration::from_micros(200));
        };
        let new = descriptors.into_iter().filter(|it| self.descriptors.get(&it.0) != Some(&it.1));
        let kinds: BTreeSet<String> = new.map(|(_, target)| kind(&target)).collect();
        Leaves { figures, descriptors: kinds.into_iter().collect() }
    }
}

/// What each descriptor leads to.
fn descriptors() -> BTreeMap<u32, String> {
    let Ok(folder) = fs::read_dir("/proc/self/fd") else { return BTreeMap::new() };
    // An entry keeps the folder open, whose descriptor is to be none of those that are looked at.
    let numbers: Vec<u32> =
        folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let target = |number: u32| {
        let target = fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
        Some((number, target.to_string_lossy().into_owned()))
    };
    numbers.into_iter().filter_map(target).collect()
}

/// `socket` for `socket:[4711]`, `eventpoll` for `anon_inode:[eventpoll]`, else the path.
fn kind(target: &str) -> String {
    match target.split_once(":[") {
        Some(("anon_inode", kind)) => kind.trim_end_matches(']').to_owned(),
        Some((kind, _)) if !kind.contains('/') => kind.to_owned(),
        _ => target.strip_prefix("anon_inode:").unwrap_or(target).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn new_descriptors_are_named() {
        let count = Count::take();
        let _pair = UnixStream::pair().unwrap();
        let leaves = count.leaves();
        assert!(leaves.figures.descriptors >= Some(2), "{leaves:?}");
        assert!(leaves.descriptors.contains(&"socket".to_owned()), "{leaves:?}");
        assert_eq!(kind("anon_inode:[eventpoll]"), "eventpoll");
        assert_eq!(kind("pipe:[77]"), "pipe");
        assert_eq!(kind("/dev/urandom"), "/dev/urandom");
    }
}
