//! Counters and gauges of the host and of its plugins, as OpenMetrics text.
//!
//! Owns what is counted nowhere else (ended orders, ended generations, plugins' own series) and
//! the text. What the status has already is taken from it at each scrape, so that the two never
//! disagree. Knows nothing of HTTP.
//! Invariant: no label has a value that grows with time: plugins, outcomes, cores, never a
//! generation, a path or a client. Only the info metric of the worker has its pid and number.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus_client::{encoding::text, registry::Registry};

use self::{host::HostFamilies, series::PluginSeries};
use crate::{
    ids::PluginName,
    status::{Beside, Status},
};

#[cfg(test)]
pub(crate) mod fixture;
mod host;
mod left;
mod series;
mod totals;

pub use self::totals::Totals;

/// What [`Metrics::render`] makes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A word of the host's own, or one that another process has counted.
type Word = Cow<'static, str>;

/// How often what ended in which way.
type Ends = BTreeMap<(Word, Word), u64>;

/// The host's counters. One for each process, shared by all threads.
#[derive(Debug)]
pub struct Metrics {
    orders: Mutex<Ends>,
    unloads: Mutex<BTreeMap<Word, u64>>,
    /// By code; of the processes before this one.
    own_answers: Mutex<BTreeMap<Word, u64>>,
    /// Of the processes before this one.
    evicted: AtomicU64,
    /// As above.
    thin: AtomicU64,
    log_dropped: AtomicU64,
    /// By plugin.
    beside: Mutex<BTreeMap<PluginName, Arc<Beside>>>,
    series: PluginSeries,
}

impl Metrics {
    /// A plugin may make at most `series_count` series of its own.
    #[must_use]
    pub fn new(series_count: usize) -> Self {
        let (orders, unloads, own_answers, beside) = Default::default();
        Self {
            orders,
            unloads,
            own_answers,
            evicted: AtomicU64::new(0),
            thin: AtomicU64::new(0),
            log_dropped: AtomicU64::new(0),
            beside,
            series: PluginSeries::new(series_count),
        }
    }

    /// An order ended. `verb` is `deploy`, `rollback`, `unload`, `reload` or `withdraw`, `outcome` the
    /// change or the refusal's code.
    pub fn order_ended(&self, verb: &'static str, outcome: &'static str) {
        *lock(&self.orders).entry((verb.into(), outcome.into())).or_default() += 1;
    }

    /// A generation ended: its library was unmapped, or stays.
    pub fn generation_ended(&self, unmapped: bool) {
        let outcome = if unmapped { "unloaded" } else { "resident" };
        *lock(&self.unloads).entry(outcome.into()).or_default() += 1;
    }

    /// A plugin's own metric, called from its code: `kind` is one of the ABI's
    /// [`metric`](hotseat_plugin_api::abi::metric) constants. It becomes `plugin_<name>` with the
    /// label `plugin`, and lives on when the plugin is swapped. What cannot be recorded is counted
    /// by reason and otherwise ignored: a metric never fails a request.
    ///
    /// # Threads
    /// From any; takes no lock unless the series is new.
    pub fn record(
        &self,
        plugin: &PluginName,
        kind: u32,
        name: &str,
        labels: &[(&str, &str)],
        value: f64,
    ) {
        self.series.record(plugin, kind, name, labels, value);
    }

    /// What is counted of a plugin beside its requests, in all of its generations.
    #[must_use]
    pub fn beside(&self, plugin: &PluginName) -> Arc<Beside> {
        lock(&self.beside).entry(plugin.clone()).or_default().clone()
    }

    /// Of every plugin that is loaded, or of which something was counted: not of one that was only tried.
    fn beside_all(&self) -> BTreeMap<PluginName, Arc<Beside>> {
        let mut all = lock(&self.beside);
        let counted = |it: &Beside| it.totals().iter().any(|(_, count)| count.get() > 0);
        all.retain(|_, it| Arc::strong_count(it) > 1 || counted(it));
        all.clone()
    }

    /// Drops the series of a plugin that is gone for good.
    pub fn forget(&self, plugin: &PluginName) {
        self.series.forget(plugin);
        lock(&self.beside).retain(|name, it| name != plugin || Arc::strong_count(it) > 1);
    }

    /// Everything here that only grows.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for ((verb, outcome), count) in &*lock(&self.orders) {
            totals.orders.push((verb.to_string(), outcome.to_string(), *count));
        }
        for (outcome, count) in &*lock(&self.unloads) {
            totals.unloads.insert(outcome.to_string(), *count);
        }
        for (plugin, reason, count) in self.series.dropped() {
            totals.dropped.push((plugin, reason.to_owned(), count));
        }
        for (code, count) in &*lock(&self.own_answers) {
            totals.add_own_answers(code, *count);
        }
        for (plugin, beside) in &*lock(&self.beside) {
            let counted = beside.totals().into_iter().filter(|(_, count)| count.get() > 0);
            let rows =
                counted.map(|(what, count)| (plugin.to_string(), what.to_owned(), count.get()));
            totals.beside.extend(rows);
        }
        totals.add_evicted(self.evicted.load(Ordering::Relaxed));
        totals.add_thin(self.thin.load(Ordering::Relaxed));
        totals.add_log_dropped(self.log_dropped.load(Ordering::Relaxed));
        totals.series = self.series.totals();
        totals
    }

    /// Adds what another process has counted.
    pub fn add(&self, totals: &Totals) {
        for (verb, outcome, count) in &totals.orders {
            let ends = (verb.clone().into(), outcome.clone().into());
            *lock(&self.orders).entry(ends).or_default() += count;
        }
        for (outcome, count) in &totals.unloads {
            *lock(&self.unloads).entry(outcome.clone().into()).or_default() += count;
        }
        self.evicted.fetch_add(totals.evicted, Ordering::Relaxed);
        self.thin.fetch_add(totals.thin, Ordering::Relaxed);
        self.log_dropped.fetch_add(totals.log_dropped, Ordering::Relaxed);
        for (code, count) in &totals.own_answers {
            *lock(&self.own_answers).entry(code.clone().into()).or_default() += count;
        }
        for (plugin, what, count) in &totals.beside {
            let Ok(plugin) = plugin.parse() else { continue };
            let beside = self.beside(&plugin);
            let known = beside.totals().into_iter().find(|(name, _)| name == what);
            if let Some((_, counted)) = known {
                counted.add(*count);
            }
        }
        for (plugin, reason, count) in &totals.dropped {
            self.series.add_dropped(plugin, reason, *count);
        }
        totals.series.iter().for_each(|series| self.series.add(series));
    }

    /// Everything, as of `status`.
    #[must_use]
    pub fn render(&self, status: &Status) -> String {
        let mut own_answers = lock(&self.own_answers).clone();
        for (code, count) in &status.own_answers {
            *own_answers.entry((*code).into()).or_default() += count;
        }
        let host = HostFamilies {
            own_answers,
            evicted: self.evicted.load(Ordering::Relaxed) + status.evicted,
            thin: self.thin.load(Ordering::Relaxed) + status.thin,
            log_dropped: self.log_dropped.load(Ordering::Relaxed) + status.all_log_dropped(),
            status: status.clone(),
            orders: lock(&self.orders).clone(),
            unloads: lock(&self.unloads).clone(),
            dropped: self.series.dropped(),
            beside: self.beside_all(),
        };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(host));
        registry.register_collector(Box::new(self.series.snapshot()));
        let mut page = String::new();
        text::encode(&mut page, &registry).expect("writing to a string does not fail");
        page
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
