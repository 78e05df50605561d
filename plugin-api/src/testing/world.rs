//! What one kit knows: the host's data, which plugin code gets as a pointer.
//!
//! Owns the worlds of this process, and which of them a thread belongs to: the panic hook, `tracing` and
//! `log` are one for the process and ask for it ([`current`]). Around each crossing the thread says so
//! itself ([`World::enter`]). A thread that plugin code makes has it from its maker, by the one thing
//! that the kernel hands on and nobody else uses: its timer slack.
//!
//! Invariant: a world is never freed, because a thread that the plugin has left behind may still ask
//! for it; [`World::close`] empties it.
#![cfg_attr(not(miri), expect(unsafe_code, reason = "marks threads by a call of the system"))]

use std::{
    cell::Cell,
    ptr,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    cells::Cells,
    clock::Clock,
    pool::Pool,
    record::{LogLine, Metric, Panic},
    tasks::Tasks,
    topics::Topics,
    upload::Bodies,
};
use crate::{Level, abi};

thread_local! {
    // Plain data: in a library that a real host loads a destructor would be that host's work.
    static HERE: Cell<Option<&'static World>> = const { Cell::new(None) };
}

static WORLDS: Mutex<Vec<&'static World>> = Mutex::new(Vec::new());
/// How many there are, so that a library without any pays one load.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Locks what no panic leaves half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What plugin code has done.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) logs: Vec<LogLine>,
    pub(super) metrics: Vec<Metric>,
    pub(super) panics: Vec<Panic>,
    /// The last one that was told, also if it was not for the first time.
    pub(super) told: Option<Panic>,
    pub(super) published: Vec<(String, bytes::Bytes)>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct World {
    number: usize,
    levels: Levels,
    record: Mutex<Record>,
    pub(super) bell: Bell,
    /// Wakers of the kit's that somebody has.
    pub(super) wakers: AtomicUsize,
    /// Those among them that the kit has itself.
    pub(super) kept: AtomicUsize,
    /// The last number of a request.
    pub(super) requests: AtomicU64,
    pub(super) ended: AtomicBool,
    pub(super) clock: Clock,
    pub(super) cells: Cells,
    pub(super) topics: Topics,
    pub(super) tasks: Tasks,
    pub(super) pool: Pool,
    pub(super) bodies: Bodies,
}

impl World {
    pub(super) fn new(levels: Levels, clock: Clock, cells: Cells) -> &'static Self {
        let mut worlds = lock(&WORLDS);
        let world: &'static Self = Box::leak(Box::new(Self {
            number: worlds.len(),
            levels,
            record: Mutex::default(),
            bell: Bell::default(),
            wakers: AtomicUsize::new(0),
            kept: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            clock,
            cells,
            topics: Topics::default(),
            tasks: Tasks::default(),
            pool: Pool::default(),
            bodies: Bodies::default(),
        }));
        // Found from here for ever: not lost, for whoever looks for leaks.
        worlds.push(world);
        COUNT.store(worlds.len(), Ordering::Release);
        world
    }

    /// As plugin code has it.
    pub(super) fn data(&'static self) -> *const () {
        ptr::from_ref(self).cast()
    }

    /// Until it is dropped the calling thread runs code of this world's plugin.
    pub(super) fn enter(&'static self) -> Entered {
        let before = HERE.replace(Some(self));
        let slack = match before {
            Some(before) if ptr::eq(before, self) => None,
            _ => slack::put(self.number),
        };
        Entered { before, slack }
    }

    pub(super) fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.record)
    }

    /// Whether a line of `level` from `target` is kept.
    pub(super) fn hears(&self, level: u32, target: &str) -> bool {
        level <= self.levels.of(target)
    }

    /// Whether any line of `level` may be kept.
    pub(super) fn may_hear(&self, level: u32) -> bool {
        level <= self.levels.most()
    }

    /// Writes a line of the host's own.
    pub(super) fn say(
        &self,
        level: Level,
        message: &str,
        fields: Vec<(String, serde_json::Value)>,
    ) {
        let (target, message) = ("hotseat".to_owned(), message.to_owned());
        let line = LogLine { level, target, message, fields, spans: Vec::new(), request: None };
        self.record().logs.push(line);
    }

    /// Frees what it has. What it has recorded stays for `record`'s readers until then.
    pub(super) fn close(&self) {
        *self.record() = Record::default();
        self.cells.clear();
    }
}

/// See [`World::enter`].
#[derive(Debug)]
pub(super) struct Entered {
    before: Option<&'static World>,
    slack: Option<slack::Before>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        HERE.set(self.before);
        if let Some(before) = self.slack.take() {
            slack::put_back(before);
        }
    }
}

/// The world whose plugin's code the calling thread runs, or was made by.
pub(super) fn current() -> Option<&'static World> {
    if COUNT.load(Ordering::Acquire) == 0 {
        return None;
    }
    HERE.get().or_else(|| lock(&WORLDS).get(slack::read()?).copied())
}

/// The mark that threads hand on. A slack is by how much the kernel may wake a thread late: some
/// microseconds more or less.
mod slack {
    /// Half as much again as the usual 50 us. Units: nanoseconds.
    #[cfg(not(miri))]
    const FIRST: usize = 75_000;
    /// Worlds that have a mark; of a later one the threads that its plugin makes are nobody's.
    #[cfg(not(miri))]
    const COUNT: usize = 50_000;

    /// What the thread had.
    #[derive(Debug)]
    pub(super) struct Before(#[cfg(not(miri))] std::ffi::c_ulong);

    #[cfg(not(miri))]
    fn get() -> Option<std::ffi::c_ulong> {
        // SAFETY: asks for a number of the calling thread.
        let slack = unsafe { libc::prctl(libc::PR_GET_TIMERSLACK) };
        slack.try_into().ok()
    }

    #[cfg(not(miri))]
    fn set(slack: std::ffi::c_ulong) {
        // SAFETY: sets a number of the calling thread.
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, slack) };
    }

    #[cfg(not(miri))]
    pub(super) fn put(number: usize) -> Option<Before> {
        let before = get()?;
        set((FIRST + number.min(COUNT)).try_into().ok()?);
        Some(Before(before))
    }

    #[cfg(not(miri))]
    pub(super) fn put_back(before: Before) {
        set(before.0);
    }

    #[cfg(not(miri))]
    pub(super) fn read() -> Option<usize> {
        let slack: usize = get()?.try_into().ok()?;
        slack.checked_sub(FIRST).filter(|number| *number < COUNT)
    }

    #[cfg(miri)]
    pub(super) fn put(_: usize) -> Option<Before> {
        None
    }

    #[cfg(miri)]
    pub(super) fn put_back(_: Before) {}

    #[cfg(miri)]
    pub(super) fn read() -> Option<usize> {
        None
    }
}

/// Rung by whatever may let something go on, from any thread.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Mutex<u64>,
    heard: Condvar,
}

impl Bell {
    pub(super) fn ring(&self) {
        *lock(&self.rung) += 1;
        self.heard.notify_all();
    }

    /// How often it has rung.
    pub(super) fn count(&self) -> u64 {
        *lock(&self.rung)
    }

    /// Waits until it has rung more than `count` times; whether it has, within `limit`.
    pub(super) fn wait(&self, count: u64, limit: Duration) -> bool {
        let rung = lock(&self.rung);
        let waited = self.heard.wait_timeout_while(rung, limit, |rung| *rung == count);
        let (rung, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *rung != count
    }
}

/// Which lines are kept: `info`, or `warn,sqlx=debug`, as in the host's `[plugin.NAME] log`.
#[derive(Clone, Debug)]
pub(super) struct Levels {
    others: u32,
    of: Vec<(String, u32)>,
}

impl Default for Levels {
    fn default() -> Self {
        Self { others: abi::level::INFO, of: Vec::new() }
    }
}

impl Levels {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut levels = Self { others: 0, of: Vec::new() };
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some((target, level)) => {
                    levels.of.push((target.trim().to_owned(), level_of(level.trim())?));
                }
                None => levels.others = level_of(part)?,
            }
        }
        Ok(levels)
    }

    /// The level of the longest name that `target` begins with.
    fn of(&self, target: &str) -> u32 {
        let begins = |name: &str| {
            let rest = target.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        let named = self.of.iter().filter(|(name, _)| begins(name));
        named.max_by_key(|(name, _)| name.len()).map_or(self.others, |(_, level)| *level)
    }

    fn most(&self) -> u32 {
        self.of.iter().map(|(_, level)| *level).fold(self.others, u32::max)
    }
}

fn level_of(word: &str) -> Result<u32, String> {
    Ok(match word.to_ascii_lowercase().as_str() {
        "off" => 0,
        "error" => abi::level::ERROR,
        "warn" => abi::level::WARN,
        "info" => abi::level::INFO,
        "debug" => abi::level::DEBUG,
        "trace" => abi::level::TRACE,
        _ => {
            return Err(format!(
                "`{word}` is no log level: off, error, warn, info, debug, trace, or several as in \
                 `warn,sqlx=debug`"
            ));
        }
    })
}
