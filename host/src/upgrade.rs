//! Words of a binary upgrade: what is asked for, and how it ends.
//!
//! Plain data that the master, the worker, the control plane and the command share. Knows nothing
//! of how an upgrade is carried out (`master`).

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use crate::ids::Peer;

/// What an upgrade changes. With neither, binary and settings are read again from where they were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Another binary from now on.
    pub binary: Option<PathBuf>,
    /// Another configuration file from now on.
    pub config: Option<PathBuf>,
    /// When the caller is answered.
    pub wait: Wait,
    /// The process that asks, as far as known.
    #[serde(default)]
    pub by: Option<Peer>,
}

impl Request {
    /// Both files as text, for a line of the log.
    #[must_use]
    pub fn paths(&self) -> (Option<String>, Option<String>) {
        let text = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        (text(&self.binary), text(&self.config))
    }
}

/// When whoever asked for an upgrade is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// As soon as the request was taken.
    #[default]
    No,
    /// When the new worker answers new requests.
    Ready,
    /// When it has stood the test of time, or was taken back.
    Commit,
}

/// How an upgrade ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It runs, or was taken (for a caller that does not wait).
    Accepted,
    /// The new worker serves, and is being watched.
    Ready,
    /// The new worker serves for good.
    Committed,
    /// Binary or settings did not pass the checks; nothing was started.
    Preflight,
    /// The new worker did not come up.
    Boot,
    /// The new worker came up and did not answer as it should.
    Probe,
    /// The new worker turned bad while it was watched; the one before serves again.
    RolledBack,
    /// Another upgrade runs, or too many workers drain.
    Busy,
    /// The host is stopping, or has no master.
    Refused,
}

impl Verdict {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::Accepted,
        Self::Ready,
        Self::Committed,
        Self::Preflight,
        Self::Boot,
        Self::Probe,
        Self::RolledBack,
        Self::Busy,
        Self::Refused,
    ];

    /// For people, metrics and wire. Stable.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Ready => "ready",
            Self::Committed => "committed",
            Self::Preflight => "preflight",
            Self::Boot => "boot",
            Self::Probe => "probe",
            Self::RolledBack => "rolled_back",
            Self::Busy => "busy",
            Self::Refused => "refused",
        }
    }

    /// The verdict of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.as_str() == word)
    }

    /// What `hotseat upgrade` exits with.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Accepted | Self::Ready | Self::Committed => 0,
            Self::Refused => 1,
            Self::Preflight => 3,
            Self::Boot => 4,
            Self::Probe => 5,
            Self::RolledBack => 6,
            Self::Busy => 7,
        }
    }

    /// Whether the caller got what was asked for.
    #[must_use]
    pub fn is_good(self) -> bool {
        self.exit_code() == 0
    }
}

/// How an upgrade ended, in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// In a word.
    pub verdict: Verdict,
    /// In a line or, with what a child printed, several.
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The worker that served before.
    pub old_pid: Option<u32>,
    /// The worker that was started.
    pub new_pid: Option<u32>,
    /// The content of the binary, in hex.
    pub binary: Option<String>,
    /// From the request to this.
    pub took: Duration,
    /// When it ended.
    pub at: SystemTime,
}
