//! What a process has at one moment, and what of it is new at a later one.

use std::{
    collections::BTreeSet,
    fs,
    os::fd::AsRawFd as _,
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{Dir, DirEntry, Mode, OFlags, open};

use super::Leaves;
use crate::figures::Figures;

/// A thread is listed for a moment after whoever joined it goes on.
const SETTLE_TIME: Duration = Duration::from_millis(5);

/// A count to compare with.
#[derive(Debug)]
pub struct Count {
    descriptors: BTreeSet<u32>,
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
    fn figures(descriptors: &BTreeSet<u32>) -> Figures {
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
        let new = descriptors.difference(&self.descriptors);
        let kinds: BTreeSet<String> = new.filter_map(|number| kind_of(*number)).collect();
        Leaves { figures, descriptors: kinds.into_iter().collect() }
    }
}

/// The numbers of what is open, without the folder's in which they are listed.
fn descriptors() -> BTreeSet<u32> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(folder) = open("/proc/self/fd", flags, Mode::empty()) else { return BTreeSet::new() };
    let own = folder.as_raw_fd();
    let number = |entry: DirEntry| entry.file_name().to_str().ok()?.parse().ok();
    let numbers = Dir::new(folder).into_iter().flatten().flatten().filter_map(number);
    numbers.filter(|number: &u32| number.cast_signed() != own).collect()
}

fn kind_of(descriptor: u32) -> Option<String> {
    let target = fs::read_link(format!("/proc/self/fd/{descriptor}")).ok()?;
    Some(kind(&target.to_string_lossy()))
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
