//! The status as JSON.
//!
//! Owns the keys of `/v1/status` and `/v1/plugins`.

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;

use super::{
    cells::KeptCells,
    order::Order,
    time::rfc3339,
    upgrade::{Classes, Process, Upgrade},
    whole_ms,
};
use crate::{
    status::{self, Life},
    sys::clock::Now,
};

/// `/v1/status`.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Status {
    version: &'static str,
    pid: u32,
    started: String,
    up_ms: Option<u64>,
    stage: &'static str,
    listen: Vec<String>,
    control: Vec<String>,
    working_dir: String,
    state_dir: String,
    plugins_dir: Option<String>,
    files: Vec<File>,
    never_unload: Option<String>,
    census: Option<String>,
    plugins: Vec<Plugin>,
    cells: Vec<KeptCells>,
    retired: Vec<Generation>,
    resident_count: usize,
    residents: Vec<Residents>,
    cores: Vec<Core>,
    orders: Vec<Order>,
    missing: Vec<String>,
    unwritable: Option<Unwritable>,
    rss_bytes: Option<u64>,
    c_heap_bytes: u64,
    growth: Option<Growth>,
    processes: Vec<Process>,
    upgrade: Option<Upgrade>,
    connections: Classes,
    log_dropped: u64,
}

impl Status {
    pub(in crate::admin) fn new(status: &status::Status, working_dir: &Path, now: &Now) -> Self {
        let status::Status {
            host_version: version,
            pid,
            started,
            up_from,
            stage,
            listen,
            control,
            state_dir,
            plugins_dir,
            files,
            never_unload,
            census,
            plugins,
            cells,
            retired,
            resident_count,
            cores,
            orders,
            missing,
            unwritable,
            rss_bytes,
            c_heap_bytes,
            growth,
            processes,
            upgrade,
            connections,
            // Counters are for `/metrics`.
            totals: _,
            own_answers: _,
            evicted: _,
            thin: _,
            log_dropped: _,
            example_library: _,
        } = status;
        Self {
            version,
            pid: *pid,
            started: rfc3339(*started),
            up_ms: up_from.map(|from| whole_ms(now.boot.saturating_sub(from))),
            stage: stage.as_str(),
            listen: listen.iter().map(ToString::to_string).collect(),
            control: control.iter().map(ToString::to_string).collect(),
            working_dir: working_dir.display().to_string(),
            state_dir: state_dir.display().to_string(),
            plugins_dir: plugins_dir.as_ref().map(|path| path.display().to_string()),
            files: files.iter().map(|(path, why)| File::new(path, why)).collect(),
            never_unload: never_unload.clone(),
            census: census.clone(),
            plugins: plugins.iter().map(Plugin::new).collect(),
            cells: cells.iter().map(KeptCells::new).collect(),
            retired: retired.iter().map(Generation::new).collect(),
            resident_count: *resident_count,
            residents: status.residents().into_iter().map(Residents::new).collect(),
            cores: cores.iter().map(Core::new).collect(),
            orders: orders.iter().map(Order::new).collect(),
            missing: missing.clone(),
            unwritable: unwritable.as_ref().map(Unwritable::new),
            rss_bytes: *rss_bytes,
            c_heap_bytes: *c_heap_bytes,
            growth: Growth::new(growth),
            processes: processes.iter().map(|process| Process::new(process, now)).collect(),
            upgrade: upgrade.as_ref().map(Upgrade::new),
            connections: Classes::new(*connections),
            log_dropped: status.all_log_dropped(),
        }
    }
}

/// Libraries of one plugin that stay for one reason.
#[derive(Debug, Serialize)]
struct Residents {
    plugin: String,
    why: String,
    generations: Vec<u64>,
    threads: BTreeMap<String, usize>,
    heap_bytes: u64,
}

impl Residents {
    fn new(residents: status::Residents) -> Self {
        let status::Residents { plugin, why, generations, threads, heap } = residents;
        let generations = generations.into_iter().map(|it| it.0).collect();
        Self { plugin: plugin.to_string(), why, generations, threads, heap_bytes: heap }
    }
}

/// What there is more of after each swap.
#[derive(Debug, Serialize)]
struct Growth {
    swaps: usize,
    descriptors_per_swap: f64,
    bytes_per_swap: u64,
    warning: String,
}

impl Growth {
    fn new(growth: &status::Growth) -> Option<Self> {
        let warning = growth.warning()?;
        let status::Growth { swaps, descriptors_percent, bytes } = *growth;
        // Exact: far below 2^53.
        let descriptors_per_swap =
            f64::from(u32::try_from(descriptors_percent).unwrap_or(u32::MAX)) / 100.0;
        Some(Self { swaps, descriptors_per_swap, bytes_per_swap: bytes, warning })
    }
}

/// A file of the plugins folder that is not deployed.
#[derive(Debug, Serialize)]
struct File {
    path: String,
    why: String,
}

impl File {
    fn new(path: &Path, why: &str) -> Self {
        Self { path: path.display().to_string(), why: why.to_owned() }
    }
}

/// Why nothing can be written down.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Unwritable {
    code: &'static str,
    text: String,
    hint: Option<String>,
    since: String,
}

impl Unwritable {
    pub(in crate::admin) fn new(unwritable: &status::Unwritable) -> Self {
        let status::Unwritable { code, text, hint, since } = unwritable.clone();
        Self { code, text, hint, since: rfc3339(since) }
    }
}

/// `/v1/plugins`.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Plugins {
    plugins: Vec<Plugin>,
}

impl Plugins {
    pub(in crate::admin) fn new(plugins: &[status::PluginStatus]) -> Self {
        Self { plugins: plugins.iter().map(Plugin::new).collect() }
    }
}

/// `/v1/plugins/NAME`.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Plugin {
    name: String,
    mounts: Vec<String>,
    active: Option<Generation>,
    kept: Vec<Kept>,
    warning: Option<String>,
    counts: Counts,
}

impl Plugin {
    pub(in crate::admin) fn new(plugin: &status::PluginStatus) -> Self {
        let status::PluginStatus { name, mounts, active, kept, warning, counts } = plugin;
        let status::Counts { requests, errors, panics, timeouts, cut } = *counts;
        let kept =
            kept.iter().map(|status::KeptVersion { generation, label, digest, rolled_back }| {
                Kept {
                    generation: generation.0,
                    label: label.as_str().to_owned(),
                    digest: digest.to_string(),
                    rolled_back: *rolled_back,
                }
            });
        Self {
            name: name.to_string(),
            mounts: mounts.clone(),
            active: active.as_ref().map(Generation::new),
            kept: kept.collect(),
            warning: warning.clone(),
            counts: Counts { requests, errors, panics, timeouts, cut },
        }
    }
}

#[derive(Debug, Serialize)]
struct Kept {
    generation: u64,
    label: String,
    digest: String,
    rolled_back: bool,
}

#[derive(Debug, Serialize)]
struct Counts {
    requests: u64,
    errors: u64,
    panics: u64,
    timeouts: u64,
    cut: u64,
}

#[derive(Debug, Serialize)]
struct Generation {
    generation: u64,
    plugin: String,
    label: String,
    digest: String,
    life: &'static str,
    why: Option<String>,
    since: String,
    holder_count: usize,
    holders: Vec<Holder>,
    heap: Option<Heap>,
    config: Option<String>,
    leaves: Option<String>,
    left: Option<BTreeMap<&'static str, i64>>,
    threads: BTreeMap<String, usize>,
}

#[derive(Debug, Serialize)]
struct Holder {
    request: u64,
    method: String,
    path: String,
    doing: &'static str,
    age_ms: u64,
    peer: String,
}

impl Generation {
    fn new(generation: &status::GenerationStatus) -> Self {
        let status::GenerationStatus {
            generation,
            plugin,
            label,
            digest,
            life,
            since,
            holders,
            holder_count,
            heap,
            config,
            leaves,
            left,
            threads,
        } = generation;
        let (life, why) = match life {
            Life::Serving => ("serving", None),
            Life::Draining => ("draining", None),
            Life::Pending(why) => ("pending", Some(why.clone())),
            Life::Unloaded => ("unloaded", None),
            Life::Resident(why) => ("resident", Some(why.clone())),
        };
        let holders =
            holders.iter().map(|status::Holder { request, method, path, doing, age, peer }| {
                Holder {
                    request: *request,
                    method: method.clone(),
                    path: path.clone(),
                    doing,
                    age_ms: whole_ms(*age),
                    peer: peer.clone(),
                }
            });
        Self {
            generation: generation.0,
            plugin: plugin.to_string(),
            label: label.as_str().to_owned(),
            digest: digest.to_string(),
            life,
            why,
            since: rfc3339(*since),
            holder_count: *holder_count,
            holders: holders.collect(),
            heap: heap.map(Heap::new),
            config: config.clone(),
            leaves: leaves.as_ref().map(|it| it.text.clone()),
            left: left.as_ref().map(|it| it.0.clone()),
            threads: threads.clone(),
        }
    }
}

/// Units: bytes.
#[derive(Clone, Debug, Serialize)]
pub(in crate::admin) struct Heap {
    held_bytes: u64,
    peak_bytes: u64,
    live_bytes: u64,
    total_bytes: u64,
}

impl Heap {
    pub(in crate::admin) fn new(heap: status::Heap) -> Self {
        let status::Heap { held, peak, live, total } = heap;
        Self { held_bytes: held, peak_bytes: peak, live_bytes: live, total_bytes: total }
    }
}

#[derive(Debug, Serialize)]
struct Core {
    core: usize,
    connections: usize,
    blocked: Option<Blocked>,
}

#[derive(Debug, Serialize)]
struct Blocked {
    plugin: Option<String>,
    generation: Option<u64>,
    doing: &'static str,
    request: Option<u64>,
    path: Option<String>,
    since_ms: u64,
}

impl Core {
    fn new(core: &status::CoreStatus) -> Self {
        let status::CoreStatus { core, connections, blocked } = core;
        let blocked =
            blocked.as_ref().map(|status::Blocked { code, doing, request, since }| Blocked {
                plugin: code.as_ref().map(|(plugin, _)| plugin.to_string()),
                generation: code.as_ref().map(|(_, generation)| generation.0),
                doing,
                request: request.as_ref().map(|(request, _)| *request),
                path: request.as_ref().map(|(_, path)| path.clone()),
                since_ms: whole_ms(*since),
            });
        Self { core: *core, connections: *connections, blocked }
    }
}
