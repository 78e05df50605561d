//! Counters of requests, one set a plugin and data thread.
//!
//! Invariant: each set has one writer, so counting is a load and a store, never a locked
//! instruction; readers add the sets up.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{ids::PluginName, status::Counts};

/// One thread's counters of one plugin. Padded: two threads never share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    requests: AtomicU64,
    errors: AtomicU64,
    failures: AtomicU64,
    panics: AtomicU64,
    timeouts: AtomicU64,
    cut: AtomicU64,
    /// Another process has counted this.
    inherited: bool,
}

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub enum Count {
    /// A request reached the plugin.
    Request,
    /// The plugin answered with an error.
    Error,
    /// The plugin answered with a status of 500 or above.
    Failure,
    /// The plugin panicked.
    Panic,
    /// The plugin's time was up.
    Timeout,
    /// Cut at a drain limit.
    Cut,
}

impl Counters {
    /// Adds one. Only the owning thread calls this.
    pub fn add(&self, what: Count) {
        let counter = match what {
            Count::Request => &self.requests,
            Count::Error => &self.errors,
            Count::Failure => &self.failures,
            Count::Panic => &self.panics,
            Count::Timeout => &self.timeouts,
            Count::Cut => &self.cut,
        };
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// All sets of all plugins.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    sets: Arc<Mutex<BTreeMap<PluginName, Vec<Arc<Counters>>>>>,
}

impl Tally {
    /// A new set for the calling thread.
    #[must_use]
    pub fn enlist(&self, plugin: &PluginName) -> Arc<Counters> {
        let set = Arc::new(Counters::default());
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        sets.entry(plugin.clone()).or_default().push(set.clone());
        set
    }

    /// Adds what another process has counted.
    pub fn add(&self, plugin: &PluginName, counts: Counts) {
        let set = Counters {
            inherited: true,
            failures: AtomicU64::new(0),
            requests: counts.requests.into(),
            errors: counts.errors.into(),
            panics: counts.panics.into(),
            timeouts: counts.timeouts.into(),
            cut: counts.cut.into(),
        };
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        sets.entry(plugin.clone()).or_default().push(Arc::new(set));
    }

    /// Every plugin that was counted for.
    #[must_use]
    pub fn plugins(&self) -> Vec<PluginName> {
        let sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        sets.keys().cloned().collect()
    }

    /// Requests of all plugins in this process, and those that ended badly: with a status of 500 or above, an error,
    /// a panic or a time-out.
    #[must_use]
    pub fn answered(&self) -> (u64, u64) {
        let sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut requests, mut bad) = (0, 0);
        for set in sets.values().flatten().filter(|set| !set.inherited) {
            requests += set.requests.load(Ordering::Relaxed);
            let all = [&set.errors, &set.failures, &set.panics, &set.timeouts];
            bad += all.iter().map(|it| it.load(Ordering::Relaxed)).sum::<u64>();
        }
        (requests, bad)
    }

    /// The sums of one plugin.
    #[must_use]
    pub fn of(&self, plugin: &PluginName) -> Counts {
        let sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sums = Counts::default();
        for set in sets.get(plugin).into_iter().flatten() {
            sums.requests += set.requests.load(Ordering::Relaxed);
            sums.errors += set.errors.load(Ordering::Relaxed);
            sums.panics += set.panics.load(Ordering::Relaxed);
            sums.timeouts += set.timeouts.load(Ordering::Relaxed);
            sums.cut += set.cut.load(Ordering::Relaxed);
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_process_has_counted_is_added() {
        let tally = Tally::default();
        let plugin: PluginName = "handler".parse().unwrap();
        let here = tally.enlist(&plugin);
        here.add(Count::Request);
        let elsewhere = Counts { requests: 5, errors: 1, ..Counts::default() };
        tally.add(&plugin, elsewhere);
        here.add(Count::Request);
        assert_eq!(tally.of(&plugin), Counts { requests: 7, errors: 1, ..Counts::default() });
        assert_eq!(tally.plugins(), [plugin]);
    }
}
