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
//! - Of the workers of a host at most one writes the state, watches the folder and takes orders.

mod advice;
mod asker;
mod control;
mod counts;
mod data;
mod handover;
mod lead;
mod parts;
mod picture;
mod prepare;
mod signal;
mod traffic;
mod wear;

pub use advice::{advice, whole};
pub use handover::FreezeError;
pub use lead::{Birth, Carried, InTraffic, Lead, Legacy, Numbering, Processes, Regained};
pub use prepare::prepare_process;

use std::{
    collections::BTreeMap,
    os::fd::AsRawFd as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::Receiver,
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;

use crate::{
    admin::{Door, Elsewhere, Relay},
    artifact::Store,
    config::Config,
    deploy::{
        ceiling::CeilingThread, desk::Desk, keeping::Keeping, pipeline::Pipeline, record::Record,
        settings::Settings, upkeep::Upkeep,
    },
    event::{Events, Phase},
    metrics::Metrics,
    plugin::reaper::Reaper,
    route::{Drains, Table},
    serve::{DataPlane, Socket},
    state::StateDir,
    status::Stage,
    watch::Watcher,
};

use self::{
    control::Control,
    handover::{Posture, Stance},
    picture::Picture,
};

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

    /// Whether somebody has told it.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A worker that serves, or is about to.
#[derive(Debug)]
pub struct Worker {
    config: Arc<Config>,
    picture: Arc<Picture>,
    plane: Arc<DataPlane>,
    desk: Desk,
    events: Events,
    metrics: Arc<Metrics>,
    store: Arc<Store>,
    settings: Arc<Settings>,
    reaper: Reaper,
    record: Arc<Record>,
    drains: Arc<Drains>,
    watcher: Mutex<Option<Watcher>>,
    upkeep: (Upkeep, CeilingThread, Keeping),
    /// Comes back, with everything that serves, once the desk is closed.
    pipeline: Mutex<Receiver<Pipeline>>,
    control: Control,
    relay: Relay,
    stance: Stance,
    /// `None` once it will never accept again: the sockets are somebody else's then.
    sockets: Mutex<Option<Sockets>>,
    lame_duck: bool,
}

impl Worker {
    /// Loads what was committed, unless `halt` says that it is to stop at once. What comes is
    /// served from [`accept`](Self::accept) on.
    ///
    /// # Errors
    /// A thread cannot be made or the state cannot be read. What is wrong with a plugin is none:
    /// its mount answers 503.
    pub fn start(
        config: Config,
        sockets: Sockets,
        state: StateDir,
        birth: Birth,
        halt: &Halt,
    ) -> anyhow::Result<Self> {
        let Birth { lead, legacy, settings, withdraw, counters, lame_duck, first } = birth;
        let config = Arc::new(config);
        let base = parts::Base::open(&config, state, (legacy, settings), &lead)?;
        counters.iter().for_each(|it| counts::add(&base.metrics, &base.tally, it));
        let never_unload = parts::broken_hooks();
        let pool = parts::start_pool(&config.limits)?;
        let renewal = parts::renewal(&config, &base, &lead);
        let (reaper, residents) =
            parts::start_reaper(&config, &base, never_unload.as_deref(), &renewal)?;
        let picture = parts::picture(&config, &base, &sockets, never_unload, lead.clone())?;
        let plane = parts::start_plane(&config, &base, &picture)?;
        let drains = Drains::start(config.limits.generation_drain, plane.cutter());
        let drains = Arc::new(drains.context("start the drain thread")?);
        let relay = Relay::default();
        let backend = control::backend(&picture, &base.events, &base.metrics, &lead, &relay)?;
        // Where nobody else answers, the start itself can be watched.
        let door = if first { Door::Open } else { Door::Shut };
        let (control, timer) = Control::start(&sockets.control, &sockets.health, door, backend)
            .context("start the control plane")?;
        let watcher = parts::start_watcher(&config, &base, !first)?;
        let services = parts::services(&config.limits, &base, &plane, (timer, pool));
        let reports = parts::reports(&base, lead, residents);
        let workshop = parts::workshop(&config, &base, services, reaper.handle());
        let parts::Base { events, metrics, store, settings, record, desk, routes, upkeep, .. } =
            base;
        let pipeline = Pipeline {
            workshop,
            record: record.clone(),
            routes,
            drains: drains.clone(),
            metrics: metrics.clone(),
            reports,
            renewal,
            active: BTreeMap::new(),
            left_heap: None,
            given_up: false,
        };
        let pipeline = parts::begin(pipeline, &desk, (withdraw, first), halt)
            .context("start the deploy thread")?;
        // A host without a history has nothing to serve before its folder was looked at; any other
        // serves what was committed first.
        let looks_first = first && record.committed().is_empty() && !halt.is_told();
        if let Some(watcher) = watcher.as_ref().filter(|_| looks_first) {
            watcher.begin();
            parts::first_deploys(watcher, &desk, &config.limits, halt);
        }
        Ok(Self {
            config,
            picture,
            plane,
            desk,
            events,
            metrics,
            store,
            settings,
            reaper,
            record,
            drains,
            watcher: Mutex::new(watcher),
            upkeep,
            pipeline: Mutex::new(pipeline),
            control,
            relay,
            stance: Stance::default(),
            sockets: Mutex::new(Some(sockets)),
            lame_duck,
        })
    }

    /// Serves from here on, takes orders and watches the folder. Once.
    ///
    /// # Errors
    /// No descriptor is left; the worker is stopping already.
    pub fn accept(&self) -> anyhow::Result<()> {
        let turned = self.stance.turn(Posture::Starting, Posture::Serving);
        anyhow::ensure!(turned, "the worker serves already, or is stopping");
        if let Some(sockets) = &*lock(&self.sockets) {
            self.plane.accept(&sockets.data).context("accept connections")?;
        }
        self.picture.routes.serve();
        self.control.set(Door::Open, Door::Open);
        self.picture.stage.enter(if self.lame_duck { Stage::LameDuck } else { Stage::Serving });
        self.events.publish(Phase::Ready, |_| ());
        if let Some(watcher) = &*lock(&self.watcher) {
            watcher.begin();
        }
        Ok(())
    }

    /// Makes the worker a lame duck, or takes that back; whoever leads it is not told. False: it
    /// is neither serving nor a lame duck any more.
    #[must_use]
    pub fn lame_duck(&self, on: bool) -> bool {
        self.picture.stage.lame_duck(on)
    }

    /// Begins to stop: no new connection, no new order. What serves goes on serving whoever is
    /// there already, and is told that it has `stop_time`. Waits for nothing.
    pub fn begin_stop(&self) {
        if self.stance.end() == Posture::Frozen {
            // The successor will not come: what waits for it is answered here.
            self.desk.thaw();
            self.relay.set(Elsewhere::Nothing);
            self.control.set(Door::Open, Door::Open);
        }
        self.picture.stage.enter(Stage::Stopping);
        lock(&self.sockets).take();
        self.plane.close();
        self.notify_plugins(self.config.limits.stop_time);
        self.desk.close();
        // Only now is it true: whoever hears it is refused from here on.
        self.events.publish(Phase::Stopping, |_| ());
    }

    /// As [`begin_stop`](Self::begin_stop), and lets the listeners and the state folder go at once:
    /// whoever led this worker is gone, and another host may want them.
    pub fn abandon(&self) {
        self.plane.park();
        self.record.leave();
        self.begin_stop();
        self.control.set(Door::Left, Door::Left);
    }

    /// The number of the descriptor of the cells; `None`: there are none.
    #[must_use]
    pub fn cells_number(&self) -> Option<i32> {
        Some(self.picture.cells.descriptor()?.as_raw_fd())
    }

    /// Requests that reached a plugin, and those of them that ended with a status of 500 or above,
    /// a panic or a time-out.
    #[must_use]
    pub fn answered(&self) -> (u64, u64) {
        self.picture.tally.answered()
    }

    /// Tells everything that serves that it has `time`.
    fn notify_plugins(&self, time: Duration) {
        let table = self.picture.routes.load();
        let serving = table.mounts().iter().filter_map(|mount| mount.loaded.clone());
        self.drains.stop(serving, time);
    }

    /// Connections that are still finishing what was in flight.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.plane.connection_count()
    }

    /// The same without those of data threads that are stuck.
    #[must_use]
    pub fn whole_connection_count(&self) -> usize {
        self.plane.whole_connection_count()
    }

    /// Whether a data thread is stuck.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.plane.is_stuck()
    }

    /// Ends what is left: requests, plugins, threads, in this order.
    pub fn end(self) {
        let limits = &self.config.limits;
        self.plane.end();
        // An order that is under way ends first; its preflight and load have limits.
        let patience = limits.preflight_time + limits.load_time;
        let pipeline = lock(&self.pipeline).recv_timeout(patience);
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
        self.upkeep.2.end();
        self.record.settle_numbers(self.desk.next_number(), self.events.last());
        self.record.flush();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
