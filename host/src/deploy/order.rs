//! What can be asked of the one writer, and what it answers.
//!
//! Owns the words between the edges (update endpoint, watcher, commands) and the pipeline. Every
//! edge sends the same [`Order`]; none of them loads anything itself.

use std::{path::PathBuf, time::Duration};

use super::condition::Condition;
use crate::ids::{Generation, PluginName, Version};

/// Where an order came from, for log and history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The control plane.
    Control,
    /// A file that arrived in the plugins folder.
    Folder,
}

impl Source {
    /// For log, history and wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Folder => "folder",
        }
    }
}

/// A change that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Bring the library at `path` to traffic.
    Deploy {
        /// As given; relative to the host's working directory.
        path: PathBuf,
        /// Load again even if the same content already serves.
        force: bool,
        /// Who asks.
        source: Source,
        /// What must serve at that moment.
        condition: Condition,
    },
    /// Return to a version before.
    Rollback {
        /// `None`: the plugin changed last.
        plugin: Option<PluginName>,
        /// `None`: the last committed version of other bytes.
        to: Option<Generation>,
        /// What must serve at that moment.
        condition: Condition,
    },
    /// Take a plugin out of traffic and forget it at boot.
    Unload {
        /// Which.
        plugin: PluginName,
        /// What must serve at that moment.
        condition: Condition,
    },
}

impl Order {
    /// Every verb.
    pub const VERBS: [&'static str; 3] = ["deploy", "rollback", "unload"];

    /// For history and wire.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Deploy { .. } => "deploy",
            Self::Rollback { .. } => "rollback",
            Self::Unload { .. } => "unload",
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// New code serves.
    Swapped,
    /// The same content served already; nothing changed.
    AlreadyServes,
    /// A version before serves again.
    RolledBack,
    /// The plugin serves no more.
    Unloaded,
}

impl Change {
    /// Every one.
    pub const ALL: [Self; 4] =
        [Self::Swapped, Self::AlreadyServes, Self::RolledBack, Self::Unloaded];

    /// For history and wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Swapped => "swapped",
            Self::AlreadyServes => "already_serves",
            Self::RolledBack => "rolled_back",
            Self::Unloaded => "unloaded",
        }
    }
}

/// An order that was carried out: new requests already meet the new code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployed {
    /// What happened.
    pub change: Change,
    /// To which plugin.
    pub plugin: PluginName,
    /// What serves now (for [`Change::Unloaded`]: what served last).
    pub version: Version,
    /// What served before.
    pub previous: Option<Version>,
    /// A rollback's origin: the generation whose bytes were loaded again.
    pub from: Option<Generation>,
    /// How long the preflight child took.
    pub preflight: Duration,
    /// From the order leaving the queue to the swap.
    pub swapped_in: Duration,
    /// Lines worth saying: "downgrade", a file name that differs from the manifest, what will
    /// stay resident and why.
    pub notes: Vec<String>,
}

impl Deployed {
    /// The line that people read: `handler v2 is serving (generation 7, …; was v1)`.
    #[must_use]
    pub fn line(&self) -> String {
        let Version { generation, label, digest } = &self.version;
        let plugin = &self.plugin;
        match self.change {
            Change::AlreadyServes => {
                return format!("{plugin} {label} already serves (generation {generation})");
            }
            Change::Unloaded => {
                return format!("{plugin} is unloaded (was {label}, generation {generation})");
            }
            Change::Swapped | Change::RolledBack => {}
        }
        let digest = digest.to_string();
        let back = self.from.map_or_else(String::new, |from| format!(", from {from}"));
        let was = self.previous.as_ref().map_or_else(String::new, |previous| {
            // The same label with other bytes: only the digests tell the two apart.
            if previous.label == *label && previous.digest != self.version.digest {
                format!(
                    "; was {} with sha256 {}…",
                    previous.label,
                    &previous.digest.to_string()[..6]
                )
            } else {
                format!("; was {}", previous.label)
            }
        });
        format!(
            "{plugin} {label} is serving (generation {generation}{back}, sha256 {}…, preflight \
             {:.1} ms, swapped in {:.1} ms{was})",
            &digest[..6],
            self.preflight.as_secs_f64() * 1e3,
            self.swapped_in.as_secs_f64() * 1e3,
        )
    }
}
