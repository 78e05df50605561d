//! Why a cell is not read or changed.

use std::{fmt, io};

use super::{KEY_BYTES_MAX, Value, layout::PLUGINS_MAX};
use crate::error::{Coded, Kind};

/// Which bound has no room left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Values of a plugin.
    Count(u64),
    /// Bytes of a plugin.
    Bytes(u64),
    /// Bytes of all plugins.
    Total(u64),
    /// Names of plugins.
    Plugins,
    /// Memory of the machine.
    Memory,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(max) => write!(f, "the plugin has {max} values (`cells_count`)"),
            Self::Bytes(max) => {
                write!(f, "the plugin's values may come to {max} bytes (`cells_bytes`)")
            }
            Self::Total(max) => {
                write!(f, "all plugins' values may come to {max} bytes (`cells_total_bytes`)")
            }
            Self::Plugins => write!(f, "{PLUGINS_MAX} plugins have had values"),
            Self::Memory => f.write_str("the machine has no memory for it"),
        }
    }
}

/// Why a cell is not read or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CellError {
    /// Another version is there.
    #[error("another version is there: {}", .0.as_ref().map_or(0, |value| value.version))]
    Conflict(Option<Value>),
    /// There is no room.
    #[error("no room: {0}")]
    Full(Limit),
    /// The value is too long.
    #[error("a value of {len} bytes: {max} are allowed (`cell_bytes`)")]
    TooLong {
        /// What it has. Units: bytes.
        len: u64,
        /// Units: bytes.
        max: u64,
    },
    /// No key.
    #[error("`{0}` is no key: 1 to {KEY_BYTES_MAX} bytes of text without control characters")]
    BadKey(String),
    /// Somebody has written over it who should not have.
    #[error("the value of `{0}` is damaged; set or remove it")]
    Damaged(String),
    /// Not to be reached from here.
    #[error("cells are not to be had: {0}")]
    Unavailable(String),
}

impl From<io::Error> for CellError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::OutOfMemory
            | io::ErrorKind::QuotaExceeded => Self::Full(Limit::Memory),
            io::ErrorKind::TimedOut => {
                Self::Unavailable("a process of this host holds them, and stands still".to_owned())
            }
            io::ErrorKind::FileTooLarge => Self::Unavailable(
                "a limit on the size of files (`ulimit -f`, `LimitFSIZE=`) forbids it".to_owned(),
            ),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

impl Coded for CellError {
    fn code(&self) -> &'static str {
        match self {
            Self::Conflict(_) => "cell_conflict",
            Self::Full(_) => "cells_full",
            Self::TooLong { .. } => "cell_too_long",
            Self::BadKey(_) => "bad_key",
            Self::Damaged(_) => "cell_damaged",
            Self::Unavailable(_) => "cells_unavailable",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Conflict(_) => Kind::Condition,
            Self::Full(_) => Kind::Conflict,
            Self::TooLong { .. } => Kind::TooLarge,
            Self::BadKey(_) => Kind::Input,
            Self::Damaged(_) | Self::Unavailable(_) => Kind::Host,
        }
    }
}
