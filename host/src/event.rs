//! What happened, in the order it became true, for whoever listens (`/v1/events`, tests, the log).
//!
//! Owns the numbers and the last events. A host in one process numbers its events itself; a worker
//! hands them to whoever leads it and shows them when they come back with a number, so that all
//! workers of a host show the same row.
//! Invariants: an event is published only after it is true; numbers ascend without a gap from the
//! first event that is kept to the last.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use crate::ids::{Digest, Generation, Label, PluginName};

/// Events that are kept for whoever comes back, or is slow.
pub const EVENTS_COUNT: usize = 1024;

/// For events that another worker has shown already and that are still on their way to this one.
const AHEAD_TIME: Duration = Duration::from_secs(1);

/// One thing that became true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Counts up over workers and restarts; 0 until it has its number.
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
    /// An upgrade of the host has begun or ended; `detail` says which and how.
    Upgrade,
    /// A worker has ended unasked or was replaced; `detail` says why.
    Worker,
    /// `/readyz` was switched; `detail` says how.
    LameDuck,
    /// A plugin's heap holds more than it may, or no longer does; `detail` says how much.
    Memory,
}

impl Phase {
    /// Every one.
    pub const ALL: [Self; 21] = [
        Self::Queued,
        Self::Staged,
        Self::Verified,
        Self::Passed,
        Self::Loaded,
        Self::Committed,
        Self::Unchanged,
        Self::Refused,
        Self::Retired,
        Self::Drained,
        Self::Unloaded,
        Self::Resident,
        Self::Removed,
        Self::Withdrawn,
        Self::Ignored,
        Self::Ready,
        Self::Stopping,
        Self::Upgrade,
        Self::Worker,
        Self::LameDuck,
        Self::Memory,
    ];

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
            Self::Upgrade => "upgrade",
            Self::Worker => "worker",
            Self::LameDuck => "lame_duck",
            Self::Memory => "memory",
        }
    }

    /// The phase of this word; `None`: another version has it.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == word)
    }
}

type Sink = Box<dyn Fn(Event) + Send + Sync>;

struct Ring {
    /// Without a gap between their numbers.
    kept: VecDeque<Event>,
    /// The number of the newest.
    last: u64,
}

impl Ring {
    /// The number of the newest event that is not kept any more.
    fn gone(&self) -> u64 {
        self.kept.front().map_or(self.last, |first| first.sequence - 1)
    }

    fn add(&mut self, mut event: Event, limit: usize) {
        if event.sequence <= self.last {
            return;
        }
        if event.sequence != self.last + 1 {
            // What is between was never here; whoever asks for it is told.
            self.kept.clear();
        }
        self.last = event.sequence;
        // Most belong to the order of the one before, and share its words.
        if let Some(before) = self.kept.back() {
            share(&mut event.plugin, &before.plugin);
            share(&mut event.label, &before.label);
        }
        self.kept.push_back(event);
        while self.kept.len() > limit {
            self.kept.pop_front();
        }
    }
}

/// Equal words of two events are kept once.
fn share<W: Clone + PartialEq>(word: &mut Option<W>, before: &Option<W>) {
    if word == before {
        word.clone_from(before);
    }
}

struct Shared {
    limit: usize,
    ring: Mutex<Ring>,
    /// The number of the newest.
    news: watch::Sender<u64>,
    /// Who gives the numbers; `None`: this process.
    sink: Option<Sink>,
}

/// Publishes events; clones publish to the same listeners.
#[derive(Clone)]
pub struct Events(Arc<Shared>);

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Events").field(&self.last()).finish()
    }
}

impl Events {
    /// `kept_count` events are kept for a listener that is slow or comes back. Numbers begin with 1.
    #[must_use]
    pub fn new(kept_count: usize) -> Self {
        Self::after(kept_count, 0)
    }

    /// The same; numbers begin behind `last`.
    #[must_use]
    pub fn after(kept_count: usize, last: u64) -> Self {
        Self::with(kept_count, last, None)
    }

    /// Events that get their numbers from somebody else: `sink` takes them without waiting, and they
    /// come back by [`add`](Self::add). `last` was the newest so far.
    #[must_use]
    pub fn led(kept_count: usize, last: u64, sink: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self::with(kept_count, last, Some(Box::new(sink)))
    }

    fn with(limit: usize, last: u64, sink: Option<Sink>) -> Self {
        // All of its room at once: one that grew step by step would leave the smaller ones behind.
        let ring = Mutex::new(Ring { kept: VecDeque::with_capacity(limit + 1), last });
        Self(Arc::new(Shared { limit, ring, news: watch::Sender::new(last), sink }))
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the newest event.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.ring().last
    }

    /// Everything published from now on.
    #[must_use]
    pub fn listen(&self) -> Listener {
        let after = self.last();
        Listener { news: self.0.news.subscribe(), events: self.clone(), after, ahead: None }
    }

    /// Everything after the event of this number.
    #[must_use]
    pub fn listen_after(&self, number: u64) -> Listener {
        let mut listener = self.listen();
        if number > listener.after {
            listener.ahead = Some((Instant::now() + AHEAD_TIME, listener.after));
        }
        listener.after = number;
        listener
    }

    /// Publishes `phase`; `fill` adds what is known.
    pub fn publish(&self, phase: Phase, fill: impl FnOnce(&mut Event)) {
        let (sequence, at) = (0, SystemTime::now());
        let (order, plugin, label, digest) = Default::default();
        let (generation, detail) = Default::default();
        let mut event =
            Event { sequence, at, phase, order, plugin, label, digest, generation, detail };
        fill(&mut event);
        match &self.0.sink {
            Some(sink) => sink(event),
            None => self.insert(|ring| Event { sequence: ring.last + 1, ..event }),
        }
    }

    /// Takes an event that has its number. One that is not new is ignored.
    pub fn add(&self, event: Event) {
        self.insert(|_| event);
    }

    fn insert(&self, event: impl FnOnce(&Ring) -> Event) {
        let mut ring = self.ring();
        let event = event(&ring);
        ring.add(event, self.0.limit);
        // Under the lock, so that it never goes back. No listener is no error.
        self.0.news.send_replace(ring.last);
    }
}

/// What a listener gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The next event.
    Event(Event),
    /// The events of these numbers are not kept any more.
    Missed {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// The number that it came with was never given here: nobody knows what it missed. It goes on
    /// behind the event of the number `at`.
    Lost {
        /// See above.
        at: u64,
    },
}

/// A place in the row of events.
#[derive(Debug)]
pub struct Listener {
    news: watch::Receiver<u64>,
    events: Events,
    after: u64,
    /// It is ahead of what is known here: until when that may be, and where it goes on if it stays
    /// so.
    ahead: Option<(Instant, u64)>,
}

impl Listener {
    /// What there is, if anything; of the past only what was asked for.
    pub fn try_next(&mut self) -> Option<Heard> {
        let ring = self.events.ring();
        if ring.last <= self.after {
            return None;
        }
        self.ahead = None;
        let gone = ring.gone();
        if self.after < gone {
            let from = self.after + 1;
            self.after = gone;
            return Some(Heard::Missed { from, to: gone });
        }
        let at = usize::try_from(self.after - gone).ok()?;
        let event = ring.kept.get(at)?.clone();
        self.after = event.sequence;
        Some(Heard::Event(event))
    }

    /// The next thing.
    pub async fn next(&mut self) -> Heard {
        loop {
            self.news.borrow_and_update();
            if let Some(heard) = self.try_next() {
                return heard;
            }
            // The sender is in `events`, so it does not end.
            let changed = self.news.changed();
            match self.ahead {
                None => drop(changed.await),
                Some((until, at)) => {
                    if timeout_at(until, changed).await.is_err() {
                        (self.after, self.ahead) = (at, None);
                        return Heard::Lost { at };
                    }
                    if self.events.last() >= self.after {
                        self.ahead = None;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
