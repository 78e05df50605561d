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
fn find(named: Option<&Path>, around: &Surroundings) -> Option<PathBuf> {
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

/// What a configuration file says, kept so that another process reads the very same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileText {
    /// Which file; `None`: there is none, and nobody needs to look again.
    pub path: Option<PathBuf>,
    /// All of it.
    pub text: String,
}

/// Finds the file as [`RawConfig::load`] does, and reads it without understanding it.
///
/// # Errors
/// It is there, or was asked for, and cannot be read.
pub fn find_and_read(named: Option<&Path>, around: &Surroundings) -> Result<FileText, ConfigError> {
    let Some(path) = find(named, around) else { return Ok(FileText::default()) };
    match fs::read_to_string(&path) {
        Ok(text) => Ok(FileText { path: Some(path), text }),
        Err(source) => Err(ConfigError::Read { path, source }),
    }
}

/// Understands what was read.
pub(super) fn parse(file: &FileText) -> Result<RawConfig, ConfigError> {
    toml::from_str(&file.text).map_err(|error| ConfigError::Parse {
        path: file.path.clone().unwrap_or_default(),
        text: error.to_string().trim_end().to_owned(),
    })
}
