//! Bytes of libraries: read once and checked, kept by content, copied for each load.
//!
//! Owns everything between a path that somebody names and a private file that may be mapped. Knows
//! nothing of dlopen, of traffic or of what is active. Entry points: [`stage()`], [`Read::verify`],
//! [`Store`].
//! Invariant: what is hashed, verified, kept and copied is one buffer, read once; the user's file
//! is never looked at again and never mapped.

pub mod binary;
pub mod elf;
pub mod manifest;
pub mod name;
pub mod stage;
pub mod store;
pub mod trust;

use std::sync::Arc;

use sha2::Digest as _;

pub(crate) use crate::sys::path::{quoted, shown};

pub use self::{
    stage::{Read, StageError, StageRules, stage},
    store::{Store, StoreError},
};
use crate::{
    error::{Coded, Kind},
    ids::{Digest, Label, PluginName},
};

/// A library that was read and looks like a plugin for this host. No code of it has run.
#[derive(Clone, Debug)]
pub struct Staged {
    /// The sha256 of `bytes`.
    pub digest: Digest,
    /// What was hashed and verified.
    pub bytes: Arc<[u8]>,
    /// By file name or manifest, see [`name::derive`].
    pub plugin: PluginName,
    /// By file name or manifest, see [`name::derive`].
    pub label: Label,
    /// Lines worth saying: a file name that differs from the manifest.
    pub notes: Vec<String>,
    /// What the file says of itself.
    pub facts: elf::Facts,
}

/// A file that was read is no plugin for this host.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The file itself.
    #[error(transparent)]
    Elf(#[from] elf::ElfError),
    /// Its name.
    #[error(transparent)]
    Name(#[from] name::NameError),
}

impl Coded for VerifyError {
    fn code(&self) -> &'static str {
        match self {
            Self::Elf(error) => error.code(),
            Self::Name(error) => error.code(),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Elf(error) => error.kind(),
            Self::Name(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Elf(error) => error.hint(),
            Self::Name(error) => error.hint(),
        }
    }
}

impl Read {
    /// Checks what was read, without running any of it, and finds out what it is called.
    ///
    /// # Errors
    /// [`VerifyError`], with the codes of [`elf::ElfError`] and [`name::NameError`].
    pub fn verify(self) -> Result<Staged, VerifyError> {
        let facts = elf::verify(&self.bytes)?;
        let named = name::derive(&self.path, &facts.manifest)?;
        Ok(Staged {
            digest: self.digest,
            bytes: self.bytes,
            plugin: named.plugin,
            label: named.label,
            notes: named.notes,
            facts,
        })
    }
}

/// The sha256 of `bytes`.
#[must_use]
pub fn digest(bytes: &[u8]) -> Digest {
    Digest(sha2::Sha256::digest(bytes).into())
}
