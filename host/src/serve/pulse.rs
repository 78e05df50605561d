//! The heartbeat of a data thread: what it is polling, readable from outside while it is stuck.
//!
//! A thread that blocks in a handler cannot be asked what it does, so it says so beforehand, in
//! plain atomic stores that nobody else writes. A watchdog compares the sequence between looks.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Units: bytes of a path that are kept.
const PATH_BYTES: usize = 64;
const WORDS: usize = PATH_BYTES / 8;

/// Shared between one data thread (writer) and the watchdog (reader).
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Pulse {
    /// Odd while a plugin is polled.
    sequence: AtomicU64,
    request: AtomicU64,
    generation: AtomicU64,
    path_len: AtomicU64,
    path: [AtomicU64; WORDS],
    /// The watchdog's verdict, for whoever hands out connections.
    blocked: AtomicBool,
}

/// The writer's end.
#[derive(Debug)]
pub(super) struct PulseWriter {
    pulse: Arc<Pulse>,
    request: Cell<u64>,
    sequence: Cell<u64>,
}

/// What a thread has been polling for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stuck {
    pub(super) request: u64,
    pub(super) generation: u64,
    pub(super) path: String,
    pub(super) since: Duration,
}

impl PulseWriter {
    pub(super) fn new(pulse: Arc<Pulse>) -> Self {
        Self { pulse, request: Cell::new(0), sequence: Cell::new(0) }
    }

    /// Runs `poll`, with what it is about written down before.
    #[inline]
    pub(super) fn during<T>(
        &self,
        (request, generation, path): (u64, u64, &str),
        poll: impl FnOnce() -> T,
    ) -> T {
        let pulse = &*self.pulse;
        if self.request.replace(request) != request {
            let bytes = path.as_bytes();
            let kept = &bytes[..bytes.len().min(PATH_BYTES)];
            pulse.request.store(request, Ordering::Relaxed);
            pulse.generation.store(generation, Ordering::Relaxed);
            pulse.path_len.store(kept.len() as u64, Ordering::Relaxed);
            for (word, eight) in pulse.path.iter().zip(kept.chunks(8)) {
                let mut padded = [0; 8];
                padded[..eight.len()].copy_from_slice(eight);
                word.store(u64::from_le_bytes(padded), Ordering::Relaxed);
            }
        }
        let inside = self.sequence.get() + 1;
        // Release: whoever sees the odd number sees what was written before it.
        pulse.sequence.store(inside, Ordering::Release);
        let result = poll();
        self.sequence.set(inside + 1);
        pulse.sequence.store(inside + 1, Ordering::Release);
        result
    }
}

impl Pulse {
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    fn read(&self) -> Stuck {
        let mut bytes = [0; PATH_BYTES];
        for (eight, word) in bytes.chunks_mut(8).zip(&self.path) {
            eight.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        let len = self.path_len.load(Ordering::Relaxed).min(PATH_BYTES as u64);
        let len = usize::try_from(len).unwrap_or(PATH_BYTES);
        Stuck {
            request: self.request.load(Ordering::Relaxed),
            generation: self.generation.load(Ordering::Relaxed),
            path: String::from_utf8_lossy(&bytes[..len]).into_owned(),
            since: Duration::ZERO,
        }
    }
}

/// The watchdog's memory of one thread.
#[derive(Debug)]
pub(super) struct Observer {
    pulse: Arc<Pulse>,
    sequence: u64,
    since: Instant,
    stuck: Option<Stuck>,
}

impl Observer {
    pub(super) fn new(pulse: Arc<Pulse>) -> Self {
        Self { pulse, sequence: 0, since: Instant::now(), stuck: None }
    }

    /// Looks once. Returns what the thread is stuck in, and whether that is news.
    pub(super) fn look(&mut self, now: Instant, limit: Duration) -> (Option<&Stuck>, bool) {
        let sequence = self.pulse.sequence.load(Ordering::Acquire);
        if sequence != self.sequence || sequence.is_multiple_of(2) {
            self.sequence = sequence;
            self.since = now;
            let news = self.stuck.take().is_some();
            self.pulse.blocked.store(false, Ordering::Relaxed);
            return (None, news);
        }
        let since = now.duration_since(self.since);
        if since < limit {
            return (None, false);
        }
        let news = self.stuck.is_none();
        self.pulse.blocked.store(true, Ordering::Relaxed);
        let stuck = self.stuck.get_or_insert_with(|| self.pulse.read());
        stuck.since = since;
        (Some(stuck), news)
    }
}

#[cfg(test)]
mod tests;
