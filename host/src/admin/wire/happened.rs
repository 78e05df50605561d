//! What happened, as JSON: events and history.
//!
//! Owns the keys of `/v1/events` and `/v1/history`.

use serde::Serialize;

use super::time::rfc3339;
use crate::{event, state::history::Entry};

/// The data of one event of `/v1/events`.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Event {
    sequence: u64,
    at: String,
    phase: &'static str,
    order: Option<u64>,
    plugin: Option<String>,
    label: Option<String>,
    digest: Option<String>,
    generation: Option<u64>,
    detail: Option<String>,
}

impl Event {
    pub(in crate::admin) fn new(event: &event::Event) -> Self {
        let event::Event { sequence, at, phase, order, plugin, label, digest, generation, detail } =
            event;
        Self {
            sequence: *sequence,
            at: rfc3339(*at),
            phase: phase.as_str(),
            order: *order,
            plugin: plugin.as_ref().map(ToString::to_string),
            label: label.as_ref().map(|label| label.as_str().to_owned()),
            digest: digest.as_ref().map(ToString::to_string),
            generation: generation.map(|generation| generation.0),
            detail: detail.clone(),
        }
    }
}

/// The data of the event `missed`.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Missed {
    missed: u64,
}

impl Missed {
    pub(in crate::admin) fn new(missed: u64) -> Self {
        Self { missed }
    }
}

/// `/v1/history`.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct History {
    history: Vec<Line>,
}

impl History {
    pub(in crate::admin) fn new(lines: &[Entry]) -> Self {
        Self { history: lines.iter().map(Line::new).collect() }
    }
}

#[derive(Debug, Serialize)]
struct Line {
    at: String,
    order: u64,
    source: String,
    verb: String,
    plugin: Option<String>,
    label: Option<String>,
    digest: Option<String>,
    generation: Option<u64>,
    from: Option<u64>,
    outcome: String,
    text: String,
    took_ms: u64,
}

impl Line {
    fn new(line: &Entry) -> Self {
        let Entry {
            at,
            order,
            source,
            verb,
            plugin,
            label,
            digest,
            generation,
            from,
            outcome,
            text,
            ms,
        } = line;
        Self {
            at: rfc3339(*at),
            order: *order,
            source: source.clone(),
            verb: verb.clone(),
            plugin: plugin.as_ref().map(ToString::to_string),
            label: label.as_ref().map(|label| label.as_str().to_owned()),
            digest: digest.as_ref().map(ToString::to_string),
            generation: generation.map(|generation| generation.0),
            from: from.map(|from| from.0),
            outcome: outcome.clone(),
            text: text.clone(),
            took_ms: *ms,
        }
    }
}
