//! Whether the state folder takes what a worker with these settings writes to it.
//!
//! Owns the question alone: nothing is written. A host that serves could go on without (its files
//! are in memory then), but an upgrade is a choice, and what it would lack is better said before.

use std::path::PathBuf;

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::carried::Carried;
use crate::{
    artifact::{shown, store},
    config::Config,
    error::{Coded, Kind},
    state::Manifest,
    sys::disk::{self, Shortage},
};

/// For the small files. Units: bytes.
const SMALL_BYTES: u64 = 64 << 10;

/// The state folder takes nothing, or too little.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoRoom {
    #[error("disk full: {}", shortage.said_of(&shown(.folder)))]
    Short { folder: PathBuf, shortage: Shortage },
    #[error("state folder `{}` cannot be written: {source}", shown(.folder))]
    Unwritable { folder: PathBuf, source: std::io::Error },
}

impl Coded for NoRoom {
    fn code(&self) -> &'static str {
        match self {
            Self::Short { .. } => "disk_full",
            Self::Unwritable { .. } => "state_failed",
        }
    }

    fn kind(&self) -> Kind {
        Kind::Refused
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Short { shortage, .. } => shortage.hint().to_owned(),
            Self::Unwritable { .. } => {
                "see that `--state-dir` can be written again, then ask again".to_owned()
            }
        })
    }
}

/// Looks at the folder of a host with these settings. One that is not there is made by its worker.
///
/// # Errors
/// [`NoRoom`].
pub(super) fn look(config: &Config, carried: &Carried) -> Result<(), NoRoom> {
    let folder = &config.state_dir;
    if !folder.is_dir() {
        return Ok(());
    }
    accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
        .map_err(|errno| NoRoom::Unwritable { folder: folder.clone(), source: errno.into() })?;
    // A manifest that cannot be read is said where it is needed.
    let manifest = Manifest::read(folder).ok().flatten().unwrap_or_default();
    let size = |digest| carried.size(digest).or_else(|| store::size(folder, digest)).unwrap_or(0);
    let copies: u64 = manifest.in_traffic().into_iter().map(size).sum();
    let needed = copies + SMALL_BYTES;
    match disk::free(folder) {
        Some(free) if free < needed => {
            let shortage = Shortage::Device { needed, free: Some(free) };
            Err(NoRoom::Short { folder: folder.clone(), shortage })
        }
        _ => Ok(()),
    }
}
