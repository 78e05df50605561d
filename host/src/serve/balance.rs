//! Which data thread serves a connection, and how to reach each of them.
//!
//! Owns the count of connections per core, those that wait for one, and the inboxes. Knows nothing
//! of what the messages mean.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::sync::mpsc;

use super::{clock::Moment, mail::Message, pulse::Pulse, socket::Accepted};
use crate::plugin::desk::{DataThreads, Desk};

/// Messages that may wait for one data thread.
pub(super) const INBOX_COUNT: usize = 4096;

/// How many connections each core has, and how to reach it.
#[derive(Debug)]
pub(super) struct Balance {
    seats: Vec<Seat>,
    turn: AtomicUsize,
    task_turn: AtomicUsize,
    ending: AtomicBool,
    /// Connections closed for newcomers, and when that was said last, in milliseconds.
    evicted: AtomicU64,
    evicted_said: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Seat {
    connections: Padded,
    pulse: Arc<Pulse>,
    inbox: mpsc::Sender<Message>,
    /// Connections on their way to it; beside the inbox, so that they can be called back from a
    /// thread that does not turn.
    waiting: Mutex<VecDeque<Accepted>>,
    /// A new table was announced and not looked at yet.
    stale: AtomicBool,
    desk: Arc<Desk>,
}

impl Seat {
    pub(super) fn new(inbox: mpsc::Sender<Message>) -> Self {
        Self {
            connections: Padded::default(),
            pulse: Arc::default(),
            inbox,
            waiting: Mutex::default(),
            stale: AtomicBool::new(false),
            desk: Arc::default(),
        }
    }

    pub(super) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Accepted>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
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
        Self {
            seats,
            turn: AtomicUsize::new(0),
            task_turn: AtomicUsize::new(0),
            ending: AtomicBool::new(false),
            evicted,
            evicted_said,
        }
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
        self.fewest(self.turn.fetch_add(1, Ordering::Relaxed))
    }

    fn fewest(&self, turn: usize) -> usize {
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

    /// That of a thread.
    pub(super) fn desk(&self, core: usize) -> Arc<Desk> {
        self.seats[core].desk.clone()
    }

    /// No task begins from here on: what a thread runs goes with it, and may not go on elsewhere.
    pub(super) fn begin_end(&self) {
        self.ending.store(true, Ordering::Release);
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
        let seat = &self.seats[core];
        if seat.inbox.capacity() < INBOX_COUNT / 2 {
            return Err(accepted);
        }
        seat.waiting().push_back(accepted);
        if self.send(core, Message::Serve).is_err() {
            // If the thread has taken it all the same, or another one, it is served.
            return seat.waiting().pop_back().map_or(Ok(()), Err);
        }
        Ok(())
    }

    /// The next connection that waits for a thread; it stays counted there.
    pub(super) fn take(&self, core: usize) -> Option<Accepted> {
        self.seats[core].waiting().pop_front()
    }

    /// Calls back what waits for a thread that does not turn, for those that do. Returns at once
    /// when there is none.
    pub(super) fn call_back(&self, from: usize) {
        while self.seats.iter().any(|seat| !seat.pulse.is_blocked()) {
            let Some(accepted) = self.take(from) else { return };
            let to = self.fewest(self.come());
            self.left(from);
            let handed = if to == from { Err(accepted) } else { self.hand_over(to, accepted) };
            if let Err(accepted) = handed {
                self.moved(to, from);
                return self.put_back(from, accepted);
            }
        }
    }

    /// After [`take`](Self::take): it waits on.
    pub(super) fn put_back(&self, core: usize, accepted: Accepted) {
        self.seats[core].waiting().push_front(accepted);
        // The message for it may have been read meanwhile; one too many does no harm.
        let _ = self.send(core, Message::Serve);
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

/// Each in turn, but for those that do not turn as long as another does.
impl DataThreads for Balance {
    fn next(&self) -> Option<Arc<Desk>> {
        let (turn, count) = (self.task_turn.fetch_add(1, Ordering::Relaxed), self.cores());
        let next = (0..count).map(|step| &self.seats[turn.wrapping_add(step) % count]);
        next.min_by_key(|seat| seat.pulse.is_blocked()).map(|seat| seat.desk.clone())
    }

    fn are_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::net::UnixStream,
        time::{Duration, Instant},
    };

    use bytes::Bytes;

    use super::*;
    use crate::serve::{
        pulse::{Doing, Observer, PulseWriter},
        socket::Unregistered,
    };

    const LIMIT: Duration = Duration::from_millis(200);

    /// Two threads that do nothing but stand still when they are told to.
    struct Threads {
        balance: Balance,
        inboxes: Vec<mpsc::Receiver<Message>>,
        writers: Vec<PulseWriter>,
        observers: Vec<Observer>,
        now: Instant,
    }

    impl Threads {
        fn new() -> Self {
            let (senders, inboxes): (Vec<_>, _) =
                (0..2).map(|_| mpsc::channel(INBOX_COUNT)).unzip();
            let balance = Balance::new(senders.into_iter().map(Seat::new).collect());
            let (pulses, now) = (|| balance.seats().iter().map(Seat::pulse), Instant::now());
            let writers = pulses().map(|it| PulseWriter::new(it.clone())).collect();
            let observers = pulses().map(|it| Observer::new(it.clone(), now)).collect();
            Self { balance, inboxes, writers, observers, now }
        }

        /// Looks until whoever stands still is known to.
        fn look(balance: &mut [Observer], now: &mut Instant) {
            for _ in 0..3 {
                *now += LIMIT / 2;
                for observer in &mut *balance {
                    let _ = observer.look(*now, LIMIT);
                }
            }
        }
    }

    #[test]
    fn a_thread_that_does_not_turn_gets_nothing_as_long_as_another_turns() {
        let Threads { balance, writers, mut observers, mut now, .. } = Threads::new();
        let mut look = || Threads::look(&mut observers, &mut now);
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

    #[test]
    fn what_waits_for_a_thread_is_called_back_when_it_stands_still() {
        let threads = Threads::new();
        let Threads { balance, mut inboxes, writers, mut observers, mut now } = threads;
        for _ in 0..4 {
            let socket = Unregistered::Unix(UnixStream::pair().unwrap().0.into());
            let accepted = Accepted { socket, peer: "unix".to_owned(), prefix: Bytes::new() };
            balance.hand_over(balance.choose(), accepted).unwrap();
        }
        let counts = || balance.seats().iter().map(Seat::connection_count).collect::<Vec<_>>();
        assert_eq!(counts(), [2, 2]);
        let mut look = || Threads::look(&mut observers, &mut now);
        writers[0].turn(Doing::Request, || {
            writers[1].turn(Doing::Request, || {
                look();
                balance.call_back(0);
                assert_eq!(counts(), [2, 2], "nobody turns");
            });
            look();
            balance.call_back(0);
        });
        assert_eq!(counts(), [0, 4]);
        assert!(balance.take(0).is_none());
        assert_eq!(std::iter::from_fn(|| inboxes[1].try_recv().ok()).count(), 4);
        assert_eq!(std::iter::from_fn(|| balance.take(1)).count(), 4);
    }
}
