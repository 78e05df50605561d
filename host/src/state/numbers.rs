//! Numbers that must never be given twice: of orders, generations and events.
//!
//! Owns `numbers.json`, which says which numbers nobody has had. It is written ahead of use, a block
//! at a time, and exactly where a worker lets go in good order: a host that is killed leaves a gap,
//! and no number is given twice. Knows nothing of who counts.
//! Invariant: the file appears whole, by rename, and no number at or above what it says was given,
//! unless it could not be written.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::sys::{path::PathError, start::give_mode};

/// The first number of each kind that nobody has had. 0: not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Numbers {
    /// As in `/v1/deploys`.
    pub orders: u64,
    /// Loads, and attempts at them.
    pub generations: u64,
    /// As in `/v1/events`.
    pub events: u64,
}

/// How far ahead of use numbers are reserved, beyond what may come at once.
const AHEAD: Numbers = Numbers { orders: 32, generations: 16, events: 1024 };

impl Numbers {
    /// What the host of `folder` says; nothing where it never said anything.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(folder: &Path) -> Result<Self, PathError> {
        let read = match fs::read(path(folder)) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        };
        read.map_err(|error| failed("read the numbers", folder, error))
    }

    /// What is to be written when these come next and `self` is on the disk; `None`: that is enough.
    /// `burst` orders may be given before anybody is asked again.
    #[must_use]
    pub fn ahead_of(self, next: Self, burst: u64) -> Option<Self> {
        let enough = self.orders > next.orders + burst
            && self.generations > next.generations
            && self.events > next.events + AHEAD.events / 2;
        (!enough).then(|| Self {
            orders: next.orders + burst + AHEAD.orders,
            generations: next.generations + AHEAD.generations,
            events: next.events + AHEAD.events,
        })
    }

    /// Replaces the file; where it is.
    ///
    /// # Errors
    /// The one before is still there then.
    pub fn write(self, folder: &Path) -> Result<PathBuf, PathError> {
        let temporary = folder.join("numbers.json.tmp");
        let write = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            give_mode(&file, 0o600)?;
            let mut text = serde_json::to_vec(&self)?;
            text.push(b'\n');
            file.write_all(&text)?;
            fs::rename(&temporary, path(folder))
        };
        match write() {
            Ok(()) => Ok(path(folder)),
            Err(error) => {
                let _ = fs::remove_file(&temporary);
                Err(failed("write the numbers", folder, error))
            }
        }
    }
}

fn failed(doing: &'static str, folder: &Path, error: io::Error) -> PathError {
    PathError::new(doing, &path(folder), "--state-dir", error)
}

fn path(folder: &Path) -> PathBuf {
    folder.join("numbers.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_what_is_none_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Numbers::read(dir.path()).unwrap(), Numbers::default());
        let numbers = Numbers { orders: 3, generations: 4, events: 5 };
        numbers.write(dir.path()).unwrap();
        assert_eq!(Numbers::read(dir.path()).unwrap(), numbers);
        fs::write(path(dir.path()), br#"{"orders": 9, "later": true}"#).unwrap();
        let read = Numbers::read(dir.path()).unwrap();
        assert_eq!(read, Numbers { orders: 9, ..Numbers::default() }, "may grow and shrink");
        fs::write(path(dir.path()), b"{").unwrap();
        Numbers::read(dir.path()).unwrap_err();
        numbers.write(&dir.path().join("away")).unwrap_err();
    }

    #[test]
    fn numbers_are_reserved_before_they_are_given() {
        let next = Numbers { orders: 1, generations: 1, events: 1 };
        let mut written = Numbers::default();
        let mut writes = 0;
        for number in 1..500 {
            let next = Numbers { orders: number, generations: number, events: next.events };
            if let Some(more) = written.ahead_of(next, 4) {
                writes += 1;
                written = more;
            }
            assert!(written.orders > number + 4 && written.generations > number);
        }
        assert!((15..50).contains(&writes), "{writes}");
    }
}
