//! The thread that watches the data threads.
//!
//! Owns what is known of each that does not turn, and says so: to the log, to whoever asks, and,
//! once it is for long, to whoever leads the worker. It runs no code of a plugin and waits for no
//! data thread.

use std::{
    fmt, io,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    balance::Balance,
    ebb::Ebb,
    mail::Message,
    pulse::{Look, Observer, Stuck},
};

use crate::{
    ids::{Generation, PluginName},
    log,
    status::Blocked,
    sys::{keep, process::give_back_memory},
};

/// Between two looks at most, however long a turn may take.
const LOOK_MAX: Duration = Duration::from_millis(250);

/// Hears which threads have not turned for too long, by their numbers, whenever that changes.
pub type OnStuck = Arc<dyn Fn(Vec<(usize, Stuck)>) + Send + Sync>;

/// Who a generation is of, as far as anybody remembers.
pub type PluginOf = Arc<dyn Fn(Generation) -> Option<PluginName> + Send + Sync>;

/// The handle; the thread ends with [`Watchdog::end`].
pub(super) struct Watchdog {
    found: Arc<Found>,
    thread: Mutex<Option<(SyncSender<()>, JoinHandle<()>)>>,
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watchdog")
    }
}

/// What is known of every thread.
struct Found {
    stuck: Mutex<Vec<Option<Stuck>>>,
    told: OnceLock<(OnStuck, PluginOf)>,
}

/// Two limits on a turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// A longer one is logged and shown.
    pub(super) heartbeat: Duration,
    /// After a longer one nobody counts on the thread any more.
    pub(super) stuck_time: Duration,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watchdog {
    /// Starts the thread: it looks four times within a turn's limit.
    pub(super) fn start(balance: &Arc<Balance>, limits: Limits) -> io::Result<Self> {
        let stuck = Mutex::new(vec![None; balance.cores()]);
        let found = Arc::new(Found { stuck, told: OnceLock::new() });
        let (stop, stopped) = sync_channel(0);
        let (theirs, balance) = (found.clone(), balance.clone());
        let thread = std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
            let now = Instant::now();
            let seats = balance.seats().iter();
            let mut observers: Vec<_> =
                seats.map(|seat| Observer::new(seat.pulse().clone(), now)).collect();
            let mut ebb = Ebb::default();
            let pause = (limits.heartbeat / 4).min(LOOK_MAX);
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                theirs.round(&balance, &mut observers, limits);
                keep::put_back();
                if ebb.look(balance.connection_count()) {
                    give_back_memory();
                }
            }
        })?;
        Ok(Self { found, thread: Mutex::new(Some((stop, thread))) })
    }

    /// Who hears of threads that are stuck, and who knows the names of plugins. Once.
    pub(super) fn tell(&self, told: OnStuck, plugin_of: PluginOf) {
        let _ = self.found.told.set((told, plugin_of));
    }

    /// What is known of every thread: `None` for one that turns.
    pub(super) fn found(&self) -> Vec<Option<Stuck>> {
        lock(&self.found.stuck).clone()
    }

    pub(super) fn end(&self) {
        if let Some((stop, thread)) = lock(&self.thread).take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

/// What there is to say of a thread after a look at all of them.
enum News {
    TurnsAgain,
    Stops,
    /// It has not turned for too long.
    Stuck,
}

impl Found {
    /// Looks at every thread once.
    fn round(&self, balance: &Balance, observers: &mut [Observer], limits: Limits) {
        let now = Instant::now();
        let is_long =
            |stuck: &Option<Stuck>| stuck.as_ref().is_some_and(|it| it.since >= limits.stuck_time);
        let mut changed = false;
        let mut news = Vec::new();
        for (core, observer) in observers.iter_mut().enumerate() {
            let found = match observer.look(now, limits.heartbeat) {
                Look::Turns => continue,
                Look::Quiet => {
                    // A full inbox is not read either; one that is closed has nobody behind it.
                    let _ = balance.send(core, Message::Turn);
                    continue;
                }
                Look::TurnsAgain => {
                    news.push((core, News::TurnsAgain));
                    None
                }
                Look::Stops(stuck) => {
                    news.push((core, News::Stops));
                    Some(stuck.clone())
                }
                Look::Stands(stuck) => Some(stuck.clone()),
            };
            if found.is_some() {
                balance.call_back(core);
            }
            let is = is_long(&found);
            let was = is_long(&std::mem::replace(&mut lock(&self.stuck)[core], found));
            changed |= is != was;
            if is && !was {
                news.push((core, News::Stuck));
            }
        }
        if news.is_empty() {
            return;
        }
        let stuck = lock(&self.stuck).clone();
        if changed && let Some((told, _)) = self.told.get() {
            let long = stuck.iter().enumerate().filter(|(_, it)| is_long(it));
            told(long.filter_map(|(core, it)| Some((core, it.clone()?))).collect());
        }
        // Last: a thread may stand still because nobody reads the log.
        for (core, news) in news {
            self.say(core, &news, stuck[core].as_ref());
        }
    }

    fn say(&self, core: usize, news: &News, stuck: Option<&Stuck>) {
        let Some(Stuck { doing, request, generation, since }) = stuck else {
            if log::is_news("", 0, "the thread turns again") {
                tracing::info!(core, "the thread turns again");
            }
            return;
        };
        let plugin = generation.and_then(|it| (self.told.get()?.1)(it));
        let plugin = plugin.as_ref().map(PluginName::as_str);
        let (generation, doing) = (generation.map(|it| it.0), *doing);
        let (request, path) = request.as_ref().map(|(request, path)| (*request, &**path)).unzip();
        let seconds = since.as_secs_f64();
        if !matches!(news, News::Stuck)
            && !log::is_news("", generation.unwrap_or(0), "a thread did not turn")
        {
            return;
        }
        match news {
            News::Stuck => tracing::error!(
                core,
                plugin,
                generation,
                request,
                path,
                doing,
                seconds,
                "a thread is stuck"
            ),
            _ if generation.is_some() => tracing::warn!(
                core,
                plugin,
                generation,
                request,
                path,
                doing,
                hint = Blocked::HINT,
                "code of a plugin blocks its thread; it must not"
            ),
            _ => tracing::warn!(core, request, path, doing, "a data thread does not turn"),
        }
    }
}
