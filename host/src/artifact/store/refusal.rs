//! What can go wrong with the libraries on disk.
//!
//! Owns the words for [`super::Store`]'s errors and what to do about each.
//! Invariant: a released `code` never changes its meaning.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    artifact::shown,
    error::{Coded, Kind},
    ids::Digest,
    sys::{disk::Shortage, path::remedy},
};

/// The disk did not do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No artifact of that content is kept.
    #[error("no artifact {digest} is kept")]
    Missing {
        /// The content asked for.
        digest: Digest,
    },
    /// The kept file is not what its name says.
    #[error("artifact {digest} is damaged: its content is {found}")]
    Damaged {
        /// What its name says.
        digest: Digest,
        /// What is inside.
        found: Digest,
    },
    /// No space, a quota is used up, or files may not be as large.
    #[error("disk full: {}", shortage.said_of(&shown(.path).to_string()))]
    DiskFull {
        /// What was being written.
        path: PathBuf,
        /// What there is too little of.
        shortage: Shortage,
        /// Why.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot {doing} `{}`: {source}", shown(.path))]
    Failed {
        /// `write`.
        doing: &'static str,
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Coded for StoreError {
    fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "artifact_missing",
            Self::Damaged { .. } => "artifact_damaged",
            Self::DiskFull { .. } => "disk_full",
            Self::Failed { .. } => "state_failed",
        }
    }

    fn kind(&self) -> Kind {
        Kind::Host
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Missing { .. } | Self::Damaged { .. } => {
                "deploy the library again from its original file".to_owned()
            }
            Self::DiskFull { shortage, .. } => shortage.hint().to_owned(),
            Self::Failed { path, source, .. } => remedy(path, source, "--state-dir"),
        })
    }
}

impl StoreError {
    /// For a file of `needed` bytes.
    pub(super) fn new(doing: &'static str, path: &Path, source: io::Error, needed: usize) -> Self {
        let path = path.to_owned();
        match Shortage::of(&source, &path, needed as u64) {
            Some(shortage) => Self::DiskFull { path, shortage, source },
            None => Self::Failed { doing, path, source },
        }
    }
}
