//! The configuration file: where it is looked for, and how it is read.
//!
//! Owns the usual places and what the process was given from outside besides flags. Knows no
//! setting by name.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{ConfigError, RawConfig};

/// The name of the file in each of the usual places.
const FILE_NAME: &str = "hotseat.toml";

/// What flags, files and defaults are relative to. Tests make their own.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The usual places, first one first.
    pub places: Vec<PathBuf>,
    /// `$STATE_DIRECTORY`, which systemd sets.
    pub state_directory: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        let folder = |name| std::env::var_os(name).filter(|text| !text.is_empty());
        let config_home = folder("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| folder("HOME").map(|home| PathBuf::from(home).join(".config")));
        let places = [
            Some(PathBuf::from(FILE_NAME)),
            config_home.map(|home| home.join("hotseat").join(FILE_NAME)),
            Some(Path::new("/etc/hotseat").join(FILE_NAME)),
        ];
        // systemd lists several folders with colons; the first one is the unit's own.
        let state_directory = folder("STATE_DIRECTORY").and_then(|list| {
            let list = list.into_string().ok()?;
            list.split(':').next().map(PathBuf::from)
        });
        Self { places: places.into_iter().flatten().collect(), state_directory }
    }
}

/// The file to read: `named` whether it is there or not, else the first of the usual places.
pub(super) fn find(named: Option<&Path>, around: &Surroundings) -> Option<PathBuf> {
    if let Some(path) = named {
        return Some(path.to_owned());
    }
    // A file that is there and cannot be seen (no permission) is not passed over in silence.
    let there = |path: &&PathBuf| {
        path.symlink_metadata().map_or_else(
            |error| {
                !matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                )
            },
            |_| true,
        )
    };
    around.places.iter().find(there).cloned()
}

/// Reads one file.
pub(super) fn read(path: &Path) -> Result<RawConfig, ConfigError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    toml::from_str(&text).map_err(|error| ConfigError::Parse {
        path: path.to_owned(),
        text: error.to_string().trim_end().to_owned(),
    })
}
