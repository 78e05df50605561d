//! The host's own families, made from a status and the counts beside it.
//!
//! Owns their names and help lines. Keeps nothing between two scrapes.

use std::{collections::BTreeMap, fmt, sync::Arc, time::UNIX_EPOCH};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge, info::Info},
};

use super::{Ends, Word, left};
use crate::{
    ids::PluginName,
    status::{Beside, Blocked, Classes, Counts, GenerationStatus, Heap, Life, Status, Tally},
    sys::clock::Now,
    upgrade::Verdict,
};

/// One scrape of the host.
#[derive(Debug)]
pub(super) struct HostFamilies {
    pub(super) status: Status,
    pub(super) orders: Ends,
    pub(super) unloads: BTreeMap<Word, u64>,
    pub(super) evicted: u64,
    pub(super) thin: u64,
    pub(super) log_dropped: u64,
    /// By code.
    pub(super) own_answers: BTreeMap<Word, u64>,
    /// Plugin and reason.
    pub(super) dropped: Vec<(String, &'static str, u64)>,
    pub(super) beside: BTreeMap<PluginName, Arc<Beside>>,
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

/// What is shown of each heap.
type OfHeap = (&'static str, &'static str, fn(&Heap) -> u64);

const HEAP_GAUGES: [OfHeap; 3] = [
    ("hotseat_heap_bytes", "Memory that the heap of what serves holds.", |heap| heap.held),
    ("hotseat_heap_peak_bytes", "The most that it has held.", |heap| heap.peak),
    ("hotseat_heap_live_bytes", "What of it is in use.", |heap| heap.live),
];

/// What is shown of what plugins do beside their requests.
type OfBeside = (&'static str, &'static str, fn(&Beside) -> &Tally);

const BESIDE_GAUGES: [OfBeside; 2] = [
    ("hotseat_tasks", "Tasks of the plugin, of all its generations.", |it| &it.tasks),
    ("hotseat_topic_subscribers", "Subscriptions of the plugin's topics.", |it| &it.subscribers),
];

const BESIDE_COUNTERS: [OfBeside; 5] = [
    ("hotseat_task_errors", "Tasks that ended with an error.", |it| &it.task_errors),
    ("hotseat_task_panics", "Tasks that panicked.", |it| &it.task_panics),
    ("hotseat_topic_published", "Messages published in topics.", |it| &it.published),
    ("hotseat_topic_missed", "Messages that a subscriber did not take in time.", |it| &it.missed),
    (
        "hotseat_blocking_rejected",
        "Jobs of the plugin for which the blocking pool had no room.",
        |it| &it.blocking_rejected,
    ),
];

fn of(generation: &GenerationStatus) -> [(&'static str, String); 2] {
    let (plugin, number) = (generation.plugin.to_string(), generation.generation.to_string());
    [("plugin", plugin), ("generation", number)]
}

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

pub(super) fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
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
        self.heaps(encoder)?;
        self.beside(encoder)?;
        let cells = self.status.cells.iter();
        let rows = cells.map(|it| ([("plugin", it.plugin.as_str())], it.count));
        gauges(encoder, "hotseat_cells", "Values that a plugin keeps with the host.", rows)?;
        let cells = self.status.cells.iter();
        let rows = cells.map(|it| ([("plugin", it.plugin.as_str())], it.bytes));
        let help = "What these and their keys come to.";
        gauges(encoder, "hotseat_cells_bytes", help, rows)?;
        left::encode(&self.status, encoder)?;
        let rows =
            self.dropped.iter().map(|(p, why, n)| ([("plugin", p.as_str()), ("reason", *why)], *n));
        let help = "Values of plugins' own metrics that were not recorded.";
        counters(encoder, "hotseat_dropped_metrics", help, rows)
    }

    /// What plugins do beside requests.
    fn beside(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, read) in BESIDE_GAUGES {
            let plugins = self.beside.iter();
            let rows = plugins.map(|(p, beside)| ([("plugin", p.as_str())], read(beside).get()));
            gauges(encoder, name, help, rows)?;
        }
        for (name, help, read) in BESIDE_COUNTERS {
            let plugins = self.beside.iter();
            let rows = plugins.map(|(p, beside)| ([("plugin", p.as_str())], read(beside).get()));
            counters(encoder, name, help, rows)?;
        }
        Ok(())
    }

    /// Of what serves, by generation; of what has left traffic, together: else there would be more
    /// series with each deploy.
    fn heaps(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let serving = self.status.plugins.iter().filter_map(|plugin| plugin.active.as_ref());
        let serving: Vec<_> = serving.filter_map(|it| Some((it, it.heap?))).collect();
        for (name, help, read) in HEAP_GAUGES {
            let rows = serving.iter().map(|(generation, heap)| (of(generation), read(heap)));
            gauges(encoder, name, help, rows)?;
        }
        // No counter: each worker loads the library anew, and a sum of the host's never goes down.
        let rows = serving.iter().map(|(generation, heap)| (of(generation), heap.total));
        let help =
            "Bytes that what serves has taken from its heap since this worker has loaded it.";
        gauges(encoder, "hotseat_heap_taken_bytes", help, rows)?;
        let mut retired = BTreeMap::<_, u64>::new();
        for generation in &self.status.retired {
            if let (Some(heap), Some(_)) = (generation.heap, life(generation)) {
                *retired.entry(generation.plugin.as_str()).or_default() += heap.held;
            }
        }
        let rows = retired.into_iter().map(|(plugin, held)| ([("plugin", plugin)], held));
        let help = "Memory of heaps whose generation has left traffic and is not unloaded.";
        gauges(encoder, "hotseat_retired_heap_bytes", help, rows)?;
        let help = "What malloc has handed out in the process: the host, C libraries, plugins without \
                    an arena.";
        gauge(encoder, "hotseat_c_heap_bytes", help, self.status.c_heap_bytes)
    }

    fn process(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let status = &self.status;
        let ready = status.readiness().why_not().is_none();
        let started = status.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let waiting = status.orders.iter().filter(|order| order.state == "waiting").count();
        for (name, help, value) in [
            ("hotseat_ready", "1 where /readyz answers 200.", u64::from(ready)),
            (
                "hotseat_state_writable",
                "0 where changes are refused because the state folder cannot be written.",
                u64::from(status.unwritable.is_none()),
            ),
            ("hotseat_start_time_seconds", "When the process started, in Unix time.", started),
            (
                "hotseat_uptime_seconds",
                "Since the process started, whatever becomes of the time of day.",
                Now::read().since(status.up_from, status.started).as_secs(),
            ),
            (
                "hotseat_resident_libraries",
                "Libraries still mapped although their generation ended.",
                count(status.resident_count),
            ),
            ("hotseat_waiting_orders", "Orders in the queue.", count(waiting)),
            (
                "hotseat_swap_growth_bytes",
                "Memory that each of the last unloads has left behind; 0 where it does not grow.",
                status.growth.bytes,
            ),
            (
                "hotseat_swap_growth_descriptors_percent",
                "As above, in hundredth parts of a descriptor.",
                status.growth.descriptors_percent,
            ),
        ] {
            gauge(encoder, name, help, value)?;
        }
        // Not known is not 0.
        if let Some(bytes) = status.rss_bytes {
            gauge(encoder, "hotseat_resident_memory_bytes", "Memory of the process.", bytes)?;
        }
        let core = |core: usize| [("core", core.to_string())];
        let rows = status.cores.iter().map(|c| (core(c.core), count(c.connections)));
        gauges(encoder, "hotseat_connections", "Open connections of the data plane.", rows)?;
        let rows = status.cores.iter().map(|c| (core(c.core), u64::from(c.blocked.is_some())));
        gauges(encoder, "hotseat_blocked_cores", "1 where the thread does not turn.", rows)?;
        let blocked = status.cores.iter().filter_map(|c| Some((c.core, c.blocked.as_ref()?)));
        let rows = blocked.map(|(core, Blocked { code, doing, since, .. })| {
            let plugin = code.as_ref().map_or("", |(plugin, _)| plugin.as_str()).to_owned();
            let labels =
                [("core", core.to_string()), ("plugin", plugin), ("doing", (*doing).to_owned())];
            (labels, since.as_secs_f64())
        });
        let help = "For how long the thread has not turned, whose code it runs, and its last work.";
        gauges(encoder, "hotseat_blocked_seconds", help, rows)
    }
}

/// Every end that an upgrade can have.
const UPGRADE_ENDS: [Verdict; 7] = [
    Verdict::Committed,
    Verdict::Preflight,
    Verdict::Boot,
    Verdict::Probe,
    Verdict::RolledBack,
    Verdict::Busy,
    Verdict::Refused,
];

impl HostFamilies {
    /// What concerns the host as a whole. Without a master there is only this process.
    fn house(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let status = &self.status;
        let Classes { fresh, head, idle, busy, h2, upgraded } = status.connections;
        let classes = [
            ("fresh", fresh),
            ("head", head),
            ("idle", idle),
            ("busy", busy),
            ("h2", h2),
            ("upgraded", upgraded),
        ];
        let rows = classes.map(|(class, n)| ([("class", class)], count(n)));
        let help = "Open connections of the data plane by what they are at.";
        gauges(encoder, "hotseat_connections_by_class", help, rows)?;
        if status.processes.is_empty() {
            return Ok(());
        }
        let own = status.processes.iter().find(|process| process.pid == status.pid);
        let number = own.map_or(0, |process| process.number).to_string();
        let worker = Info::new([("pid", status.pid.to_string()), ("number", number)]);
        let help = "The worker that answers.";
        let metric = encoder.encode_descriptor("hotseat_worker", help, None, MetricType::Info)?;
        worker.encode(metric)?;
        let mut roles = BTreeMap::<_, u64>::new();
        for process in &status.processes {
            *roles.entry(process.role.as_str()).or_default() += 1;
        }
        let rows = roles.into_iter().map(|(role, n)| ([("role", role)], n));
        gauges(encoder, "hotseat_processes", "Processes of the host by what they are at.", rows)?;
        let total = |end: Verdict| status.totals.upgrades.get(&end).copied().unwrap_or(0);
        let rows = UPGRADE_ENDS.map(|end| ([("result", end.as_str())], total(end)));
        counters(encoder, "hotseat_upgrades", "Upgrades by how they ended.", rows)?;
        let crashes = ConstCounter::new(status.totals.worker_crashes);
        let (name, help) = ("hotseat_worker_crashes", "Workers that ended unasked.");
        crashes.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        let stuck = ConstCounter::new(status.totals.stuck_workers);
        let (name, help) = ("hotseat_stuck_workers", "Workers replaced because they stood still.");
        stuck.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        let renewed = ConstCounter::new(status.totals.renewed_workers);
        let (name, help) = (
            "hotseat_renewed_workers",
            "Workers replaced because they had used up what no unload gives back.",
        );
        renewed.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
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
        self.house(encoder)?;
        self.plugins(encoder)?;
        let orders = self.orders.iter();
        let rows = orders.map(|((verb, end), n)| ([("verb", &**verb), ("outcome", &**end)], *n));
        counters(encoder, "hotseat_orders", "Ended orders by change or refusal.", rows)?;
        let evicted = ConstCounter::new(self.evicted);
        let (name, help) = (
            "hotseat_evicted_connections",
            "Idle connections closed because a newcomer needed a place.",
        );
        evicted.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        let thin = ConstCounter::new(self.thin);
        let (name, help) =
            ("hotseat_thin_requests", "Requests of HTTP/1.1 that plugins have got past hyper.");
        thin.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        let dropped = ConstCounter::new(self.log_dropped);
        let (name, help) =
            ("hotseat_log_lines_dropped", "Lines of the log that nobody took in time.");
        dropped.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        let rows = self.own_answers.iter().map(|(code, n)| ([("code", &**code)], *n));
        let help = "Requests that the data plane has answered by itself, by its code.";
        counters(encoder, "hotseat_own_answers", help, rows)?;
        let rows = self.unloads.iter().map(|(outcome, n)| ([("outcome", &**outcome)], *n));
        counters(encoder, "hotseat_unloads", "Ended generations by what became of them.", rows)
    }
}
