//! Two releases of hotseat: the one under test, and the one before it, built from the source that
//! is kept of it (`make previous`).
//!
//! Owns where their binaries and libraries are. Builds nothing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    binary,
    library::{self, profile_dir},
};

/// One release.
#[derive(Clone, Debug)]
pub struct Release {
    /// Its `hotseat`.
    pub binary: PathBuf,
    /// What that says of itself.
    pub version: String,
    folder: PathBuf,
}

impl Release {
    /// The one under test, whose binary this is.
    #[must_use]
    #[track_caller]
    pub fn current(binary: &str) -> Self {
        Self::at(binary.into(), profile_dir())
    }

    /// The one before.
    ///
    /// # Panics
    /// When it is not built.
    #[must_use]
    #[track_caller]
    pub fn previous() -> Self {
        let folder = profile_dir().with_file_name("previous").join("debug");
        let binary = folder.join("hotseat");
        assert!(binary.is_file(), "`{}` is not built: run `make previous`", binary.display());
        Self::at(binary, folder)
    }

    fn at(binary: PathBuf, folder: PathBuf) -> Self {
        let version = binary::version(&binary);
        Self { binary, version, folder }
    }

    /// An example plugin that was built with it; as [`crate::plugin`].
    #[must_use]
    #[track_caller]
    pub fn plugin(&self, name: &str) -> PathBuf {
        library::plugin_in(&self.folder, name)
    }

    /// A test plugin that was built with it; as [`crate::fault`].
    #[must_use]
    #[track_caller]
    pub fn fault(&self, name: &str) -> PathBuf {
        library::fault_in(&self.folder, name)
    }

    /// Puts its binary at `path`, by a rename as an operator should.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    pub fn install(&self, path: &Path) {
        let part = path.with_extension("part");
        fs::copy(&self.binary, &part).expect("copy a binary");
        fs::rename(part, path).expect("rename a binary");
    }
}
