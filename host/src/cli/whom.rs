//! Which host a command asks.
//!
//! Owns the order of what may say it (flag, variable, configuration file, default), and what there
//! is to say of an address where nobody is. Connects to nothing.
//! Invariant: a file is read only where nothing else says where the host is, so one that is wrong
//! stands in nobody's way; one that was not named is a clue, and no more.

use std::path::{Path, PathBuf};

use super::{FAILED, USAGE, args::RemoteArgs};
use crate::{
    config::{
        Config, Listen,
        raw::{
            ConfigError,
            address::ListenAt,
            control::control_of,
            file::{Surroundings, find_and_read, passed_over},
        },
    },
    error::{Coded, Kind},
};

/// Where a host is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whom {
    pub(super) at: Listen,
    /// Where that comes from, for whoever finds nobody there. `None`: it was typed.
    pub(super) clue: Option<String>,
}

/// A configuration file does not say where its host is asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotSaid {
    /// It was named, and is not there or not understood.
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(
        "the configuration `{}` gives its host no control plane (`control = []`)", .0.display()
    )]
    Nowhere(PathBuf),
    #[error(
        "the configuration `{}` leaves the port of the control plane to the system (`{at}`)",
        path.display()
    )]
    AnyPort { path: PathBuf, at: Listen },
}

impl NotSaid {
    /// How a command ends with it.
    pub(super) fn exit(&self) -> u8 {
        match self {
            // As `serve` and `check` do.
            Self::Config(_) => USAGE,
            Self::Nowhere(_) | Self::AnyPort { .. } => FAILED,
        }
    }
}

impl Coded for NotSaid {
    fn code(&self) -> &'static str {
        match self {
            Self::Config(error) => error.code(),
            Self::Nowhere(_) => "no_control",
            Self::AnyPort { .. } => "control_port_unknown",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Config(error) => error.kind(),
            Self::Nowhere(_) | Self::AnyPort { .. } => Kind::Host,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Nowhere(_) => Some(
                "say where the host is with `--control`, or set `control` there and send the host \
                 HUP"
                .to_owned(),
            ),
            Self::AnyPort { .. } => {
                Some("say it with `--control`: the host's ready line has it".to_owned())
            }
        }
    }
}

impl Whom {
    /// The host that `remote` means, by `around` where only a file may say it.
    pub(super) fn of(remote: &RemoteArgs, around: &Surroundings) -> Result<Self, NotSaid> {
        if let Some(ListenAt(at)) = remote.control.first() {
            return Ok(Self { at: at.clone(), clue: None });
        }
        let named = remote.config.as_deref();
        let read = find_and_read(named, around);
        let read = read.and_then(|file| Ok((control_of(&file)?, file.path)));
        let (control, path) = match read {
            Ok(read) => read,
            Err(error) if named.is_some() => return Err(error.into()),
            // Perhaps of another host, or of none.
            Err(error) => return Ok(Self::usual(&[error.to_string()])),
        };
        match (control, path) {
            (Some(control), Some(path)) => Self::of_file(&control, &path),
            (_, path) => {
                let locked = passed_over(path.as_deref(), around).into_iter().map(|place| {
                    let place = place.display();
                    format!("this account may not look for a configuration file at `{place}`")
                });
                Ok(Self::usual(&locked.collect::<Vec<_>>()))
            }
        }
    }

    /// Of several the first one, as on the command line; but no port that only the host knows.
    fn of_file(control: &[Listen], path: &Path) -> Result<Self, NotSaid> {
        let is_known = |at: &&Listen| !matches!(at, Listen::Tcp(at) if at.port() == 0);
        let Some(at) = control.iter().find(is_known) else {
            let (path, first) = (path.to_owned(), control.first());
            return Err(first.map_or_else(
                || NotSaid::Nowhere(path.clone()),
                |at| NotSaid::AnyPort { path: path.clone(), at: at.clone() },
            ));
        };
        let mut clue =
            format!("the address is `control` of the configuration `{}`", path.display());
        if matches!(at, Listen::Unix(path) if path.is_relative()) {
            clue += ", where a relative path begins in the folder that the host was started in";
        }
        Ok(Self { at: at.clone(), clue: Some(clue) })
    }

    /// Where a host is that nobody has told otherwise, and `why` nobody has.
    fn usual(why: &[String]) -> Self {
        let at = Config::default().control.into_iter().next().expect("the default has an address");
        let clue =
            (!why.is_empty()).then(|| format!("{}, so {at} is only the default", why.join(", ")));
        Self { at, clue }
    }
}

#[cfg(test)]
mod tests;
