//! Why there is nothing to go back to.
//!
//! Owns the words only; [`super::Versions`] decides.
//! Invariant: a released `code` never changes its meaning.

use crate::{
    error::{Coded, Kind},
    ids::{Generation, PluginName},
};

/// A rollback that was not begun; nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RollbackError {
    /// No plugin was named and none has changed yet.
    #[error("no plugin has been changed yet")]
    NothingChanged,
    /// A plugin without a history.
    #[error("no plugin `{plugin}` is known")]
    NoSuchPlugin {
        /// The name that was given.
        plugin: PluginName,
    },
    /// The active version is the oldest one that was not rolled back.
    #[error(
        "nothing to roll back to: no kept version of `{plugin}` with other bytes is older and was \
         not rolled back"
    )]
    NothingOlder {
        /// Whom it concerned.
        plugin: PluginName,
    },
    /// No plugin was named, and it is not clear which one is meant.
    #[error("{} changed within the last minute: which one is meant?", list(plugins))]
    Ambiguous {
        /// Those that changed, newest first.
        plugins: Vec<PluginName>,
    },
    /// A generation that is not kept, or not this plugin's.
    #[error("generation {wanted} is not kept")]
    NoSuchGeneration {
        /// The number that was given.
        wanted: Generation,
        /// The numbers that would do, oldest first.
        kept: Vec<Generation>,
    },
    /// The generation that serves now.
    #[error("generation {wanted} serves already")]
    Serves {
        /// The number that was given.
        wanted: Generation,
    },
}

impl Coded for RollbackError {
    fn code(&self) -> &'static str {
        match self {
            Self::NothingChanged | Self::NothingOlder { .. } => "nothing_to_roll_back",
            Self::Ambiguous { .. } => "ambiguous_rollback",
            Self::NoSuchPlugin { .. } => "no_such_plugin",
            Self::NoSuchGeneration { .. } => "no_such_generation",
            Self::Serves { .. } => "already_serves",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NoSuchPlugin { .. } | Self::NoSuchGeneration { .. } => Kind::Missing,
            Self::NothingChanged
            | Self::NothingOlder { .. }
            | Self::Ambiguous { .. }
            | Self::Serves { .. } => Kind::Conflict,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NothingChanged => "deploy something first".to_owned(),
            Self::NoSuchPlugin { .. } => "`hotseat status` lists the plugins".to_owned(),
            Self::NothingOlder { plugin } => format!(
                "`hotseat rollback {plugin} --to GENERATION` takes any kept one, `hotseat history` \
                 lists them"
            ),
            Self::Ambiguous { plugins } => {
                let commands: Vec<_> =
                    plugins.iter().map(|name| format!("`hotseat rollback {name}`")).collect();
                format!("name it: {}", commands.join(" or "))
            }
            Self::NoSuchGeneration { kept, .. } if kept.is_empty() => {
                "no other version is kept: deploy one".to_owned()
            }
            Self::NoSuchGeneration { kept, .. } => {
                let kept: Vec<_> = kept.iter().map(ToString::to_string).collect();
                format!("kept are {}", kept.join(", "))
            }
            Self::Serves { .. } => "`hotseat load --force` makes a fresh instance".to_owned(),
        })
    }
}

fn list(plugins: &[PluginName]) -> String {
    let names: Vec<_> = plugins.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
