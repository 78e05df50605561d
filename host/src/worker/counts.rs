//! What a worker has counted, on its way to the next one.

use super::Worker;
use crate::{
    log,
    metrics::{Metrics, Totals},
    route::Tally,
};

/// Adds what another worker has counted.
pub(super) fn add(metrics: &Metrics, tally: &Tally, text: &str) {
    let totals = Totals::parse(text);
    metrics.add(&totals);
    for (plugin, counts) in totals.requests() {
        tally.add(&plugin, counts);
    }
}

impl Worker {
    /// Every counter of `/metrics`, those of the workers before it among them, in a form for
    /// [`Birth::counters`](super::Birth).
    #[must_use]
    pub fn counters(&self) -> String {
        self.totals().to_text()
    }

    /// What was counted since [`counters`](Self::counters) gave `earlier`, for
    /// [`add_counters`](Self::add_counters) of another worker.
    #[must_use]
    pub fn counters_since(&self, earlier: &str) -> String {
        // The first worker of a host has had nobody before it.
        let earlier = if earlier.is_empty() { Totals::default() } else { Totals::parse(earlier) };
        self.totals().since(&earlier).to_text()
    }

    /// Adds what another worker has counted.
    pub fn add_counters(&self, counted: &str) {
        add(&self.metrics, &self.picture.tally, counted);
    }

    /// Requests that were cut so far, those of the workers before this one among them.
    #[must_use]
    pub fn cut_count(&self) -> usize {
        let tally = &self.picture.tally;
        let counts = tally.plugins().into_iter().map(|plugin| tally.of(&plugin).cut);
        usize::try_from(counts.sum::<u64>()).unwrap_or(usize::MAX)
    }

    fn totals(&self) -> Totals {
        let mut totals = self.metrics.totals();
        let tally = &self.picture.tally;
        for plugin in tally.plugins() {
            totals.set_requests(&plugin, tally.of(&plugin));
        }
        totals.add_evicted(self.plane.evicted());
        totals.add_thin(self.plane.thin());
        totals.add_log_dropped(log::dropped());
        for (code, count) in self.plane.own_answers() {
            totals.add_own_answers(code, count);
        }
        totals
    }
}
