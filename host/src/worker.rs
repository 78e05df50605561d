//! One worker: the threads that serve, put together.
//!
//! Owns their order of birth and death. Gets listeners, state folder and configuration passed in;
//! reads no argument, environment variable or signal, so that a master process can start it
//! unchanged.
//!
//! # Invariants
//! - Every thread that runs for the life of the worker exists before the first plugin is opened:
//!   a constructor that hangs holds the loader's lock, and a new thread would wait for it.
//! - Nothing is accepted on the data plane before what was committed is loaded.

mod asker;
mod control;
mod picture;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver},
    },
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context as _;

use crate::{
    artifact::Store,
    config::{Config, Limits, UnloadPolicy},
    deploy::{boot, candidate::Workshop, desk::Desk, pipeline::Pipeline, record::Record},
    event::{Events, Phase},
    ids::PluginName,
    metrics::Metrics,
    plugin::{
        blocking::BlockingPool,
        hooks,
        reaper::{GRACE, Reaper, ReaperRules},
        services::{MetricSink, Services},
    },
    route::{Drains, Roster, Routes, Table, Tally},
    serve::{DataPlane, HealthSource, Socket},
    state::StateDir,
    status::{Address, Stage},
    sys,
    watch::{WatchConfig, Watcher},
};

use self::{
    control::Control,
    picture::{Picture, StageCell},
};

/// Between two looks at whether the start is given up.
const HALT_LOOK: Duration = Duration::from_millis(50);

/// Events kept for a slow listener.
const EVENT_BACKLOG: usize = 1024;

/// Sockets that were bound before the worker began.
#[derive(Debug)]
pub struct Sockets {
    /// Data plane.
    pub data: Vec<Socket>,
    /// Control plane.
    pub control: Vec<Socket>,
    /// `/livez` and `/readyz` for other machines.
    pub health: Vec<Socket>,
}

/// Tells a worker that is still starting to give up. Clones tell the same one.
#[derive(Clone, Debug, Default)]
pub struct Halt(Arc<AtomicBool>);

impl Halt {
    /// Nothing more is loaded and nothing is accepted.
    pub fn tell(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_told(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A worker that serves.
#[derive(Debug)]
pub struct Worker {
    config: Arc<Config>,
    picture: Arc<Picture>,
    plane: Arc<DataPlane>,
    desk: Desk,
    events: Events,
    reaper: Reaper,
    record: Arc<Record>,
    drains: Arc<Drains>,
    watcher: Option<Watcher>,
    /// Comes back, with everything that serves, once the desk is closed.
    pipeline: Receiver<Pipeline>,
    control: Control,
}

impl Worker {
    /// Loads what was committed, then serves, unless `halt` says that it is to stop at once.
    ///
    /// # Errors
    /// A thread cannot be made or the state cannot be read. What is wrong with a plugin is none:
    /// its mount answers 503.
    pub fn start(
        config: Config,
        sockets: Sockets,
        state: StateDir,
        halt: &Halt,
    ) -> anyhow::Result<Self> {
        let config = Arc::new(config);
        let base = Base::open(&config, state)?;
        let never_unload = hooks::self_test().err();
        if let Some(why) = &never_unload {
            tracing::error!(why, "the unload hooks are not in place: nothing will be unloaded");
        }
        let limits = &config.limits;
        let pool = BlockingPool::start(limits.blocking_threads, limits.blocking_queue_count);
        let pool = Arc::new(pool.context("start the blocking pool")?);
        let reaper = start_reaper(&config, &base, never_unload.as_deref())?;
        let picture = picture(&config, &base, &sockets, never_unload)?;
        let plane = start_plane(&config, &base, &picture)?;
        let drains = Drains::start(limits.generation_drain, plane.cutter());
        let drains = Arc::new(drains.context("start the drain thread")?);
        let backend = control::backend(&picture, &base.events, &base.metrics)?;
        let (control, timer) = Control::start(&sockets.control, &sockets.health, backend)
            .context("start the control plane")?;
        let watcher = start_watcher(&config, &base)?;
        let services = Services { metrics: base.metrics.clone(), timer, blocking: pool };
        let Base { events, roster, metrics, store, record, desk, routes, .. } = base;
        let workshop = Workshop {
            config: config.clone(),
            store,
            services,
            reaper: reaper.handle(),
            roster,
            events: events.clone(),
        };
        let pipeline = Pipeline {
            workshop,
            record: record.clone(),
            routes,
            drains: drains.clone(),
            metrics,
            active: BTreeMap::new(),
        };
        let pipeline = begin(pipeline, &desk, halt).context("start the deploy thread")?;
        let watching = watcher.as_ref().filter(|_| !halt.is_told());
        // A host without a history has nothing to serve before its folder was looked at; any other
        // serves what was committed first.
        let fresh = record.committed().is_empty();
        if let Some(watcher) = watching.filter(|_| fresh) {
            watcher.begin();
            first_deploys(watcher, &desk, limits, halt);
        }
        if !halt.is_told() {
            plane.accept(&sockets.data).context("accept connections")?;
            picture.stage.enter(Stage::Serving);
            events.publish(Phase::Ready, |_| ());
        }
        if let Some(watcher) = watching.filter(|_| !fresh) {
            watcher.begin();
        }
        Ok(Self {
            config,
            picture,
            plane,
            desk,
            events,
            reaper,
            record,
            drains,
            watcher,
            pipeline,
            control,
        })
    }

    /// Begins to stop: no new connection, no new order. What serves goes on serving whoever is
    /// there already, and is told that it has `stop_time`. Waits for nothing.
    pub fn begin_stop(&self) {
        self.picture.stage.enter(Stage::Stopping);
        self.plane.stop_accepting();
        let table = self.picture.routes.load();
        let serving = table.mounts().iter().filter_map(|mount| mount.loaded.clone());
        self.drains.stop(serving, self.config.limits.stop_time);
        self.desk.close();
        // Only now is it true: whoever hears it is refused from here on.
        self.events.publish(Phase::Stopping, |_| ());
    }

    /// Connections that are still finishing what was in flight.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.plane.connection_count()
    }

    /// Ends what is left: requests, plugins, threads, in this order.
    pub fn end(self) {
        let limits = &self.config.limits;
        self.plane.end();
        // An order that is under way ends first; its preflight and load have limits.
        let patience = limits.preflight_time + limits.load_time;
        let pipeline = self.pipeline.recv_timeout(patience);
        if pipeline.is_err() {
            tracing::warn!("the deploy thread has not ended: its plugins are not stopped");
        }
        // Every order is answered by now: what was never carried out is forgotten here, and comes
        // again at the next start.
        drop(self.watcher);
        self.picture.routes.store(Table::default());
        drop(pipeline);
        let left = self.reaper.shut_down(Instant::now() + limits.plugin_stop_time);
        match left {
            0 => {}
            usize::MAX => tracing::warn!("the reaper did not answer in time"),
            left => tracing::warn!(left, "plugins did not stop in time"),
        }
        self.control.end();
        self.record.flush();
    }
}

/// Starts the pipeline's thread and waits until it has loaded what was committed.
fn begin(mut pipeline: Pipeline, desk: &Desk, halt: &Halt) -> std::io::Result<Receiver<Pipeline>> {
    let (booted, boot) = mpsc::sync_channel(1);
    let (give_back, ended) = mpsc::sync_channel(1);
    let (desk, halt) = (desk.clone(), halt.clone());
    std::thread::Builder::new().name("deploy".to_owned()).spawn(move || {
        let _attendant = desk.attend();
        pipeline.active =
            boot::load_committed(&pipeline.workshop, &pipeline.record, || halt.is_told());
        let mounts = &pipeline.workshop.config.mounts;
        pipeline.routes.store(Table::build(mounts, &pipeline.active));
        // Whoever waits is there: it is `begin`.
        let _ = booted.send(());
        // Nobody takes it when the end of the host did not wait as long.
        let _ = give_back.send(pipeline.run(&desk));
    })?;
    // An error means that the thread has panicked; the desk says so to whoever orders.
    let _ = boot.recv();
    Ok(ended)
}

/// Waits for what lies in the folder at the first start, at most as long as one library that hangs
/// may take.
fn first_deploys(watcher: &Watcher, desk: &Desk, limits: &Limits, halt: &Halt) {
    let patience = limits.preflight_time + limits.load_time;
    watcher.wait_for_look(patience);
    let until = Instant::now() + patience;
    // In short pieces, so that the wait can be given up.
    while !halt.is_told() && !desk.settle(HALT_LOOK) && Instant::now() < until {}
    if !halt.is_told() && !desk.settle(Duration::ZERO) {
        tracing::warn!("the first files of the plugins folder are still being deployed");
    }
}

/// What the threads share.
struct Base {
    events: Events,
    roster: Roster,
    metrics: Arc<Metrics>,
    store: Arc<Store>,
    record: Arc<Record>,
    desk: Desk,
    routes: Arc<Routes>,
    tally: Tally,
}

impl Base {
    fn open(config: &Config, state: StateDir) -> anyhow::Result<Self> {
        let limits = &config.limits;
        let events = Events::new(EVENT_BACKLOG);
        Ok(Self {
            roster: Roster::new(limits.retired_count, events.clone()),
            metrics: Arc::new(Metrics::new(limits.series_count)),
            store: Arc::new(Store::open(state.path()).context("open the artifact store")?),
            record: Arc::new(Record::open(state, limits).context("read the state")?),
            desk: Desk::new(limits.queue_count, events.clone()),
            routes: Arc::default(),
            tally: Tally::default(),
            events,
        })
    }
}

fn start_reaper(config: &Config, base: &Base, broken: Option<&str>) -> anyhow::Result<Reaper> {
    let rules = ReaperRules {
        never: never(config, broken),
        stop_time: config.limits.plugin_stop_time,
        purge_time: config.limits.purge_time,
        grace: GRACE,
    };
    let (roster, metrics) = (base.roster.clone(), base.metrics.clone());
    let report = move |report| {
        picture::count(&metrics, &report);
        roster.report(report);
    };
    Reaper::start(rules, report).context("start the reaper")
}

fn picture(
    config: &Arc<Config>,
    base: &Base,
    sockets: &Sockets,
    never_unload: Option<String>,
) -> anyhow::Result<Arc<Picture>> {
    Ok(Arc::new(Picture {
        config: config.clone(),
        listen: addresses(&sockets.data)?,
        control: addresses(&sockets.control)?,
        started: SystemTime::now(),
        stage: StageCell::default(),
        never_unload,
        desk: base.desk.clone(),
        routes: base.routes.clone(),
        roster: base.roster.clone(),
        tally: base.tally.clone(),
        record: base.record.clone(),
        plane: OnceLock::new(),
    }))
}

fn start_plane(
    config: &Config,
    base: &Base,
    picture: &Arc<Picture>,
) -> anyhow::Result<Arc<DataPlane>> {
    let health = picture.clone();
    let health = HealthSource(Arc::new(move || health.health()));
    let plane = DataPlane::start(config, &base.routes, &base.tally, &health);
    let plane = Arc::new(plane.context("start the data plane")?);
    // Set once, here.
    let _ = picture.plane.set(plane.clone());
    Ok(plane)
}

fn start_watcher(config: &Config, base: &Base) -> anyhow::Result<Option<Watcher>> {
    let Some(dir) = config.plugins_dir.clone() else { return Ok(None) };
    let watch = WatchConfig {
        dir,
        mode: config.watch,
        library_bytes: config.limits.library_bytes,
        debounce: config.limits.debounce,
        rescan: config.limits.rescan,
    };
    let Base { desk, record, events, .. } = base;
    let watcher = Watcher::start(watch, desk.clone(), record.clone(), events.clone());
    Ok(Some(watcher.context("watch the plugins folder")?))
}

/// Prepares the process for a worker: descriptors and memory arenas.
///
/// Call it once, before any thread is made.
pub fn prepare_process(config: &Config) {
    if let Err(error) = sys::process::raise_descriptor_limit() {
        tracing::warn!(%error, "the limit on descriptors could not be raised");
    }
    sys::process::bound_arenas(config.threads + 2);
}

/// Plugins' metrics join the host's.
impl MetricSink for Metrics {
    fn record(
        &self,
        plugin: &PluginName,
        kind: u32,
        name: &str,
        labels: &[(&str, &str)],
        value: f64,
    ) {
        Self::record(self, plugin, kind, name, labels, value);
    }
}

/// Why nothing is ever unloaded, if so.
fn never(config: &Config, broken: Option<&str>) -> Option<String> {
    match config.unload {
        UnloadPolicy::Off => Some("unloading is switched off".to_owned()),
        UnloadPolicy::Allow | UnloadPolicy::Require => broken.map(str::to_owned),
    }
}

fn addresses(sockets: &[Socket]) -> anyhow::Result<Vec<Address>> {
    sockets.iter().map(Socket::address).collect::<Result<_, _>>().context("read an address")
}
