//! What happened, in the order it became true, for whoever listens (`/v1/events`, tests, the log).
//!
//! Invariant: an event is published only after it is true.

use std::time::SystemTime;

use tokio::sync::broadcast;

use crate::ids::{Digest, Generation, Label, PluginName};

/// One thing that became true.
#[derive(Clone, Debug)]
pub struct Event {
    /// Counts up from 1 within one host process.
    pub sequence: u64,
    /// When.
    pub at: SystemTime,
    /// What.
    pub phase: Phase,
    /// The order it belongs to, as in `/v1/deploys`.
    pub order: Option<u64>,
    /// Whom it concerns, as far as known.
    pub plugin: Option<PluginName>,
    /// Its label, as far as known.
    pub label: Option<Label>,
    /// Its content, as far as known.
    pub digest: Option<Digest>,
    /// Its generation, as far as known.
    pub generation: Option<Generation>,
    /// One line more: a refusal's code and text, why a library stays resident.
    pub detail: Option<String>,
}

/// The phases of an order, of a generation and of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// An order waits.
    Queued,
    /// Its bytes are copied and their digest is known.
    Staged,
    /// The file itself was accepted.
    Verified,
    /// The preflight child accepted it.
    Passed,
    /// Its library and instance are in the serving process.
    Loaded,
    /// New requests meet it, and it is what boots.
    Committed,
    /// The same content serves already; nothing changed.
    Unchanged,
    /// The order was refused; nothing changed.
    Refused,
    /// A generation takes no new requests.
    Retired,
    /// The last request of a retired generation has ended.
    Drained,
    /// Its library is unmapped, verified.
    Unloaded,
    /// Its library stays mapped; `detail` says why.
    Resident,
    /// A plugin was taken out of traffic.
    Removed,
    /// A version that ended its process was taken back; `detail` says how and what serves instead.
    Withdrawn,
    /// A file in the plugins folder was not deployed; `detail` says why.
    Ignored,
    /// Boot is over: requests are served, and the ready line follows.
    Ready,
    /// The host has begun to stop.
    Stopping,
}

impl Phase {
    /// `snake_case`, stable for ever.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Staged => "staged",
            Self::Verified => "verified",
            Self::Passed => "passed",
            Self::Loaded => "loaded",
            Self::Committed => "committed",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
            Self::Retired => "retired",
            Self::Drained => "drained",
            Self::Unloaded => "unloaded",
            Self::Resident => "resident",
            Self::Removed => "removed",
            Self::Withdrawn => "withdrawn",
            Self::Ignored => "ignored",
            Self::Ready => "ready",
            Self::Stopping => "stopping",
        }
    }
}

/// Publishes events; clones publish to the same listeners.
#[derive(Clone, Debug)]
pub struct Events {
    next: std::sync::Arc<std::sync::atomic::AtomicU64>,
    sender: broadcast::Sender<Event>,
}

impl Events {
    /// `backlog_count` events are kept for a listener that is slow; it then misses the oldest.
    #[must_use]
    pub fn new(backlog_count: usize) -> Self {
        Self { next: Default::default(), sender: broadcast::channel(backlog_count).0 }
    }

    /// Everything published from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }

    /// Publishes `phase`; `fill` adds what is known.
    pub fn publish(&self, phase: Phase, fill: impl FnOnce(&mut Event)) {
        let sequence = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        let at = SystemTime::now();
        let mut event = Event {
            sequence,
            at,
            phase,
            order: None,
            plugin: None,
            label: None,
            digest: None,
            generation: None,
            detail: None,
        };
        fill(&mut event);
        // No listener is no error.
        let _ = self.sender.send(event);
    }
}
