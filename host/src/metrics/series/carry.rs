//! Plugins' series on their way from one process to the next.

use std::sync::atomic::Ordering::Relaxed;

use hotseat_plugin_api::abi::metric;

use super::{PluginSeries, name::Refused, value::Value};
use crate::{
    ids::PluginName,
    metrics::totals::{Number, SeriesTotal},
};

impl PluginSeries {
    /// Everything that only grows.
    pub(in crate::metrics) fn totals(&self) -> Vec<SeriesTotal> {
        let mut totals = Vec::new();
        for (plugin, of_plugin) in self.plugins.load().iter() {
            for series in of_plugin.all() {
                let value = match &series.value {
                    Value::Counter(total) => Number::Counter(total.get()),
                    Value::Gauge(_) => continue,
                    Value::Histogram { buckets, sum } => Number::Histogram {
                        buckets: buckets.iter().map(|bucket| bucket.load(Relaxed)).collect(),
                        sum: sum.get(),
                    },
                };
                totals.push(SeriesTotal {
                    plugin: plugin.to_string(),
                    name: series.name.clone(),
                    labels: series.labels.clone(),
                    value,
                });
            }
        }
        totals
    }

    /// Adds what another process has counted. What does not fit here is left out.
    pub(in crate::metrics) fn add(&self, total: &SeriesTotal) {
        let Ok(plugin) = total.plugin.parse::<PluginName>() else { return };
        let kind = match total.value {
            Number::Counter(_) => metric::COUNTER,
            Number::Histogram { .. } => metric::HISTOGRAM,
        };
        let labels: Vec<_> = total.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let of_plugin = self.of_plugin(&plugin);
        if let Ok(series) = self.series(&of_plugin, kind, &total.name, &labels) {
            series.value.add(&total.value);
        }
    }

    /// Adds values that were not recorded elsewhere.
    pub(in crate::metrics) fn add_dropped(&self, plugin: &str, reason: &str, count: u64) {
        let why = Refused::ALL.iter().position(|why| why.as_str() == reason);
        if let (Ok(plugin), Some(why)) = (plugin.parse::<PluginName>(), why) {
            self.of_plugin(&plugin).dropped[why].fetch_add(count, Relaxed);
        }
    }
}
