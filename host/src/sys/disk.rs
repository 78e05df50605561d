//! What a write to a disk meets: how much room there is, and what an error says about it.

use std::{fmt, io, path::Path};

/// Why nothing more could be written, where that is for want of room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// The device. Units: bytes.
    Device {
        /// What was to be written.
        needed: u64,
        /// What this account may still use; `None`: it cannot be told.
        free: Option<u64>,
    },
    /// A quota of the account.
    Quota,
    /// The limit on the size of files of this process.
    FileSize,
}

impl Shortage {
    /// What `error` says of a file of `needed` bytes at or below `path`; `None`: it is about
    /// something else.
    #[must_use]
    pub fn of(error: &io::Error, path: &Path, needed: u64) -> Option<Self> {
        match error.kind() {
            io::ErrorKind::StorageFull => Some(Self::Device { needed, free: free(path) }),
            io::ErrorKind::QuotaExceeded => Some(Self::Quota),
            io::ErrorKind::FileTooLarge => Some(Self::FileSize),
            _ => None,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Device { .. } => "free some space under `--state-dir`",
            Self::Quota => "free some space under `--state-dir`, or raise the quota",
            Self::FileSize => "raise the limit on file sizes (`ulimit -f`, `LimitFSIZE=`)",
        }
    }

    /// What is short, of `path`.
    #[must_use]
    pub fn said_of(&self, path: &str) -> String {
        match self {
            Self::Device { needed, free } => {
                let free = free.map_or_else(String::new, |free| format!(", {free} free"));
                format!("no space left on the device of `{path}`: {needed} bytes needed{free}")
            }
            Self::Quota => format!("the disk quota for `{path}` is used up"),
            Self::FileSize => format!("`{path}` is beyond the limit on file sizes"),
        }
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device { .. } => "no space left on the device",
            Self::Quota => "disk quota used up",
            Self::FileSize => "limit on file sizes",
        })
    }
}

/// What this account may still use of the device of `path`, or of the nearest folder above it that
/// is there. Units: bytes.
#[must_use]
pub fn free(path: &Path) -> Option<u64> {
    let stat = path.ancestors().find_map(|it| rustix::fs::statvfs(it).ok())?;
    // The last blocks are root's alone.
    let root = rustix::process::geteuid().is_root();
    Some(stat.f_frsize.saturating_mul(if root { stat.f_bfree } else { stat.f_bavail }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_is_said_with_numbers() {
        let full = io::Error::from_raw_os_error(libc::ENOSPC);
        let dir = tempfile::tempdir().unwrap();
        let shortage = Shortage::of(&full, &dir.path().join("a/b"), 7).unwrap();
        assert!(matches!(shortage, Shortage::Device { needed: 7, free: Some(_) }), "{shortage:?}");
        let shortage = Shortage::Device { needed: 7, free: Some(3) };
        let said = "no space left on the device of `/a`: 7 bytes needed, 3 free";
        assert_eq!(shortage.said_of("/a"), said);
        let other = io::Error::from_raw_os_error(libc::EACCES);
        assert_eq!(Shortage::of(&other, dir.path(), 7), None);
    }
}
