//! Plugins' series as families of the page.
//!
//! Owns their order and their prefix: by family, so that two plugins with a metric of the same
//! name share one.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};

use super::{
    PluginSeries, Series,
    name::MetricKind,
    value::{BOUNDS, Value},
};

/// One scrape.
#[derive(Debug)]
pub(in crate::metrics) struct Snapshot {
    families: BTreeMap<String, Vec<(String, Arc<Series>)>>,
}

impl PluginSeries {
    pub(in crate::metrics) fn snapshot(&self) -> Snapshot {
        let mut families = BTreeMap::<_, Vec<_>>::new();
        for (plugin, of_plugin) in self.plugins.load().iter() {
            for series in of_plugin.all() {
                let family = format!("plugin_{}", series.name);
                families.entry(family).or_default().push((plugin.to_string(), series));
            }
        }
        for rows in families.values_mut() {
            rows.sort_unstable_by(|(a_plugin, a), (b_plugin, b)| {
                (a_plugin, &a.labels).cmp(&(b_plugin, &b.labels))
            });
        }
        Snapshot { families }
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, rows) in &self.families {
            let kind = match rows.first().map(|(_, series)| series.kind) {
                Some(MetricKind::Counter) => MetricType::Counter,
                Some(MetricKind::Gauge) => MetricType::Gauge,
                Some(MetricKind::Histogram) => MetricType::Histogram,
                None => continue,
            };
            let mut family = encoder.encode_descriptor(name, "Made by a plugin.", None, kind)?;
            for (plugin, series) in rows {
                let mut labels = vec![("plugin", plugin.as_str())];
                labels.extend(series.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())));
                sample(family.encode_family(&labels)?, &series.value)?;
            }
        }
        Ok(())
    }
}

fn sample(mut metric: MetricEncoder<'_>, value: &Value) -> fmt::Result {
    match value {
        Value::Counter(total) => metric.encode_counter::<NoLabelSet, _, f64>(&total.get(), None),
        Value::Gauge(last) => metric.encode_gauge(&last.get()),
        Value::Histogram { buckets, sum } => {
            let counts = buckets.iter().map(|bucket| bucket.load(Relaxed));
            let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
            let rows: Vec<(f64, u64)> = bounds.zip(counts).collect();
            let count = rows.iter().map(|(_, count)| count).sum();
            metric.encode_histogram::<NoLabelSet>(sum.get(), count, &rows, None)
        }
    }
}
