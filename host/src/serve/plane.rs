//! The data threads as a whole: started, balanced, asked, stopped.
//!
//! Owns the threads and the watchdog over them. [`DataPlane`] is all that the worker sees.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
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
    core::{CUT_GRACE, Core, Message},
    listener::{Accepted, Socket},
    own::{Health, HealthSource},
    pulse::{Observer, Pulse, PulseWriter, Stuck},
};
use crate::{
    config::{Config, Limits},
    ids::Generation,
    plugin::purge,
    route::{Routes, Tally, View},
    status::Holder,
};

/// Messages that may wait for one data thread.
const INBOX_COUNT: usize = 4096;

/// How long a thread may take to say whom it serves, before the status goes without it.
const ANSWER_TIME: Duration = Duration::from_millis(500);

/// How many connections each core has, and how to reach it.
#[derive(Debug)]
pub(super) struct Balance {
    seats: Vec<Seat>,
    turn: AtomicUsize,
}

#[derive(Debug)]
struct Seat {
    connections: Padded,
    pulse: Arc<Pulse>,
    inbox: mpsc::Sender<Message>,
    /// A new table was announced and not looked at yet.
    stale: AtomicBool,
}

impl Seat {
    fn new(inbox: mpsc::Sender<Message>) -> Self {
        Self {
            connections: Padded::default(),
            pulse: Arc::default(),
            inbox,
            stale: AtomicBool::new(false),
        }
    }
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(AtomicUsize);

impl Balance {
    pub(super) fn cores(&self) -> usize {
        self.seats.len()
    }

    /// The core with the fewest connections, counted there at once. Ties take turns, else all
    /// short connections would go to the core that has one long one fewer. A blocked core gets
    /// nothing as long as another is not.
    pub(super) fn choose(&self) -> usize {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.seats.len();
        let load = |at: usize| {
            let seat = &self.seats[at];
            (seat.pulse.is_blocked(), seat.connections.0.load(Ordering::Relaxed))
        };
        let chosen = (0..count).map(|step| (turn + step) % count).min_by_key(|at| load(*at));
        let chosen = chosen.unwrap_or(0);
        self.seats[chosen].connections.0.fetch_add(1, Ordering::Relaxed);
        chosen
    }

    pub(super) fn moved(&self, from: usize, to: usize) {
        self.left(from);
        self.seats[to].connections.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn left(&self, core: usize) {
        self.seats[core].connections.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn is_full(&self, limit: usize) -> bool {
        let open = self.seats.iter().map(|seat| seat.connections.0.load(Ordering::Relaxed));
        open.sum::<usize>() >= limit
    }

    fn tell(&self, message: impl Fn() -> Message) {
        for core in 0..self.cores() {
            if self.send(core, message()).is_err() {
                tracing::error!(core, "a data thread takes no messages any more");
            }
        }
    }

    /// Hands a connection over, unless the thread has a long inbox: the rest of it is for what must
    /// not be lost.
    pub(super) fn hand_over(&self, core: usize, accepted: Accepted) -> Result<(), Accepted> {
        if self.seats[core].inbox.capacity() < INBOX_COUNT / 2 {
            return Err(accepted);
        }
        self.send(core, Message::Serve(accepted)).map_err(|message| match message {
            Message::Serve(accepted) => accepted,
            _ => unreachable!("what was sent comes back"),
        })
    }

    /// Tells a thread of a new table; once is enough until it has looked.
    fn ring(&self, core: usize) {
        let seat = &self.seats[core];
        if !seat.stale.swap(true, Ordering::AcqRel) {
            // The epoch tells a thread that does not hear this at its next request.
            let _ = self.send(core, Message::Refresh);
        }
    }

    /// The thread looks at the table now.
    pub(super) fn looked(&self, core: usize) {
        self.seats[core].stale.store(false, Ordering::Release);
    }

    pub(super) fn send(&self, core: usize, message: Message) -> Result<(), Message> {
        self.seats[core].inbox.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(message)
            | mpsc::error::TrySendError::Closed(message) => message,
        })
    }
}

/// The data threads.
#[derive(Debug)]
pub struct DataPlane {
    balance: Arc<Balance>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stuck: Arc<Mutex<Vec<Option<Stuck>>>>,
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
        let balance = Arc::new(Balance { seats, turn: AtomicUsize::new(0) });
        let limits = Arc::new(config.limits.clone());
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
        Ok(Self { balance, threads: threads.into(), stuck, watchdog: Mutex::new(Some(watchdog)) })
    }

    /// Every data thread accepts from `sockets` from now on.
    ///
    /// # Errors
    /// A descriptor cannot be had.
    pub fn accept(&self, sockets: &[Socket]) -> io::Result<()> {
        for core in 0..self.balance.cores() {
            let shared = sockets.iter().map(Socket::try_clone).collect::<io::Result<_>>()?;
            let sent = self.balance.send(core, Message::Accept(shared));
            sent.map_err(|_| io::Error::other("a data thread has ended"))?;
        }
        Ok(())
    }

    fn tell(&self, message: impl Fn() -> Message) {
        self.balance.tell(message);
    }

    /// A function that ends whatever still holds a generation.
    pub fn cutter(&self) -> impl Fn(Generation) + Send + 'static {
        let balance = self.balance.clone();
        move |generation| balance.tell(|| Message::Cut(generation))
    }

    /// Who is in flight, by generation. A thread that does not answer is left out.
    #[must_use]
    pub fn holders(&self) -> Vec<(Generation, Holder)> {
        let (answer, answers) = sync_channel(self.balance.cores());
        let asked = (0..self.balance.cores())
            // A blocked thread would not answer before it is free.
            .filter(|core| !self.balance.seats[*core].pulse.is_blocked())
            .filter(|core| self.balance.send(*core, Message::Holders(answer.clone())).is_ok())
            .count();
        drop(answer);
        let until = Instant::now() + ANSWER_TIME;
        let next = |_| answers.recv_timeout(until.saturating_duration_since(Instant::now())).ok();
        (0..asked).filter_map(next).flatten().collect()
    }

    /// Every data thread.
    #[must_use]
    pub fn cores(&self) -> Vec<CoreView> {
        let stuck = lock(&self.stuck);
        let view = |(seat, stuck): (&Seat, &Option<Stuck>)| CoreView {
            connections: seat.connections.0.load(Ordering::Relaxed),
            blocked: stuck
                .as_ref()
                .map(|it| (it.request, Generation(it.generation), it.path.clone(), it.since)),
        };
        self.balance.seats.iter().zip(&*stuck).map(view).collect()
    }

    /// Accepts no more; every connection ends after what is in flight on it.
    pub fn stop_accepting(&self) {
        self.tell(|| Message::Stop);
    }

    /// Open connections.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.balance.seats.iter().map(|seat| seat.connections.0.load(Ordering::Relaxed)).sum()
    }

    /// Ends the threads and whatever is still in flight. A thread that a handler blocks is left
    /// to the end of the process.
    pub fn end(&self) {
        self.tell(|| Message::End);
        if let Some((stop, watchdog)) = lock(&self.watchdog).take() {
            drop(stop);
            let _ = watchdog.join();
        }
        let until = Instant::now() + CUT_GRACE + ANSWER_TIME;
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
    let balance = Arc::new(Balance { seats, turn: AtomicUsize::new(0) });
    let health = Health { ready: true, text: String::new() };
    let parts = Parts {
        limits: Arc::new(config.limits.clone()),
        half_close: config.half_close,
        health_path: None,
        health: HealthSource(Arc::new(move || health.clone())),
        routes: routes.clone(),
        tally: tally.clone(),
        balance,
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
}

impl Parts {
    fn core(self, index: usize) -> Core {
        Core {
            index,
            limits: self.limits,
            half_close: self.half_close,
            health_path: self.health_path,
            health: self.health,
            view: View::new(self.routes, self.tally),
            pulse: PulseWriter::new(self.balance.seats[index].pulse.clone()),
            balance: self.balance,
            requests: Cell::new(index as u64 + 1),
            exchanges: RefCell::default(),
            connections: RefCell::default(),
            stopping: Cell::new(false),
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
    runtime.block_on(core.run(inbox));
    // Tasks are dropped with the runtime: every plugin value of this thread ends here.
}

/// Starts the watchdog: it looks four times a heartbeat.
fn watch(
    balance: &Arc<Balance>,
    heartbeat: Duration,
    stuck: Arc<Mutex<Vec<Option<Stuck>>>>,
) -> io::Result<(SyncSender<()>, JoinHandle<()>)> {
    let mut observers: Vec<Observer> =
        balance.seats.iter().map(|seat| Observer::new(seat.pulse.clone())).collect();
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
