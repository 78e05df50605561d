//! What plugins do beside their requests, as it is counted.
//!
//! Invariant: counting takes no lock; it happens on any thread.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted of one plugin beside its requests, all its generations together.
#[derive(Debug, Default)]
pub struct Beside {
    /// Tasks there are now.
    pub tasks: Tally,
    /// Tasks that ended with an error.
    pub task_errors: Tally,
    /// Tasks that ended by a panic.
    pub task_panics: Tally,
    /// Subscriptions of topics there are now.
    pub subscribers: Tally,
    /// Messages that were published.
    pub published: Tally,
    /// Messages that a subscriber has not taken in time.
    pub missed: Tally,
    /// Jobs for which the blocking pool had no room.
    pub blocking_rejected: Tally,
}

impl Beside {
    /// What only grows, by name.
    #[must_use]
    pub fn totals(&self) -> [(&'static str, &Tally); 5] {
        [
            ("task_errors", &self.task_errors),
            ("task_panics", &self.task_panics),
            ("topic_published", &self.published),
            ("topic_missed", &self.missed),
            ("blocking_rejected", &self.blocking_rejected),
        ]
    }
}

/// A number that several threads change.
#[derive(Debug, Default)]
pub struct Tally(AtomicU64);

impl Tally {
    /// So many more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// One less.
    pub fn take(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// The number at this moment.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
