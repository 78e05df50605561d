//! Which data thread serves a connection, and how to reach each of them.
//!
//! Owns the count of connections per core and the inboxes. Knows nothing of what the messages mean.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use tokio::sync::mpsc;

use super::{clock::Moment, mail::Message, pulse::Pulse, socket::Accepted};

/// Messages that may wait for one data thread.
pub(super) const INBOX_COUNT: usize = 4096;

/// How many connections each core has, and how to reach it.
#[derive(Debug)]
pub(super) struct Balance {
    seats: Vec<Seat>,
    turn: AtomicUsize,
    /// Connections closed for newcomers, and when that was said last, in milliseconds.
    evicted: AtomicU64,
    evicted_said: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Seat {
    connections: Padded,
    pulse: Arc<Pulse>,
    inbox: mpsc::Sender<Message>,
    /// A new table was announced and not looked at yet.
    stale: AtomicBool,
}

impl Seat {
    pub(super) fn new(inbox: mpsc::Sender<Message>) -> Self {
        Self {
            connections: Padded::default(),
            pulse: Arc::default(),
            inbox,
            stale: AtomicBool::new(false),
        }
    }

    pub(super) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    pub(super) fn connection_count(&self) -> usize {
        self.connections.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(AtomicUsize);

impl Balance {
    pub(super) fn new(seats: Vec<Seat>) -> Self {
        let (evicted, evicted_said) = Default::default();
        Self { seats, turn: AtomicUsize::new(0), evicted, evicted_said }
    }

    pub(super) fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// Connections that have come so far; wraps.
    pub(super) fn come(&self) -> usize {
        self.turn.load(Ordering::Relaxed)
    }

    pub(super) fn cores(&self) -> usize {
        self.seats.len()
    }

    /// The core with the fewest connections, counted there at once. Ties take turns, else all
    /// short connections would go to the core that has one long one fewer. A blocked core gets
    /// nothing as long as another is not.
    pub(super) fn choose(&self) -> usize {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.seats.len();
        let load = |at: usize| {
            let seat = &self.seats[at];
            (seat.pulse.is_blocked(), seat.connection_count())
        };
        let chosen = (0..count).map(|step| (turn + step) % count).min_by_key(|at| load(*at));
        let chosen = chosen.unwrap_or(0);
        self.seats[chosen].connections.0.fetch_add(1, Ordering::Relaxed);
        chosen
    }

    pub(super) fn moved(&self, from: usize, to: usize) {
        self.left(from);
        self.seats[to].connections.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn left(&self, core: usize) {
        self.seats[core].connections.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// A connection was closed for a newcomer. Says so once a minute.
    pub(super) fn has_evicted(&self) {
        let count = self.evicted.fetch_add(1, Ordering::Relaxed) + 1;
        let now = Moment::now().as_millis().max(1);
        let said = self.evicted_said.load(Ordering::Relaxed);
        let again = said == 0 || now.saturating_sub(said) >= 60_000;
        let ours = |it: &AtomicU64| {
            it.compare_exchange(said, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        if again && ours(&self.evicted_said) {
            tracing::warn!(
                count,
                "all connections are in use: the longest idle ones are closed for newcomers; \
                 `connections_count` bounds them"
            );
        }
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    pub(super) fn is_full(&self, limit: usize) -> bool {
        self.connection_count() >= limit
    }

    /// Open connections.
    pub(super) fn connection_count(&self) -> usize {
        self.seats.iter().map(Seat::connection_count).sum()
    }

    pub(super) fn tell(&self, message: impl Fn() -> Message) {
        for core in 0..self.cores() {
            if self.send(core, message()).is_err() {
                tracing::error!(core, "a data thread takes no messages any more");
            }
        }
    }

    /// Hands a connection over, unless the thread has a long inbox: the rest of it is for what must
    /// not be lost.
    pub(super) fn hand_over(&self, core: usize, accepted: Accepted) -> Result<(), Accepted> {
        if self.seats[core].inbox.capacity() < INBOX_COUNT / 2 {
            return Err(accepted);
        }
        self.send(core, Message::Serve(accepted)).map_err(|message| match message {
            Message::Serve(accepted) => accepted,
            _ => unreachable!("what was sent comes back"),
        })
    }

    /// Tells a thread of a new table; once is enough until it has looked.
    pub(super) fn ring(&self, core: usize) {
        let seat = &self.seats[core];
        if !seat.stale.swap(true, Ordering::AcqRel) {
            // The epoch tells a thread that does not hear this at its next request.
            let _ = self.send(core, Message::Refresh);
        }
    }

    /// The thread looks at the table now.
    pub(super) fn looked(&self, core: usize) {
        self.seats[core].stale.store(false, Ordering::Release);
    }

    pub(super) fn send(&self, core: usize, message: Message) -> Result<(), Message> {
        self.seats[core].inbox.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(message)
            | mpsc::error::TrySendError::Closed(message) => message,
        })
    }
}
