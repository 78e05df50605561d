//! The folder of one host: working directory, plugins folder, state, log.
//!
//! Owns the layout that every test starts from. It outlives the processes that live in it, so
//! that a host can be started again on the same state.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// A temporary folder, gone with the last handle.
#[derive(Debug)]
pub struct Home {
    dir: TempDir,
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// An empty one.
    ///
    /// # Panics
    /// When the temporary folder cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("hotseat-").tempdir().expect("temporary folder");
        fs::create_dir(dir.path().join("plugins")).expect("plugins folder");
        Self { dir }
    }

    /// The host's working directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The watched folder.
    #[must_use]
    pub fn plugins(&self) -> PathBuf {
        self.path().join("plugins")
    }

    /// The state folder.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// The files below the state folder, with their sizes. Units: bytes.
    #[must_use]
    pub fn state_files(&self) -> Vec<(PathBuf, u64)> {
        let mut folders = vec![self.state()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                // What has gone meanwhile is not there.
                let Ok(metadata) = entry.metadata() else { continue };
                if metadata.is_dir() {
                    folders.push(entry.path());
                } else {
                    files.push((entry.path(), metadata.len()));
                }
            }
        }
        files.sort();
        files
    }

    /// Where the host's stderr goes.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path().join("host.log")
    }

    /// What the host logged so far.
    #[must_use]
    pub fn read_log(&self) -> String {
        fs::read(self.log()).map_or_else(|_| String::new(), |b| String::from_utf8_lossy(&b).into())
    }

    /// Writes `bytes` as `name` into the working directory, owner-writable only.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, bytes).expect("write an artifact");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set its mode");
        path
    }

    /// Copies `library` as `name` into the working directory.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn place(&self, library: &Path, name: &str) -> PathBuf {
        let bytes = fs::read(library).expect("read a built library");
        self.write(name, &bytes)
    }

    /// Writes the configuration file anew, whole at once, for a host that was started with one.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn rewrite_config(&self, toml: &str) {
        let part = self.write("hotseat.toml.part", toml.as_bytes());
        fs::rename(part, self.path().join("hotseat.toml")).expect("rename the configuration");
    }

    /// Copies `library` to the plugins folder as `name`: whole at once, by a rename.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn drop_in(&self, library: &Path, name: &str) -> PathBuf {
        let staged = self.place(library, &format!("staged-{name}"));
        let target = self.plugins().join(name);
        fs::rename(staged, &target).expect("rename into the plugins folder");
        target
    }
}
