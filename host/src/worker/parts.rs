//! The parts of a worker, each made on its own.
//!
//! Owns what each thread is given; [`Worker::start`](super::Worker::start) owns the order.

use std::{
    collections::BTreeSet,
    os::fd::OwnedFd,
    path::Path,
    sync::{
        Arc, OnceLock,
        mpsc::{self, Receiver},
    },
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context as _;

use super::{
    Halt, Lead, Legacy, Numbering, Sockets,
    picture::{self, Picture, StageCell},
    traffic,
    wear::Wear,
};
use crate::{
    artifact::Store,
    cells::{self, CellError, Cells},
    config::{Config, Limits, Recycle, UnloadPolicy},
    deploy::{
        Withdrawal,
        candidate::Workshop,
        ceiling::CeilingThread,
        desk::Desk,
        keeping::Keeping,
        pipeline::{Pipeline, Reports},
        record::{Handed, Record},
        renewal::Renewal,
        room::Room,
        settings::{Origin, Settings, log_levels, memory_rules},
        standing::Standing,
        upkeep::Upkeep,
    },
    error::Coded as _,
    event::{EVENTS_COUNT, Events},
    ids::PluginName,
    log,
    metrics::Metrics,
    plugin::{
        blocking::BlockingPool,
        hooks,
        reaper::{GRACE, Reaper, ReaperHandle, ReaperRules, Unloading},
        services::{MetricSink, Services},
        topics::{TopicLimits, Topics},
    },
    route::{Roster, Routes, Tally},
    serve::{DataPlane, HealthSource, Socket},
    state::{self, StateDir, history::Entry},
    status::{Address, Beside, Left},
    sys::{clock::since_boot, keep, path::PathError},
    watch::{WatchConfig, Watcher},
};

/// Between two looks at whether the start is given up.
const HALT_LOOK: Duration = Duration::from_millis(50);

/// What the threads share.
pub(super) struct Base {
    pub(super) events: Events,
    pub(super) roster: Roster,
    pub(super) metrics: Arc<Metrics>,
    pub(super) store: Arc<Store>,
    pub(super) settings: Arc<Settings>,
    pub(super) record: Arc<Record>,
    pub(super) upkeep: (Upkeep, CeilingThread, Keeping),
    pub(super) desk: Desk,
    pub(super) routes: Arc<Routes>,
    pub(super) tally: Tally,
    pub(super) wear: Arc<Wear>,
    pub(super) cells: Arc<Cells>,
}

impl Base {
    pub(super) fn open(
        config: &Config,
        state: StateDir,
        (legacy, settings): (Legacy, (Standing, Option<Origin>)),
        lead: &Lead,
    ) -> anyhow::Result<Self> {
        let Legacy { carried, manifest, numbering, cells, deeds } = legacy;
        let settings = self::settings(config, &state, settings);
        let (cells, on_disk) = self::cells(config, cells, state.path())?;
        let cells = Arc::new(cells);
        // The handlers of the process are in place, and no plugin is.
        keep::note();
        let limits = &config.limits;
        let store = Store::of_host(state.path());
        store.carry(carried);
        let Numbering { events, next, marks } = numbering;
        let handed = Handed { manifest, renewed: lead.renewed.clone(), next, marks };
        let record = Record::open(state, limits, handed).context("read the state")?;
        let known = record.recent();
        let is_new = |deed: &Entry| !known.iter().any(|it| it.tells_the_same(deed));
        // A worker that did not come up may have written them.
        deeds.into_iter().filter(is_new).for_each(|deed| record.append(deed));
        let (store, record) = (Arc::new(store), Arc::new(record));
        let keeping = Keeping::start(&record, &cells, &on_disk)
            .context("start the thread that keeps cells")?;
        let upkeep = Upkeep::start(&record, &store, limits.state_probe);
        let events = events
            .unwrap_or_else(|| Events::after(EVENTS_COUNT, record.first_event().saturating_sub(1)));
        let desk = Desk::new(limits.queue_count, events.clone());
        let given = record.clone();
        desk.number_from(record.first_order(), move |number| given.order_given(number));
        desk.remember(&record.recent());
        let routes = Arc::<Routes>::default();
        let tables = settings.tables();
        log::set_levels(&log_levels(&tables));
        let rules = memory_rules(&tables);
        let ceilings = CeilingThread::start(rules, routes.clone(), desk.clone(), events.clone());
        let ceilings = ceilings.context("start the ceiling thread")?;
        Ok(Self {
            roster: Roster::new(limits.retired_count, events.clone()),
            metrics: Arc::new(Metrics::new(limits.series_count)),
            store,
            settings,
            record,
            upkeep: (upkeep.context("start the upkeep of the state")?, ceilings, keeping),
            desk,
            routes,
            tally: Tally::default(),
            wear: Arc::default(),
            cells,
            events,
        })
    }
}

/// The plugins' own settings: what the worker before has left, else what the file says.
fn settings(
    config: &Config,
    state: &StateDir,
    (standing, origin): (Standing, Option<Origin>),
) -> Arc<Settings> {
    // Of one host, over all its workers.
    let salt = state.token().unwrap_or_default().to_owned();
    Arc::new(Settings::new(config.plugins.clone(), standing, origin, salt))
}

pub(super) fn workshop(
    config: &Arc<Config>,
    base: &Base,
    services: Services,
    reaper: ReaperHandle,
) -> Workshop {
    Workshop {
        config: config.clone(),
        settings: base.settings.clone(),
        store: base.store.clone(),
        services,
        reaper,
        roster: base.roster.clone(),
        events: base.events.clone(),
        room: Room::new((!config.single).then_some(config.limits.static_tls)),
    }
}

/// The cells of the host, or new ones, with what the disk has of them; and of which plugins the disk
/// is to have them.
///
/// # Errors
/// Those that there are would be lost.
fn cells(
    config: &Config,
    file: Option<OwnedFd>,
    folder: &Path,
) -> anyhow::Result<(Cells, BTreeSet<PluginName>)> {
    let made = file.map_or_else(cells::make, Ok);
    let file = match made {
        Ok(file) => file,
        Err(error) => {
            let why = match CellError::from(error) {
                CellError::Unavailable(why) => why,
                other => other.to_string(),
            };
            tracing::warn!("plugins have no cells: the system gives no file for them: {why}");
            return Ok((Cells::unavailable(why), BTreeSet::new()));
        }
    };
    let cells = Cells::adopt(file, config.limits.of_cells())?;
    let plugins = &config.cells_on_disk;
    let read = |plugin: &PluginName| {
        let told = |error: &PathError| {
            tracing::error!(plugin = plugin.as_str(), hint = error.hint(), "{error}");
        };
        state::cells::read(folder, plugin).inspect_err(told).ok()
    };
    let left_out = cells.seed(plugins, read).unwrap_or_else(|error| {
        tracing::error!(%error, "the cells on the disk could not be taken in");
        plugins.clone()
    });
    for plugin in &left_out {
        tracing::warn!(
            plugin = plugin.as_str(),
            "the disk has cells that were not taken in: they stay there as they are, and what is \
             changed until the host is started anew is in memory alone"
        );
    }
    Ok((cells, plugins - &left_out))
}

/// Brings what the pipeline does to whoever leads the worker.
pub(super) fn reports(base: &Base, lead: Lead, residents: Residents) -> Reports {
    let (routes, store, record) = (base.routes.clone(), base.store.clone(), base.record.clone());
    let settings = base.settings.clone();
    let (serving, wear, roster) = (lead.serving, base.wear.clone(), base.roster.clone());
    Reports {
        in_traffic: Arc::new(move || {
            serving(traffic::of(&routes.load(), &store, &record, &settings))
        }),
        progress: lead.progress,
        held: lead.held,
        load_failed: Arc::new(move || {
            wear.note_unload(roster.leaving_count());
            residents.look();
        }),
        ceilings: base.upkeep.1.handle(),
    }
}

/// Why nothing can be unloaded, if that is so.
pub(super) fn broken_hooks() -> Option<String> {
    let never_unload = hooks::complaint();
    if let Some(why) = never_unload {
        tracing::error!("the unload hooks are not in place: {why}");
    }
    if let Some(why) = hotseat_unload::complaint() {
        tracing::error!(why, "the census of what others keep of a library is not whole");
    }
    never_unload.map(str::to_owned)
}

/// How long an order waits for another worker, beyond what an upgrade that runs and workers that drain
/// may still take: no more than `draining_count` do so at one time.
const RENEWAL_TIME: Duration = Duration::from_secs(5);

pub(super) fn renewal(config: &Config, base: &Base, lead: &Lead) -> Arc<Renewal> {
    let ask = lead.renew.clone().filter(|_| config.recycle == Recycle::Auto);
    let limits = &config.limits;
    let busy = limits.freeze_time + limits.soak_time + limits.upgrade_drain;
    let patience = busy + RENEWAL_TIME;
    Arc::new(Renewal::new(ask, base.desk.clone(), patience))
}

/// Has the worker renewed where too much stays in it.
#[derive(Clone)]
pub(super) struct Residents {
    roster: Roster,
    renewal: Arc<Renewal>,
    bound: usize,
}

impl Residents {
    fn new(config: &Config, base: &Base, broken: Option<&str>, renewal: &Arc<Renewal>) -> Self {
        // Who asked for a worker that unloads nothing does not want another one.
        let unloads = never(config, broken).is_none();
        let bound = if unloads { config.limits.resident_count } else { usize::MAX };
        Self { roster: base.roster.clone(), renewal: renewal.clone(), bound }
    }

    /// Something may have come to stay.
    fn look(&self) {
        let count = self.roster.resident_count();
        if count >= self.bound {
            self.renewal.suggest(&format!("{count} libraries stay resident"));
        }
    }
}

pub(super) fn start_reaper(
    config: &Config,
    base: &Base,
    broken: Option<&str>,
    renewal: &Arc<Renewal>,
) -> anyhow::Result<(Reaper, Residents)> {
    let residents = Residents::new(config, base, broken, renewal);
    let rules = ReaperRules {
        never: never(config, broken),
        stop_time: config.limits.plugin_stop_time,
        purge_time: config.limits.purge_time,
        grace: GRACE,
    };
    let (roster, metrics) = (base.roster.clone(), base.metrics.clone());
    let (wear, looks) = (base.wear.clone(), residents.clone());
    let report = move |report| {
        picture::count(&metrics, &report);
        let unloaded = report.state == Unloading::Unloaded;
        let left = unloaded.then(|| wear.note_unload(roster.leaving_count())).flatten();
        roster.report(report, left.map(|figures| Left(figures.by_name())));
        looks.look();
    };
    Ok((Reaper::start(rules, report).context("start the reaper")?, residents))
}

pub(super) fn picture(
    config: &Arc<Config>,
    base: &Base,
    sockets: &Sockets,
    never_unload: Option<String>,
    lead: Lead,
) -> anyhow::Result<Arc<Picture>> {
    Ok(Arc::new(Picture {
        config: config.clone(),
        listen: addresses(&sockets.data)?,
        control: addresses(&sockets.control)?,
        started: SystemTime::now(),
        up_from: since_boot(),
        stage: StageCell::default(),
        never_unload,
        desk: base.desk.clone(),
        routes: base.routes.clone(),
        roster: base.roster.clone(),
        tally: base.tally.clone(),
        record: base.record.clone(),
        plane: OnceLock::new(),
        wear: base.wear.clone(),
        cells: base.cells.clone(),
        lead,
    }))
}

pub(super) fn start_plane(
    config: &Config,
    base: &Base,
    picture: &Arc<Picture>,
) -> anyhow::Result<Arc<DataPlane>> {
    let health = picture.clone();
    let ask = Arc::new(move || health.health());
    let first_step = Address::deploy_command(&picture.control, &config.example_library()).into();
    let health = HealthSource { ask, first_step };
    let plane = DataPlane::start(config, &base.routes, &base.tally, &health);
    let plane = Arc::new(plane.context("start the data plane")?);
    let names = picture.clone();
    let plugin_of = Arc::new(move |generation| names.plugin_of(generation));
    plane.on_stuck(picture.lead.stuck.clone(), plugin_of);
    // Set once, here.
    let _ = picture.plane.set(plane.clone());
    let _ = base.wear.plane.set(plane.clone());
    Ok(plane)
}

pub(super) fn start_pool(limits: &Limits) -> anyhow::Result<Arc<BlockingPool>> {
    let pool = BlockingPool::start(limits.blocking_threads, limits.blocking_queue_count);
    Ok(Arc::new(pool.context("start the blocking pool")?))
}

/// What plugins may ask of this worker.
pub(super) fn services(
    limits: &Limits,
    base: &Base,
    plane: &DataPlane,
    (timer, blocking): (tokio::runtime::Handle, Arc<BlockingPool>),
) -> Services {
    let topics = TopicLimits {
        topics_count: limits.topics_count,
        subscribers_count: limits.subscribers_count,
        waiting_bytes: usize::try_from(limits.topic_bytes).unwrap_or(usize::MAX),
    };
    Services {
        threads: plane.threads(),
        tasks_count: limits.tasks_count,
        topics: Topics::new(topics),
        cells: base.cells.clone(),
        ..Services::new(base.metrics.clone(), timer, blocking)
    }
}

pub(super) fn start_watcher(
    config: &Config,
    base: &Base,
    serves: bool,
) -> anyhow::Result<Option<Watcher>> {
    let Some(dir) = config.plugins_dir.clone() else { return Ok(None) };
    let watch = WatchConfig {
        dir,
        serves,
        mode: config.watch,
        follow_links: config.follow_links,
        library_bytes: config.limits.library_bytes,
        debounce: config.limits.debounce,
        rescan: config.limits.rescan,
    };
    let Base { desk, record, events, .. } = base;
    let watcher = Watcher::start(watch, desk.clone(), record.clone(), events.clone());
    Ok(Some(watcher?))
}

/// Starts the pipeline's thread and waits until it has loaded what was committed.
pub(super) fn begin(
    mut pipeline: Pipeline,
    desk: &Desk,
    (withdraw, first): (Vec<Withdrawal>, bool),
    halt: &Halt,
) -> std::io::Result<Receiver<Pipeline>> {
    let (booted, boot) = mpsc::sync_channel(1);
    let (give_back, ended) = mpsc::sync_channel(1);
    let (desk, halt) = (desk.clone(), halt.clone());
    std::thread::Builder::new().name("deploy".to_owned()).spawn(move || {
        let _attendant = desk.attend();
        pipeline.boot(withdraw, first, || halt.is_told());
        pipeline.reserve_numbers(&desk);
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
pub(super) fn first_deploys(watcher: &Watcher, desk: &Desk, limits: &Limits, halt: &Halt) {
    let patience = limits.preflight_time + limits.load_time;
    watcher.wait_for_look(patience);
    let until = Instant::now() + patience;
    // In short pieces, so that the wait can be given up.
    while !halt.is_told() && !desk.settle(HALT_LOOK) && Instant::now() < until {}
    if !halt.is_told() && !desk.settle(Duration::ZERO) {
        tracing::warn!("the first files of the plugins folder are still being deployed");
    }
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

    fn beside(&self, plugin: &PluginName) -> Arc<Beside> {
        Self::beside(self, plugin)
    }
}

/// Why nothing is ever unloaded, if so.
fn never(config: &Config, broken: Option<&str>) -> Option<String> {
    match config.unload {
        UnloadPolicy::Off => Some("unloading is switched off".to_owned()),
        UnloadPolicy::Allow | UnloadPolicy::Require => {
            broken.map(|_| "this host can unload nothing; the status says why".to_owned())
        }
    }
}

fn addresses(sockets: &[Socket]) -> anyhow::Result<Vec<Address>> {
    sockets.iter().map(Socket::address).collect::<Result<_, _>>().context("read an address")
}
