//! Why there is no configuration.
//!
//! Owns the refusals of a whole: a file that cannot be read, settings that exclude each other. What
//! is wrong with one value is said by its own type.

use std::{io, path::PathBuf};

use crate::{
    error::{Coded, Kind},
    sys::path::remedy,
};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is there, or was asked for, and cannot be read.
    #[error("cannot read the configuration `{}`: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else has its name.
    #[error("cannot read the configuration `{}`: it is {what}", path.display())]
    NoFile {
        /// Which file.
        path: PathBuf,
        /// `a pipe`.
        what: &'static str,
    },
    /// The file says something that cannot be.
    #[error("the configuration `{}` is wrong{}: {text}", path.display(), at(place))]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Line and column in it, from 1.
        place: Option<(usize, usize)>,
        /// One line. What stands there is not in it: it may be a secret.
        text: String,
    },
    /// Settings that are good one by one exclude each other.
    #[error("{0}")]
    Clash(String),
}

fn at(place: &Option<(usize, usize)>) -> String {
    place.map_or_else(String::new, |(line, column)| format!(" at line {line}, column {column}"))
}

impl Coded for ConfigError {
    fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } | Self::NoFile { .. } => "config_unreadable",
            Self::Parse { .. } | Self::Clash(_) => "config_invalid",
        }
    }

    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Read { path, source } => Some(match source.kind() {
                io::ErrorKind::InvalidData => "save it as UTF-8".to_owned(),
                _ => remedy(path, source, "--config"),
            }),
            Self::NoFile { .. } => {
                Some("give the path of a file with `--config`; upgrades read it again".to_owned())
            }
            Self::Parse { text, .. } if text.contains("expected a sequence") => {
                Some("a list is meant: write `[\"…\"]`, also for a single one".to_owned())
            }
            Self::Parse { .. } => Some("`hotseat serve --help` lists every key".to_owned()),
            Self::Clash(_) => None,
        }
    }
}
