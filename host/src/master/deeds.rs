//! What is done to the host as a whole, on its way to the history.
//!
//! The history has one writer, which is the worker that takes orders: so its lines have one order,
//! and the master writes no file that a slow disk could hold it up with. Owns what waits for one:
//! nothing is told to a worker that is frozen, or about to be.

use super::{Led, Master, Role};
use crate::{
    event::Phase,
    link::{Deed, Happened, Order},
};

/// What waits for a worker at most; beyond it the oldest is forgotten.
const DEEDS_COUNT: usize = 64;

impl Master {
    /// Has `deed` written down as soon as there is a writer, and told to whoever listens.
    pub(super) fn note(&mut self, deed: Deed) {
        if let Some(phase) = Phase::from_word(&deed.verb) {
            self.happened(Happened {
                sequence: 0,
                at: deed.at,
                phase: phase.as_str().to_owned(),
                order: None,
                plugin: None,
                label: None,
                digest: None,
                generation: deed.generation,
                detail: Some(format!("{}: {}", deed.outcome, deed.text)),
            });
        }
        let Self { workers, row, .. } = self;
        row.deeds.push_back(deed);
        if row.deeds.len() > DEEDS_COUNT {
            row.deeds.pop_front();
            // Of those that a worker was given, the oldest.
            workers.iter_mut().for_each(|it| it.deeds = it.deeds.saturating_sub(1));
        }
        self.tell_deeds();
    }

    /// Tells the writer what waits.
    pub(super) fn tell_deeds(&mut self) {
        if self.row.deeds.is_empty() {
            return;
        }
        let Some(writer) = self.writer() else { return };
        let Self { workers, row, .. } = self;
        let Some(writer) = workers.iter_mut().find(|worker| worker.number == writer) else {
            return;
        };
        for deed in row.deeds.drain(..) {
            writer.tell(&Order::Note { deed }, &[]);
        }
    }

    /// What a worker writes down that is started now: before it takes anything out of traffic
    /// because of it.
    pub(super) fn deeds_to_begin_with(&self) -> Vec<Deed> {
        // A candidate is no writer before it is known to be one.
        if self.upgrade.is_some() { Vec::new() } else { self.row.deeds.iter().cloned().collect() }
    }

    /// A worker has come so far that it has written what it was given to begin with. One that has
    /// ended before may have done so as well: the next one looks.
    pub(super) fn took_deeds(&mut self, number: u64) {
        // One that says of no events does not know of lines either.
        let worker = self.worker(number).filter(|worker| worker.hears);
        let took = worker.map_or(0, |worker| std::mem::take(&mut worker.deeds));
        let deeds = &mut self.row.deeds;
        deeds.drain(..took.min(deeds.len()));
    }

    /// The worker that writes, and goes on doing so for the time being.
    fn writer(&self) -> Option<u64> {
        let upgrade = self.upgrade.as_ref();
        let writer = upgrade.map_or(Some(None), |upgrade| upgrade.writer().map(Some))?;
        let writes = |it: &&Led| match writer {
            Some(number) => it.number == number,
            // A candidate is the one that stays when the host stops in the middle of an upgrade.
            None => matches!(it.role, Role::Serving | Role::Soaking | Role::Stopping),
        };
        let mut found = self.workers.iter().filter(writes);
        let lives = |it: &&Led| it.hears && it.served && !it.closed && !it.dismissed;
        found.find(lives).map(|it| it.number)
    }
}
