//! Events and numbers, between a master and its workers.
//!
//! The master gives events their numbers and keeps the last ones, so that they outlive workers.
//! Orders and generations are numbered by the worker that takes orders; the master only knows which
//! numbers come next.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use crate::{
    event::{Event, Phase},
    ids::{Generation, Peer},
};

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happened {
    /// 0: not given yet.
    #[serde(default)]
    pub sequence: u64,
    /// When.
    pub at: SystemTime,
    /// What, in a word.
    pub phase: String,
    /// As in [`Event::order`].
    #[serde(default)]
    pub order: Option<u64>,
    /// Whom it concerns.
    #[serde(default)]
    pub plugin: Option<String>,
    /// Its label.
    #[serde(default)]
    pub label: Option<String>,
    /// Its content, in hex.
    #[serde(default)]
    pub digest: Option<String>,
    /// Its number.
    #[serde(default)]
    pub generation: Option<u64>,
    /// One line more.
    #[serde(default)]
    pub detail: Option<String>,
}

/// The last events of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// The number of the newest.
    pub last: u64,
    /// Those that are kept, oldest first.
    pub list: VecDeque<Happened>,
}

/// What was done to the host as a whole, for the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// When.
    pub at: SystemTime,
    /// Who wanted it: `control`, `signal`, `crash`, `stuck` or `host`.
    pub source: String,
    /// The process that asked, as far as known.
    #[serde(default)]
    pub by: Option<Peer>,
    /// `start`, `stop`, `upgrade`, `worker` or `lame_duck`.
    pub verb: String,
    /// How it ended, in a word.
    pub outcome: String,
    /// The same in a line.
    pub text: String,
    /// How long it took.
    #[serde(default)]
    pub took: Duration,
    /// Whose code is to blame, as far as known.
    #[serde(default)]
    pub generation: Option<u64>,
    /// Of an order that its worker has not lived to end: its number.
    #[serde(default)]
    pub order: u64,
    /// And whom it was about.
    #[serde(default)]
    pub plugin: Option<String>,
    /// And which version of it.
    #[serde(default)]
    pub label: Option<String>,
    /// And with which content, in hex.
    #[serde(default)]
    pub digest: Option<String>,
}

impl Deed {
    /// Something that nobody has asked for and that took no time.
    #[must_use]
    pub fn new(source: &str, verb: &str, outcome: &str, text: impl Into<String>) -> Self {
        let word = ToOwned::to_owned;
        Self {
            at: SystemTime::now(),
            source: word(source),
            by: None,
            verb: word(verb),
            outcome: word(outcome),
            text: text.into(),
            took: Duration::ZERO,
            generation: None,
            order: 0,
            plugin: None,
            label: None,
            digest: None,
        }
    }
}

/// The numbers that come next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// That of an order.
    pub order: u64,
    /// That of a generation.
    pub generation: u64,
}

impl From<Event> for Happened {
    fn from(event: Event) -> Self {
        let Event { sequence, at, phase, order, plugin, label, digest, generation, detail } = event;
        Self {
            sequence,
            at,
            phase: phase.as_str().to_owned(),
            order,
            plugin: plugin.map(|it| it.to_string()),
            label: label.map(|it| it.as_str().to_owned()),
            digest: digest.map(|it| it.to_string()),
            generation: generation.map(|it| it.0),
            detail,
        }
    }
}

impl Happened {
    /// The event; `None`: another version has a phase that this one has no word for.
    #[must_use]
    pub fn event(self) -> Option<Event> {
        let Self { sequence, at, phase, order, plugin, label, digest, generation, detail } = self;
        Some(Event {
            sequence,
            at,
            phase: Phase::from_word(&phase)?,
            order,
            plugin: plugin.and_then(|it| it.parse().ok()),
            label: label.and_then(|it| it.parse().ok()),
            digest: digest.and_then(|it| it.parse().ok()),
            generation: generation.map(Generation),
            detail,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{Order, Report};

    /// What the release before says, and what it hears.
    #[test]
    fn the_release_before_is_understood() {
        let old: Order = serde_json::from_str(r#"{"order":"resume"}"#).unwrap();
        assert!(matches!(old, Order::Resume { numbers: None, manifest: None }));
        let old: Report =
            serde_json::from_str(r#"{"report":"hello","proto":1,"version":"0.1.0"}"#).unwrap();
        assert!(matches!(old, Report::Hello { events: false, .. }));
        #[derive(Debug, Deserialize)]
        #[serde(rename_all = "snake_case", tag = "order")]
        enum Before {
            Resume,
        }
        let numbers = Some(Numbers { order: 1, generation: 2 });
        let new = serde_json::to_string(&Order::Resume { numbers, manifest: None }).unwrap();
        let heard: Before = serde_json::from_str(&new).unwrap();
        assert!(matches!(heard, Before::Resume));
    }

    #[test]
    fn every_phase_has_its_word() {
        for phase in Phase::ALL {
            assert_eq!(Phase::from_word(phase.as_str()), Some(phase));
        }
    }
}
