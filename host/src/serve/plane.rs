//! The data threads as a whole: started, told, asked, ended.
//!
//! Owns the threads. [`DataPlane`] is all that the worker sees: what it
//! is asked is in `ask`, how its connections come and go in `leave`, the end of its listeners in
//! `shut`.

mod ask;
mod leave;
mod shut;

pub use self::{leave::Drain, shut::Shutting};

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, LocalOptions},
    sync::mpsc,
};

use hotseat_unload::purge;

use super::{
    balance::{Balance, INBOX_COUNT, Seat},
    conn::Course,
    core::Core,
    hold::InFlight,
    mail::Message,
    own::{Health, HealthSource, OwnCounts},
    plain::{ThinCount, desk::Desks},
    pulse::{PulseWriter, Stuck},
    task,
    thread::{self, CUT_GRACE},
    watchdog::{self, OnStuck, PluginOf, Watchdog},
};
use crate::{
    config::{Config, Limits},
    plugin::desk::DataThreads,
    route::{Routes, Tally, View},
};

/// The data threads.
#[derive(Debug)]
pub struct DataPlane {
    balance: Arc<Balance>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    limits: Arc<Limits>,
    owns: Vec<Arc<OwnCounts>>,
    thin_counts: Vec<Arc<ThinCount>>,
    watchdog: Watchdog,
}

/// A data thread as the status shows it.
#[derive(Clone, Debug)]
pub struct CoreView {
    /// Open connections.
    pub connections: usize,
    /// It does not turn: it has been in one turn for longer than `heartbeat`.
    pub stuck: Option<Stuck>,
}

impl DataPlane {
    /// Starts the threads; they accept nothing before [`accept`](Self::accept).
    ///
    /// # Errors
    /// A thread cannot be had.
    pub fn start(
        config: &Config,
        routes: &Arc<Routes>,
        tally: &Tally,
        health: &HealthSource,
    ) -> io::Result<Self> {
        let count = config.threads.max(1);
        let (inboxes, receivers): (Vec<_>, Vec<_>) =
            (0..count).map(|_| mpsc::channel(INBOX_COUNT)).unzip();
        let seats = inboxes.into_iter().map(Seat::new).collect();
        let balance = Arc::new(Balance::new(seats));
        let limits = Arc::new(config.limits.clone());
        let owns: Vec<_> = (0..count).map(|_| Arc::<OwnCounts>::default()).collect();
        let thin_counts: Vec<_> = (0..count).map(|_| Arc::<ThinCount>::default()).collect();
        let mut threads = Vec::with_capacity(count);
        for (index, inbox) in receivers.into_iter().enumerate() {
            let parts = Parts {
                limits: limits.clone(),
                half_close: config.half_close,
                thin: config.thin,
                health_path: config
                    .health_path
                    .as_deref()
                    .map(|it| it.trim_end_matches('/').into()),
                health: health.clone(),
                routes: routes.clone(),
                tally: tally.clone(),
                balance: balance.clone(),
                owns: owns[index].clone(),
                thin_count: thin_counts[index].clone(),
            };
            let thread = std::thread::Builder::new().name(format!("core-{index}"));
            threads.push(thread.spawn(move || run(Rc::new(parts.core(index)), inbox))?);
        }
        let Limits { heartbeat, stuck_time, .. } = config.limits;
        let watchdog = Watchdog::start(&balance, watchdog::Limits { heartbeat, stuck_time })?;
        let ringing = balance.clone();
        routes.on_change(move || {
            for core in 0..ringing.cores() {
                ringing.ring(core);
            }
        });
        Ok(Self { balance, threads: threads.into(), limits, watchdog, owns, thin_counts })
    }

    /// Has `told` hear which threads have not turned for `stuck_time`; `plugin_of` names plugins. Once.
    pub fn on_stuck(&self, told: OnStuck, plugin_of: PluginOf) {
        self.watchdog.tell(told, plugin_of);
    }

    /// Where tasks of plugins run.
    #[must_use]
    pub fn threads(&self) -> Arc<dyn DataThreads> {
        self.balance.clone()
    }

    /// Whether any data thread turns.
    #[must_use]
    pub fn turns(&self) -> bool {
        self.balance.seats().iter().any(|seat| !seat.pulse().is_blocked())
    }

    /// Every data thread.
    #[must_use]
    pub fn cores(&self) -> Vec<CoreView> {
        let view =
            |(seat, stuck): (&Seat, _)| CoreView { connections: seat.connection_count(), stuck };
        self.balance.seats().iter().zip(self.watchdog.found()).map(view).collect()
    }

    /// Whether a data thread has not turned for `stuck_time`.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.watchdog.found().iter().flatten().any(|stuck| self.is_long(stuck))
    }

    /// Open connections of the threads that have turned within `stuck_time`.
    #[must_use]
    pub fn whole_connection_count(&self) -> usize {
        let whole = |view: &CoreView| !view.stuck.as_ref().is_some_and(|it| self.is_long(it));
        self.cores().iter().filter(|view| whole(view)).map(|view| view.connections).sum()
    }

    fn is_long(&self, stuck: &Stuck) -> bool {
        stuck.since >= self.limits.stuck_time
    }

    /// Ends the threads and whatever is still in flight. A thread that a handler blocks is left
    /// to the end of the process.
    pub fn end(&self) {
        self.balance.begin_end();
        self.balance.tell(|| Message::End);
        self.watchdog.end();
        let until = Instant::now() + CUT_GRACE + ask::ANSWER_TIME;
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            while !thread.is_finished() && Instant::now() < until {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            if thread.is_finished() {
                let _ = thread.join();
            }
        }
    }
}

/// A core without a thread, for [`super::in_process`].
pub(super) fn alone(config: &Config, routes: &Arc<Routes>, tally: &Tally) -> Rc<Core> {
    let (inbox, _) = mpsc::channel(1);
    let seats = vec![Seat::new(inbox)];
    let balance = Arc::new(Balance::new(seats));
    let health = Health { status: 200, text: String::new() };
    let parts = Parts {
        limits: Arc::new(config.limits.clone()),
        half_close: config.half_close,
        thin: config.thin,
        health_path: None,
        health: HealthSource { ask: Arc::new(move || health.clone()), first_step: "".into() },
        routes: routes.clone(),
        tally: tally.clone(),
        balance,
        owns: Arc::default(),
        thin_count: Arc::default(),
    };
    Rc::new(parts.core(0))
}

/// What every core is made of; crosses to its thread.
struct Parts {
    limits: Arc<Limits>,
    half_close: bool,
    thin: bool,
    health_path: Option<Arc<str>>,
    health: HealthSource,
    routes: Arc<Routes>,
    tally: Tally,
    balance: Arc<Balance>,
    owns: Arc<OwnCounts>,
    thin_count: Arc<ThinCount>,
}

impl Parts {
    fn core(self, index: usize) -> Core {
        let pulse = self.balance.seats()[index].pulse().clone();
        let pulse = Rc::new(PulseWriter::new(pulse));
        Core {
            index,
            limits: self.limits,
            half_close: self.half_close,
            // Else somebody must look for the end of the client's side.
            thin: self.thin && self.half_close,
            desks: Desks::default(),
            health_path: self.health_path,
            health: self.health,
            view: View::new(self.routes, self.tally),
            in_flight: InFlight::new(index, self.balance.cores(), pulse.clone()),
            pulse,
            owns: self.owns,
            thin_count: self.thin_count,
            balance: self.balance,
            connections: RefCell::default(),
            course: Cell::new(Course::Stay),
            successor: RefCell::default(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A data thread's main function.
fn run(core: Rc<Core>, inbox: mpsc::Receiver<Message>) {
    let (balance, index) = (core.balance.clone(), core.index);
    // Left last, after the runtime and every task in it.
    let _registration = purge::register_thread(format!("core-{index}"), move |request| {
        balance.send(index, Message::Purge(request)).map_err(|message| match message {
            Message::Purge(request) => request,
            _ => unreachable!("what was sent comes back"),
        })
    });
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, core = core.index, "a data thread cannot start");
            return;
        }
    };
    let pulse = core.pulse.clone();
    pulse.live(|| {
        runtime.block_on(task::lead(&pulse, thread::run(core, inbox)));
        // Tasks are dropped with the runtime: every plugin value of this thread ends here.
        drop(runtime);
    });
}

#[cfg(test)]
mod tests;
