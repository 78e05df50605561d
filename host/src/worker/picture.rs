//! The status of this moment, put together from everybody who knows a part of it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, SystemTime},
};

use hotseat_unload::figures;

use super::{Lead, wear::Wear};
use crate::{
    cells::{Cells, Usage},
    config::Config,
    deploy::{desk::Desk, record::Record},
    ids::{Generation, PluginName},
    log,
    metrics::Metrics,
    plugin::reaper::{Report, Unloading},
    route::{Loaded, Mount, Roster, Routes, Tally},
    serve::{DataPlane, Health, Stuck},
    status::{
        Address, Blocked, CellsStatus, CoreStatus, GenerationStatus, Holder, Life, PluginStatus,
        Readiness, Stage, Status,
    },
};

/// Where everything that the status shows is asked for.
pub(super) struct Picture {
    pub(super) config: Arc<Config>,
    pub(super) listen: Vec<Address>,
    pub(super) control: Vec<Address>,
    pub(super) started: SystemTime,
    pub(super) up_from: Duration,
    pub(super) stage: StageCell,
    pub(super) never_unload: Option<String>,
    pub(super) desk: Desk,
    pub(super) routes: Arc<Routes>,
    pub(super) roster: Roster,
    pub(super) tally: Tally,
    pub(super) record: Arc<Record>,
    pub(super) plane: OnceLock<Arc<DataPlane>>,
    pub(super) wear: Arc<Wear>,
    pub(super) cells: Arc<Cells>,
    pub(super) lead: Lead,
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Picture").field("stage", &self.stage).finish_non_exhaustive()
    }
}

/// The host's stage, readable from every thread.
#[derive(Debug, Default)]
pub(super) struct StageCell(AtomicU8);

impl StageCell {
    pub(super) fn enter(&self, stage: Stage) {
        let code = match stage {
            Stage::Booting => 0,
            Stage::Serving => 1,
            Stage::LameDuck => 2,
            Stage::Draining => 3,
            // Broken is never entered: see `Picture::stage`.
            Stage::Stopping | Stage::Broken => 4,
        };
        self.0.store(code, Ordering::Release);
    }

    /// Makes a serving host a lame duck, or takes that back. False: it does neither any more.
    pub(super) fn lame_duck(&self, on: bool) -> bool {
        let (from, to) = if on { (1, 2) } else { (2, 1) };
        let (won, lost) = (Ordering::AcqRel, Ordering::Acquire);
        self.0.compare_exchange(from, to, won, lost).is_ok() || self.0.load(Ordering::Acquire) == to
    }

    pub(super) fn is_lame_duck(&self) -> bool {
        self.get() == Stage::LameDuck
    }

    fn get(&self) -> Stage {
        match self.0.load(Ordering::Acquire) {
            0 => Stage::Booting,
            1 => Stage::Serving,
            2 => Stage::LameDuck,
            3 => Stage::Draining,
            _ => Stage::Stopping,
        }
    }
}

/// Counts how a generation ended.
pub(super) fn count(metrics: &Metrics, report: &Report) {
    match report.state {
        Unloading::Unloaded => metrics.generation_ended(true),
        Unloading::Resident(_) => metrics.generation_ended(false),
        Unloading::Pending(_) => {}
    }
}

impl Picture {
    /// The whole picture. Asks the data threads, which takes as long as one of them is blocked, up
    /// to a limit.
    pub(super) fn status(&self) -> Status {
        let mut holders: Holders = BTreeMap::new();
        for (generation, holder) in self.plane().map(|it| it.holders()).unwrap_or_default() {
            holders.entry(generation).or_default().push(holder);
        }
        let views = self.plane().map(|it| it.cores()).unwrap_or_default();
        add_blocked(&mut holders, views.into_iter().filter_map(|view| view.stuck));
        self.with(holders)
    }

    /// The picture without who is in flight. Waits for nobody.
    pub(super) fn outline(&self) -> Status {
        self.with(BTreeMap::new())
    }

    fn with(&self, mut holders: Holders) -> Status {
        let mut retired = self.roster.list();
        for generation in &mut retired {
            generation.holders = holders.remove(&generation.generation).unwrap_or_default();
            generation.holder_count = generation.holders.len();
        }
        let resident = |it: &&GenerationStatus| matches!(it.life, Life::Resident(_));
        let resident_count = retired.iter().filter(resident).count();
        let table = self.routes.load();
        let (processes, upgrade, totals) = (self.lead.processes)();
        Status {
            host_version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            started: self.started,
            up_from: Some(self.up_from),
            stage: self.stage(),
            listen: self.listen.clone(),
            control: self.control.clone(),
            state_dir: self.config.state_dir.clone(),
            plugins_dir: self.config.plugins_dir.clone(),
            example_library: self.config.example_library(),
            files: self.record.noted(),
            never_unload: self.never_unload.clone(),
            census: hotseat_unload::complaint().map(str::to_owned),
            plugins: self.plugins(table.mounts(), &holders),
            cells: self.kept(),
            retired,
            resident_count,
            cores: self.cores(),
            evicted: self.plane().map(|it| it.evicted()).unwrap_or_default(),
            thin: self.plane().map(|it| it.thin()).unwrap_or_default(),
            log_dropped: log::dropped(),
            own_answers: self.plane().map(|it| it.own_answers()).unwrap_or_default(),
            orders: self.desk.orders(),
            missing: missing(table.mounts()),
            unwritable: self.record.unwritable(),
            rss_bytes: figures::rss_bytes(),
            c_heap_bytes: figures::heap_bytes(),
            growth: self.wear.growth(),
            processes,
            upgrade,
            totals,
            connections: self.plane().map(|it| it.classes()).unwrap_or_default(),
        }
    }

    fn kept(&self) -> Vec<CellsStatus> {
        let on_disk = &self.config.cells_on_disk;
        let usage = self.cells.usage().unwrap_or_default().into_iter();
        let some = usage.filter(|it| it.count > 0);
        some.map(|Usage { plugin, count, bytes, .. }| {
            let on_disk = on_disk.contains(&plugin);
            CellsStatus { plugin, count, bytes, on_disk }
        })
        .collect()
    }

    fn stage(&self) -> Stage {
        match self.stage.get() {
            Stage::Serving if self.desk.is_broken() => Stage::Broken,
            stage => stage,
        }
    }

    fn plane(&self) -> Option<&Arc<DataPlane>> {
        self.plane.get()
    }

    fn plugins(&self, mounts: &[Mount], holders: &Holders) -> Vec<PluginStatus> {
        let mut plugins: BTreeMap<&PluginName, Placed<'_>> = BTreeMap::new();
        for mount in mounts {
            let known = plugins.entry(&mount.rule.plugin).or_default();
            known.0.push(mount.to_string());
            known.1 = mount.loaded.as_ref();
        }
        let warned = self.record.warned();
        for name in warned.keys() {
            plugins.entry(name).or_default();
        }
        let status = |(name, (mounts, loaded)): (&PluginName, Placed<'_>)| PluginStatus {
            name: name.clone(),
            mounts,
            active: loaded.map(|loaded| serving(loaded, holders)),
            kept: self.record.kept(name),
            warning: warning(warned.get(name).cloned(), loaded.and_then(outgrown)),
            counts: self.tally.of(name),
        };
        plugins.into_iter().map(status).collect()
    }

    fn cores(&self) -> Vec<CoreStatus> {
        let views = self.plane().map(|it| it.cores()).unwrap_or_default();
        let status = |(core, view): (usize, crate::serve::CoreView)| CoreStatus {
            core,
            connections: view.connections,
            blocked: view.stuck.map(|Stuck { doing, request, generation, since }| {
                let code = generation.and_then(|it| Some((self.plugin_of(it)?, it)));
                Blocked { code, doing, request, since }
            }),
        };
        views.into_iter().enumerate().map(status).collect()
    }

    pub(super) fn plugin_of(&self, generation: Generation) -> Option<PluginName> {
        let table = self.routes.load();
        let serving = table.mounts().iter().filter_map(|mount| mount.loaded.as_ref());
        let mut serving = serving.filter(|loaded| loaded.version.generation == generation);
        serving.next().map(|loaded| loaded.plugin.clone()).or_else(|| {
            let retired = self.roster.list();
            retired.into_iter().find(|it| it.generation == generation).map(|it| it.plugin)
        })
    }

    /// Whether the host is ready. Waits for nobody.
    pub(super) fn readiness(&self) -> Readiness {
        let table = self.routes.load();
        Readiness {
            stage: self.stage(),
            missing: missing(table.mounts()),
            serves: table.mounts().iter().any(|mount| mount.loaded.is_some()),
            turns: self.plane().is_none_or(|plane| plane.turns()),
            unwritable: self.record.unwritable(),
        }
    }

    /// The same for the data plane.
    pub(super) fn health(&self) -> Health {
        let readiness = self.readiness();
        let status = readiness.http_status(self.config.lame_status);
        Health { status, text: readiness.page() }
    }
}

/// Who is in flight, by generation.
type Holders = BTreeMap<Generation, Vec<Holder>>;

/// A thread that is blocked cannot say whom it serves; what blocks it is known all the same.
fn add_blocked(holders: &mut Holders, blocked: impl Iterator<Item = Stuck>) {
    for Stuck { request, generation, since: age, .. } in blocked {
        let (Some((request, path)), Some(generation)) = (request, generation) else { continue };
        let known = holders.entry(generation).or_default();
        // It may have answered in between.
        if known.iter().all(|holder| holder.request != request) {
            let unknown = || "-".to_owned();
            let (method, peer) = (unknown(), unknown());
            known.push(Holder { request, method, path, doing: "blocked", age, peer });
        }
    }
}

/// Where a plugin is mounted, and what serves there.
type Placed<'a> = (Vec<String>, Option<&'a Arc<Loaded>>);

fn missing(mounts: &[Mount]) -> Vec<String> {
    mounts.iter().filter(|mount| mount.loaded.is_none()).map(ToString::to_string).collect()
}

/// What is to be said of a plugin: how it has booted, and whether it has too much memory.
fn warning(booted: Option<String>, over: Option<String>) -> Option<String> {
    match (booted, over) {
        (Some(booted), Some(over)) => Some(format!("{booted}; {over}")),
        (one, other) => one.or(other),
    }
}

/// That its heap has outgrown its limit, with what it holds now.
fn outgrown(loaded: &Arc<Loaded>) -> Option<String> {
    Some(loaded.over()?.text(loaded.heap().map_or(0, |heap| heap.held)))
}

fn serving(loaded: &Arc<Loaded>, holders: &Holders) -> GenerationStatus {
    let version = &loaded.version;
    GenerationStatus {
        generation: version.generation,
        plugin: loaded.plugin.clone(),
        label: version.label.clone(),
        digest: version.digest,
        life: Life::Serving,
        since: loaded.since,
        holders: Vec::new(),
        holder_count: holders.get(&version.generation).map_or(0, Vec::len),
        heap: loaded.heap(),
        config: loaded.settings_digest.clone(),
        leaves: loaded.leaves.clone(),
        left: None,
        threads: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_blocks_a_thread_holds_its_generation_once() {
        let mut holders = Holders::new();
        let stuck = || Stuck {
            doing: "request",
            request: Some((7, "/slow".to_owned())),
            generation: Some(Generation(3)),
            since: Duration::from_secs(5),
        };
        add_blocked(&mut holders, [stuck(), stuck()].into_iter());
        let listed = &holders[&Generation(3)];
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].request, &*listed[0].path, listed[0].doing), (7, "/slow", "blocked"));
    }
}
