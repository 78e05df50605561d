//! The host's own families, made from a status and the counts beside it.
//!
//! Owns their names and help lines. Keeps nothing between two scrapes.

use std::{collections::BTreeMap, fmt, time::UNIX_EPOCH};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, info::Info},
};

use super::Ends;
use crate::status::{Counts, GenerationStatus, Life, Status};

/// One scrape of the host.
#[derive(Debug)]
pub(super) struct HostFamilies {
    pub(super) status: Status,
    pub(super) orders: Ends,
    pub(super) unloads: BTreeMap<&'static str, u64>,
    /// Plugin and reason.
    pub(super) dropped: Vec<(String, &'static str, u64)>,
}

/// What is counted of each plugin.
type OfCounts = (&'static str, &'static str, fn(&Counts) -> u64);

const PLUGIN_COUNTERS: [OfCounts; 5] = [
    ("hotseat_requests", "Requests that reached the plugin.", |counts| counts.requests),
    ("hotseat_errors", "Calls that ended with an error of the plugin.", |counts| counts.errors),
    ("hotseat_panics", "Calls that panicked.", |counts| counts.panics),
    ("hotseat_timeouts", "Calls that took longer than they may.", |counts| counts.timeouts),
    ("hotseat_cut_requests", "Requests cut at a drain limit.", |counts| counts.cut),
];

fn counters<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl IntoIterator<Item = (L, u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    rows.into_iter().try_for_each(|(labels, value)| {
        ConstCounter::new(value).encode(family.encode_family(&labels)?)
    })
}

fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl IntoIterator<Item = (L, V)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    rows.into_iter()
        .try_for_each(|(labels, value)| family.encode_family(&labels)?.encode_gauge(&value))
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::new(value).encode(metric)
}

/// `None` for what has left memory: those would grow with time.
fn life(generation: &GenerationStatus) -> Option<&'static str> {
    match generation.life {
        Life::Serving => Some("serving"),
        Life::Draining => Some("draining"),
        Life::Pending(_) => Some("pending"),
        Life::Resident(_) => Some("resident"),
        Life::Unloaded => None,
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

impl HostFamilies {
    fn plugins(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, read) in PLUGIN_COUNTERS {
            let plugins = self.status.plugins.iter();
            let rows = plugins.map(|p| ([("plugin", p.name.as_str())], read(&p.counts)));
            counters(encoder, name, help, rows)?;
        }
        let mut lives = BTreeMap::<_, u64>::new();
        let serving = self.status.plugins.iter().filter_map(|plugin| plugin.active.as_ref());
        for generation in serving.chain(&self.status.retired) {
            if let Some(life) = life(generation) {
                *lives.entry((generation.plugin.as_str(), life)).or_default() += 1;
            }
        }
        let rows = lives.into_iter().map(|((p, life), n)| ([("plugin", p), ("life", life)], n));
        let help = "Generations in memory by where they are in their life.";
        gauges(encoder, "hotseat_generations", help, rows)?;
        let rows =
            self.dropped.iter().map(|(p, why, n)| ([("plugin", p.as_str()), ("reason", *why)], *n));
        let help = "Values of plugins' own metrics that were not recorded.";
        counters(encoder, "hotseat_dropped_metrics", help, rows)
    }

    fn process(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let status = &self.status;
        let ready = status.readiness().why_not().is_none();
        let started = status.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let waiting = status.orders.iter().filter(|order| order.state == "waiting").count();
        for (name, help, value) in [
            ("hotseat_ready", "1 where /readyz answers 200.", u64::from(ready)),
            ("hotseat_start_time_seconds", "When the process started, in Unix time.", started),
            ("hotseat_resident_memory_bytes", "Memory of the process.", status.rss_bytes),
            (
                "hotseat_resident_libraries",
                "Libraries still mapped although their generation ended.",
                count(status.resident_count),
            ),
            ("hotseat_waiting_orders", "Orders in the queue.", count(waiting)),
        ] {
            gauge(encoder, name, help, value)?;
        }
        let core = |core: usize| [("core", core.to_string())];
        let rows = status.cores.iter().map(|c| (core(c.core), count(c.connections)));
        gauges(encoder, "hotseat_connections", "Open connections of the data plane.", rows)?;
        let rows = status.cores.iter().map(|c| (core(c.core), u64::from(c.blocked.is_some())));
        gauges(encoder, "hotseat_blocked_cores", "1 where a plugin blocks the thread.", rows)
    }
}

impl Collector for HostFamilies {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let build = Info::new([("version", self.status.host_version)]);
        let help = "The host's version.";
        build.encode(encoder.encode_descriptor(
            "hotseat_build",
            help,
            None,
            MetricType::Info,
        )?)?;
        self.process(encoder)?;
        self.plugins(encoder)?;
        let orders = self.orders.iter();
        let rows = orders.map(|((verb, end), n)| ([("verb", *verb), ("outcome", *end)], *n));
        counters(encoder, "hotseat_orders", "Ended orders by change or refusal.", rows)?;
        let rows = self.unloads.iter().map(|(outcome, n)| ([("outcome", *outcome)], *n));
        counters(encoder, "hotseat_unloads", "Ended generations by what became of them.", rows)
    }
}
