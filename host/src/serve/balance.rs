//! Which data thread serves a connection, and how to reach each of them.
//!
//! Owns the count of connections per core and the inboxes. Knows nothing of what the messages mean.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::sync::mpsc;

use super::{core::Message, listener::Accepted, pulse::Pulse};

/// Messages that may wait for one data thread.
pub(super) const INBOX_COUNT: usize = 4096;

/// How many connections each core has, and how to reach it.
#[derive(Debug)]
pub(super) struct Balance {
    seats: Vec<Seat>,
    turn: AtomicUsize,
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
        Self { seats, turn: AtomicUsize::new(0) }
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::serve::pulse::{Doing, Observer, PulseWriter};

    #[test]
    fn a_thread_that_does_not_turn_gets_nothing_as_long_as_another_turns() {
        let (inboxes, _receivers): (Vec<_>, Vec<_>) = (0..2).map(|_| mpsc::channel(1)).unzip();
        let balance = Balance::new(inboxes.into_iter().map(Seat::new).collect());
        let writers: Vec<_> =
            balance.seats().iter().map(|it| PulseWriter::new(it.pulse().clone())).collect();
        let limit = Duration::from_millis(200);
        let mut now = Instant::now();
        let mut observers: Vec<_> =
            balance.seats().iter().map(|it| Observer::new(it.pulse().clone(), now)).collect();
        let mut look = || {
            for _ in 0..3 {
                now += limit / 2;
                for observer in &mut observers {
                    let _ = observer.look(now, limit);
                }
            }
        };
        writers[0].turn(Doing::Request, || {
            look();
            let chosen: Vec<_> = (0..4).map(|_| balance.choose()).collect();
            assert_eq!(chosen, [1; 4], "however many connections it has");
            writers[1].turn(Doing::Request, || {
                look();
                assert_eq!(balance.choose(), 0, "both stand: the fewest connections");
            });
        });
        look();
        assert_eq!(balance.choose(), 0);
    }
}
