//! The data threads as a whole: started, told, asked, ended.
//!
//! Owns the threads and the watchdog over them. [`DataPlane`] is all that the worker sees: what it
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
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, LocalOptions},
    sync::mpsc,
};

use super::{
    balance::{Balance, INBOX_COUNT, Seat},
    conn::Course,
    core::Core,
    hold::InFlight,
    mail::Message,
    own::{Health, HealthSource, OwnCounts},
    pulse::{Observer, PulseWriter, Stuck},
    task,
    thread::{self, CUT_GRACE},
};
use crate::{
    config::{Config, Limits},
    ids::Generation,
    plugin::purge,
    route::{Routes, Tally, View},
};

/// The data threads.
#[derive(Debug)]
pub struct DataPlane {
    balance: Arc<Balance>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stuck: Arc<Mutex<Vec<Option<Stuck>>>>,
    limits: Arc<Limits>,
    owns: Vec<Arc<OwnCounts>>,
    watchdog: Mutex<Option<(SyncSender<()>, JoinHandle<()>)>>,
}

/// A data thread as the status shows it.
#[derive(Clone, Debug)]
pub struct CoreView {
    /// Open connections.
    pub connections: usize,
    /// Request, generation, path and duration of a poll that does not return.
    pub blocked: Option<(u64, Generation, String, Duration)>,
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
        let mut threads = Vec::with_capacity(count);
        for (index, inbox) in receivers.into_iter().enumerate() {
            let parts = Parts {
                limits: limits.clone(),
                half_close: config.half_close,
                health_path: config
                    .health_path
                    .as_deref()
                    .map(|it| it.trim_end_matches('/').into()),
                health: health.clone(),
                routes: routes.clone(),
                tally: tally.clone(),
                balance: balance.clone(),
                owns: owns[index].clone(),
            };
            let thread = std::thread::Builder::new().name(format!("core-{index}"));
            threads.push(thread.spawn(move || run(Rc::new(parts.core(index)), inbox))?);
        }
        let stuck = Arc::new(Mutex::new(vec![None; count]));
        let watchdog = watch(&balance, config.limits.heartbeat, stuck.clone())?;
        let ringing = balance.clone();
        routes.on_change(move || {
            for core in 0..ringing.cores() {
                ringing.ring(core);
            }
        });
        let watchdog = Mutex::new(Some(watchdog));
        Ok(Self { balance, threads: threads.into(), stuck, limits, watchdog, owns })
    }

    /// Every data thread.
    #[must_use]
    pub fn cores(&self) -> Vec<CoreView> {
        let stuck = lock(&self.stuck);
        let view = |(seat, stuck): (&Seat, &Option<Stuck>)| CoreView {
            connections: seat.connection_count(),
            blocked: stuck
                .as_ref()
                .map(|it| (it.request, Generation(it.generation), it.path.clone(), it.since)),
        };
        self.balance.seats().iter().zip(&*stuck).map(view).collect()
    }

    /// Ends the threads and whatever is still in flight. A thread that a handler blocks is left
    /// to the end of the process.
    pub fn end(&self) {
        self.balance.tell(|| Message::End);
        if let Some((stop, watchdog)) = lock(&self.watchdog).take() {
            drop(stop);
            let _ = watchdog.join();
        }
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
        health_path: None,
        health: HealthSource(Arc::new(move || health.clone())),
        routes: routes.clone(),
        tally: tally.clone(),
        balance,
        owns: Arc::default(),
    };
    Rc::new(parts.core(0))
}

/// What every core is made of; crosses to its thread.
struct Parts {
    limits: Arc<Limits>,
    half_close: bool,
    health_path: Option<Arc<str>>,
    health: HealthSource,
    routes: Arc<Routes>,
    tally: Tally,
    balance: Arc<Balance>,
    owns: Arc<OwnCounts>,
}

impl Parts {
    fn core(self, index: usize) -> Core {
        let pulse = PulseWriter::new(self.balance.seats()[index].pulse().clone());
        Core {
            index,
            limits: self.limits,
            half_close: self.half_close,
            health_path: self.health_path,
            health: self.health,
            view: View::new(self.routes, self.tally),
            in_flight: InFlight::new(index, self.balance.cores(), pulse),
            owns: self.owns,
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
    runtime.block_on(task::lead(thread::run(core, inbox)));
    // Tasks are dropped with the runtime: every plugin value of this thread ends here.
}

/// Starts the watchdog: it looks four times a heartbeat.
fn watch(
    balance: &Arc<Balance>,
    heartbeat: Duration,
    stuck: Arc<Mutex<Vec<Option<Stuck>>>>,
) -> io::Result<(SyncSender<()>, JoinHandle<()>)> {
    let mut observers: Vec<Observer> =
        balance.seats().iter().map(|seat| Observer::new(seat.pulse().clone())).collect();
    let (stop, stopped) = sync_channel(0);
    let thread = std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
        while stopped.recv_timeout(heartbeat / 4) == Err(RecvTimeoutError::Timeout) {
            let now = Instant::now();
            for (core, observer) in observers.iter_mut().enumerate() {
                let (found, news) = observer.look(now, heartbeat);
                match (&found, news) {
                    (Some(it), true) => tracing::warn!(
                        core, request = it.request, generation = it.generation, path = it.path,
                        "a handler blocks its thread; handlers must not block: use `Context::blocking`"
                    ),
                    (None, true) => tracing::info!(core, "the thread is free again"),
                    (_, false) => {}
                }
                if found.is_some() || news {
                    lock(&stuck)[core] = found.cloned();
                }
            }
        }
    })?;
    Ok((stop, thread))
}

#[cfg(test)]
mod tests;
