//! The file of one load: on disk, or in memory where there is no disk to write to.
//!
//! Owns the descriptor of one in memory. Invariant: its path names nothing else as long as the
//! process lives, unless it was [removed](PrivateFile::remove) after nothing uses it any more.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    mem::ManuallyDrop,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

/// See the module. Dropped without being removed, it stays.
#[derive(Debug)]
pub struct PrivateFile {
    path: PathBuf,
    /// Open as long as somebody may use the path: its number must not become another file's.
    memory: Option<ManuallyDrop<OwnedFd>>,
}

impl PrivateFile {
    /// The one that is at `path`.
    #[must_use]
    pub fn on_disk(path: PathBuf) -> Self {
        Self { path, memory: None }
    }

    /// One in memory, which is never changed again. Processes of this account find it under its
    /// path, too.
    ///
    /// # Errors
    /// No memory or no descriptor is left.
    pub fn in_memory(name: &str, bytes: &[u8]) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut file = File::from(memfd_create(name, flags)?);
        file.write_all(bytes)?;
        fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK)?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        Ok(Self { path: path.into(), memory: Some(ManuallyDrop::new(file.into())) })
    }

    /// Where it is found.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it. Nothing may be mapped from one in memory any more.
    ///
    /// # Errors
    /// It stays.
    pub fn remove(self) -> io::Result<()> {
        match self.memory {
            Some(memory) => {
                drop(ManuallyDrop::into_inner(memory));
                Ok(())
            }
            None => fs::remove_file(self.path),
        }
    }

    /// Removes what it may although something may be mapped from it: a file on disk.
    pub fn abandon(self) {
        if self.memory.is_none() {
            // What cannot be removed now is swept at the next start.
            let _ = fs::remove_file(self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_memory_is_there_until_it_is_removed() {
        let one = PrivateFile::in_memory("one", b"1").unwrap();
        let path = one.path().to_owned();
        assert_eq!(fs::read(&path).unwrap(), b"1");
        File::options().write(true).open(&path).and_then(|mut it| it.write_all(b"2")).unwrap_err();
        one.abandon();
        assert_eq!(fs::read(&path).unwrap(), b"1", "something may be mapped from it");
        let other = PrivateFile::in_memory("other", b"3").unwrap();
        assert_ne!(other.path(), path);
        let path = other.path().to_owned();
        other.remove().unwrap();
        assert!(fs::read(&path).is_err());
    }

    #[test]
    fn a_file_on_disk_goes_either_way() {
        let dir = tempfile::tempdir().unwrap();
        for end in [|it: PrivateFile| it.remove().unwrap(), PrivateFile::abandon] {
            let path = dir.path().join("a");
            fs::write(&path, b"a").unwrap();
            end(PrivateFile::on_disk(path.clone()));
            assert!(!path.exists());
        }
    }
}
