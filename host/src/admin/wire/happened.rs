//! What happened, as JSON: events and history.
//!
//! Owns the keys of `/v1/events` and `/v1/history`.

use serde::Serialize;

use super::{picture::Heap, time::rfc3339};
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
    missed: Option<u64>,
    from: Option<u64>,
    to: u64,
}

impl Missed {
    /// The events of these numbers are gone.
    pub(in crate::admin) fn new(from: u64, to: u64) -> Self {
        Self { missed: Some(to - from + 1), from: Some(from), to }
    }

    /// Nobody knows what is gone.
    pub(in crate::admin) fn unknown(to: u64) -> Self {
        Self { missed: None, from: None, to }
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
    id: u64,
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
    subject: Option<String>,
    pid: Option<u32>,
    uid: Option<u32>,
    left_heap: Option<Heap>,
}

impl Line {
    fn new(line: &Entry) -> Self {
        let Entry {
            line: id,
            by,
            subject,
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
            left_heap,
        } = line;
        Self {
            id: *id,
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
            subject: subject.clone(),
            pid: by.map(|by| by.pid),
            uid: by.map(|by| by.uid),
            left_heap: left_heap.map(Heap::new),
        }
    }
}
