//! The pulse of a data thread: whether it turns, and what it does, readable from outside.
//!
//! A thread that does not turn cannot be asked what it does, so it says so beforehand, in plain
//! atomic stores that nobody else writes. A *turn* is one poll of one task, the end of one, or one
//! message: whatever may hold a thread (destructors, wakers, purges, locks, the host itself) holds
//! one of these, and not always a plugin's poll. What a thread does between two turns (wakers that
//! the runtime calls) is no turn: a thread that has had none for a while is asked for one.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hotseat_unload::Window;

use crate::ids::Generation;

/// Units: bytes of a path that are kept.
const PATH_BYTES: usize = 64;
const WORDS: usize = PATH_BYTES / 8;

/// How long a thread may have had no turn before it is asked for one.
const QUIET: Duration = Duration::from_millis(500);

/// What a data thread is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Doing {
    /// Nothing, or what the runtime calls between two turns: wakers.
    Waiting,
    /// A connection, outside of every plugin's polls.
    Connection,
    /// A stream of HTTP/2, outside of every plugin's polls.
    Stream,
    /// A poll of a plugin; which request is known.
    Request,
    /// A task of a plugin.
    Task,
    /// What plugins made goes, or is woken; or the end of a task, and of what it held.
    Destructor,
    Accept,
    TakeOver,
    Refresh,
    Purge,
    Question,
    Cut,
    Course,
    End,
}

impl Doing {
    const ALL: [(Self, &'static str); 14] = [
        (Self::Waiting, "between two turns"),
        (Self::Connection, "connection"),
        (Self::Stream, "stream"),
        (Self::Request, "request"),
        (Self::Task, "task"),
        (Self::Destructor, "destructor or waker"),
        (Self::Accept, "accept"),
        (Self::TakeOver, "take over"),
        (Self::Refresh, "refresh"),
        (Self::Purge, "purge"),
        (Self::Question, "status"),
        (Self::Cut, "cut"),
        (Self::Course, "drain"),
        (Self::End, "end"),
    ];

    /// For people, status and metrics.
    pub(super) fn as_str(self) -> &'static str {
        Self::ALL[usize::from(self as u8)].1
    }

    fn of(code: u8) -> Self {
        Self::ALL.get(usize::from(code)).map_or(Self::Waiting, |(doing, _)| *doing)
    }
}

/// Shared between one data thread (writer) and the watchdog (reader).
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Pulse {
    /// Odd within a turn.
    sequence: AtomicU64,
    doing: AtomicU8,
    request: AtomicU64,
    path_len: AtomicU64,
    path: [AtomicU64; WORDS],
    /// The watchdog's verdict, for whoever hands out connections.
    blocked: AtomicBool,
    window: Window,
}

/// The writer's end.
#[derive(Debug)]
pub(super) struct PulseWriter {
    pulse: Arc<Pulse>,
    request: Cell<u64>,
    sequence: Cell<u64>,
}

/// A data thread that does not turn, as it looks from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// What it was last doing: `request` where a plugin was polled.
    pub doing: &'static str,
    /// The request, and at most 64 bytes of its path.
    pub request: Option<(u64, String)>,
    /// Whose code it runs, or ran last since it does not turn. `None`: only the host's own.
    pub generation: Option<Generation>,
    /// For how long.
    pub since: Duration,
}

impl PulseWriter {
    pub(super) fn new(pulse: Arc<Pulse>) -> Self {
        Self { pulse, request: Cell::new(0), sequence: Cell::new(0) }
    }

    /// Runs `work` as a turn, or within the one that there is.
    #[inline]
    pub(super) fn turn<T>(&self, doing: Doing, work: impl FnOnce() -> T) -> T {
        let _turn = self.begin(doing);
        work()
    }

    /// Whether a turn is under way.
    #[cfg(test)]
    pub(super) fn is_within(&self) -> bool {
        !self.sequence.get().is_multiple_of(2)
    }

    /// A turn, until what is returned is dropped; nothing where there is one already.
    #[inline]
    pub(super) fn begin(&self, doing: Doing) -> Turn<'_> {
        let before = self.sequence.get();
        if !before.is_multiple_of(2) {
            return Turn { writer: self, ends: None };
        }
        self.doing(doing);
        self.sequence.set(before + 1);
        // Release: whoever sees the odd number sees what was written before it.
        self.pulse.sequence.store(before + 1, Ordering::Release);
        Turn { writer: self, ends: Some(before + 2) }
    }

    /// What the turn is at from here on.
    #[inline]
    pub(super) fn doing(&self, doing: Doing) {
        self.pulse.doing.store(doing as u8, Ordering::Relaxed);
    }

    /// Writes down which request a plugin is polled for from here on.
    #[inline]
    pub(super) fn polls(&self, request: u64, path: &str) {
        let pulse = &*self.pulse;
        if self.request.replace(request) != request {
            let bytes = path.as_bytes();
            let kept = &bytes[..bytes.len().min(PATH_BYTES)];
            pulse.request.store(request, Ordering::Relaxed);
            pulse.path_len.store(kept.len() as u64, Ordering::Relaxed);
            for (word, eight) in pulse.path.iter().zip(kept.chunks(8)) {
                let mut padded = [0; 8];
                padded[..eight.len()].copy_from_slice(eight);
                word.store(u64::from_le_bytes(padded), Ordering::Relaxed);
            }
        }
        self.doing(Doing::Request);
    }

    /// Does the thread's whole work, and lets its watchdog see meanwhile whose code it runs.
    pub(super) fn live<T>(&self, work: impl FnOnce() -> T) -> T {
        self.pulse.window.open(work)
    }
}

/// See [`PulseWriter::begin`].
#[derive(Debug)]
#[must_use = "the turn ends when this is dropped"]
pub(super) struct Turn<'a> {
    writer: &'a PulseWriter,
    ends: Option<u64>,
}

impl Drop for Turn<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(after) = self.ends {
            self.writer.sequence.set(after);
            self.writer.pulse.sequence.store(after, Ordering::Release);
        }
    }
}

impl Pulse {
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    fn read(&self, within: bool) -> Stuck {
        let doing =
            if within { Doing::of(self.doing.load(Ordering::Relaxed)) } else { Doing::Waiting };
        let request = (doing == Doing::Request).then(|| self.request());
        Stuck { doing: doing.as_str(), request, generation: None, since: Duration::ZERO }
    }

    fn request(&self) -> (u64, String) {
        let mut bytes = [0; PATH_BYTES];
        for (eight, word) in bytes.chunks_mut(8).zip(&self.path) {
            eight.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        let len = self.path_len.load(Ordering::Relaxed).min(PATH_BYTES as u64);
        let len = usize::try_from(len).unwrap_or(PATH_BYTES);
        let path = String::from_utf8_lossy(&bytes[..len]).into_owned();
        (self.request.load(Ordering::Relaxed), path)
    }
}

/// The watchdog's memory of one thread.
#[derive(Debug)]
pub(super) struct Observer {
    pulse: Arc<Pulse>,
    sequence: u64,
    looked: Instant,
    /// For how long there was no other turn.
    still: Duration,
    /// It was asked for a turn, and `still` counts from there.
    asked: bool,
    stuck: Option<Stuck>,
}

/// What a look at a thread has found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look<'a> {
    /// It turns, or may have just begun not to.
    Turns,
    /// It turns again.
    TurnsAgain,
    /// It has had no turn for a while, perhaps for want of work: it is to be asked for one.
    Quiet,
    /// It does not turn since now.
    Stops(&'a Stuck),
    /// It still does not turn.
    Stands(&'a Stuck),
}

impl Observer {
    pub(super) fn new(pulse: Arc<Pulse>, now: Instant) -> Self {
        Self { pulse, sequence: 0, looked: now, still: Duration::ZERO, asked: false, stuck: None }
    }

    /// Looks once, as is to be done several times within `limit`.
    pub(super) fn look(&mut self, now: Instant, limit: Duration) -> Look<'_> {
        let sequence = self.pulse.sequence.load(Ordering::Acquire);
        let passed = now.duration_since(self.looked);
        self.looked = now;
        if sequence != self.sequence {
            self.sequence = sequence;
            (self.still, self.asked) = (Duration::ZERO, false);
            self.pulse.blocked.store(false, Ordering::Relaxed);
            let again = self.stuck.take().is_some();
            return if again { Look::TurnsAgain } else { Look::Turns };
        }
        // A process that was stopped looks late, and its threads could turn as little as it could
        // look: one late look alone is no verdict.
        self.still += passed.min(limit * 3 / 4);
        let within = !sequence.is_multiple_of(2);
        if !within && !self.asked {
            if self.still < QUIET {
                return Look::Turns;
            }
            (self.still, self.asked) = (Duration::ZERO, true);
            return Look::Quiet;
        }
        if self.still < limit {
            return Look::Turns;
        }
        let news = self.stuck.is_none();
        self.pulse.blocked.store(true, Ordering::Relaxed);
        let stuck = self.stuck.get_or_insert_with(|| self.pulse.read(within));
        stuck.since = self.still;
        stuck.generation = self.pulse.window.tag().map(Generation).or(stuck.generation);
        if news { Look::Stops(stuck) } else { Look::Stands(stuck) }
    }
}

#[cfg(test)]
mod tests;
