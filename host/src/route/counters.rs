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
    panics: AtomicU64,
    timeouts: AtomicU64,
    cut: AtomicU64,
}

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub enum Count {
    /// A request reached the plugin.
    Request,
    /// The plugin answered with an error.
    Error,
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
