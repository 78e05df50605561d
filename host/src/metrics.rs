//! Counters and gauges of the host and of its plugins, as OpenMetrics text.
//!
//! Owns what is counted nowhere else (ended orders, ended generations, plugins' own series) and
//! the text. What the status has already is taken from it at each scrape, so that the two never
//! disagree. Knows nothing of HTTP.
//! Invariant: no label has a value that grows with time: plugins, outcomes, cores, never a
//! generation, a path or a client.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use prometheus_client::{encoding::text, registry::Registry};

use self::{host::HostFamilies, series::PluginSeries};
use crate::{ids::PluginName, status::Status};

#[cfg(test)]
pub(crate) mod fixture;
mod host;
mod series;

/// What [`Metrics::render`] makes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How often what ended in which way.
type Ends = BTreeMap<(&'static str, &'static str), u64>;

/// The host's counters. One for each process, shared by all threads.
#[derive(Debug)]
pub struct Metrics {
    orders: Mutex<Ends>,
    unloads: Mutex<BTreeMap<&'static str, u64>>,
    series: PluginSeries,
}

impl Metrics {
    /// A plugin may make at most `series_count` series of its own.
    #[must_use]
    pub fn new(series_count: usize) -> Self {
        let (orders, unloads) = Default::default();
        Self { orders, unloads, series: PluginSeries::new(series_count) }
    }

    /// An order ended. `verb` is `deploy`, `rollback` or `unload`, `outcome` the change or the
    /// refusal's code.
    pub fn order_ended(&self, verb: &'static str, outcome: &'static str) {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        *orders.entry((verb, outcome)).or_default() += 1;
    }

    /// A generation ended: its library was unmapped, or stays.
    pub fn generation_ended(&self, unmapped: bool) {
        let mut unloads = self.unloads.lock().unwrap_or_else(PoisonError::into_inner);
        *unloads.entry(if unmapped { "unloaded" } else { "resident" }).or_default() += 1;
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

    /// Drops the series of a plugin that is gone for good.
    pub fn forget(&self, plugin: &PluginName) {
        self.series.forget(plugin);
    }

    /// Everything, as of `status`.
    #[must_use]
    pub fn render(&self, status: &Status) -> String {
        let host = HostFamilies {
            status: status.clone(),
            orders: self.orders.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            unloads: self.unloads.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            dropped: self.series.dropped(),
        };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(host));
        registry.register_collector(Box::new(self.series.snapshot()));
        let mut page = String::new();
        text::encode(&mut page, &registry).expect("writing to a string does not fail");
        page
    }
}

#[cfg(test)]
mod tests;
