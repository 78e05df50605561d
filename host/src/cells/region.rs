//! The file: made, known again, read and written by position.
//!
//! Owns the descriptor. It is never mapped: a wild write of a plugin cannot reach it, a page that
//! is not to be had is an error and no signal, and the end of a process divides no small write.
//! Knows nothing of keys.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::fs::FileExt as _,
    },
};

use rustix::fs::{
    FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, ftruncate, memfd_create,
};

use super::layout::{FILE_BYTES, LAYOUT, LAYOUT_AT, MAGIC};
use crate::sys::byte_lock::ByteLock;

/// Why a file that was handed over is not used.
#[derive(Debug, thiserror::Error)]
pub enum Foreign {
    /// Another release made it.
    #[error(
        "the cells of this host have layout {found}, and this binary knows {LAYOUT}: their values \
         would be lost"
    )]
    Layout {
        /// Which it is.
        found: u64,
    },
    /// It is something else.
    #[error("what was handed over as cells is none")]
    NoCells,
    /// It cannot be read.
    #[error("the cells cannot be read: {0}")]
    Failed(#[from] io::Error),
}

/// An empty one, to be shared by processes.
///
/// # Errors
/// The system's own: most of all a limit on the size of files.
pub fn make() -> io::Result<OwnedFd> {
    let made = memfd_create("hotseat-cells", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&made, FILE_BYTES)?;
    // Nobody makes it shorter below somebody who reads.
    fcntl_add_seals(&made, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    let file = File::from(made);
    file.write_all_at(&LAYOUT.to_ne_bytes(), LAYOUT_AT)?;
    file.write_all_at(&MAGIC, 0)?;
    Ok(file.into())
}

/// See the module.
#[derive(Debug)]
pub(super) struct Region {
    file: File,
    /// The process that it was opened for. One that was forked from it has no locks.
    process: u32,
    /// It was opened for reading alone.
    reads: bool,
    #[cfg(test)]
    pub(super) fuse: super::tests::Fuse,
}

impl Region {
    /// `reads`: it is open for reading alone.
    pub(super) fn adopt(descriptor: OwnedFd, reads: bool) -> Result<Self, Foreign> {
        let file = File::from(descriptor);
        let mut magic = [0; MAGIC.len()];
        let size = file.metadata()?.len();
        if size >= FILE_BYTES || size > LAYOUT_AT {
            file.read_exact_at(&mut magic, 0)?;
        }
        if magic != MAGIC {
            return Err(Foreign::NoCells);
        }
        let region = Self {
            file,
            process: std::process::id(),
            reads,
            #[cfg(test)]
            fuse: super::tests::Fuse::default(),
        };
        match region.word(LAYOUT_AT)? {
            LAYOUT if size == FILE_BYTES => Ok(region),
            LAYOUT => Err(Foreign::NoCells),
            found => Err(Foreign::Layout { found }),
        }
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Whether this is the process that it was opened for.
    pub(super) fn is_own(&self) -> bool {
        self.process == std::process::id()
    }

    /// The lock on a byte; `None`: another process has it.
    pub(super) fn lock(&self, at: u64) -> io::Result<Option<ByteLock<'_>>> {
        let file = self.descriptor();
        if self.reads { ByteLock::share(file, at) } else { ByteLock::take(file, at) }
    }

    pub(super) fn read(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, at)
    }

    pub(super) fn word(&self, at: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.read(at, &mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    pub(super) fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        self.fuse.burn(bytes, |part| self.file.write_all_at(part, at))?;
        self.file.write_all_at(bytes, at)
    }

    pub(super) fn write_word(&self, at: u64, word: u64) -> io::Result<()> {
        self.write(at, &word.to_ne_bytes())
    }

    /// Gives memory back; zeros are read there afterwards.
    pub(super) fn punch(&self, at: u64, len: u64) -> io::Result<()> {
        #[cfg(test)]
        self.fuse.burn(&[], |_| Ok(()))?;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(&self.file, flags, at, len)?)
    }
}
