//! The way out: stops, frees, purges and closes what left traffic, on one thread made for it.
//!
//! Whoever drops the last lease of a generation hands its instance over ([`ReaperHandle::retire`])
//! and goes on; nothing of it happens on that thread. Knows nothing of drains: they are over.
//!
//! # Invariants
//! - A generation that cannot go yet is looked at again and again, and no other waits for it.
//! - Whatever may hang in a plugin (`stop`, `drop`, static destructors) hangs on a side thread.
//! - [`Unloading::Unloaded`] is reported after the loader has confirmed it.

use std::{
    collections::VecDeque,
    fmt, io,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use self::going::Going;
use super::instance::Instance;
use crate::ids::Generation;

mod going;

/// A generation whose last lease is gone.
#[derive(Debug)]
pub struct Retired {
    /// Which.
    pub generation: Generation,
    /// What is to be unloaded.
    pub instance: Instance,
    /// The private copy, removed afterwards.
    pub file: PathBuf,
}

/// Where a retired generation is on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unloading {
    /// It cannot be unmapped yet: why.
    Pending(String),
    /// Unmapped, verified; its file is gone.
    Unloaded,
    /// It stays mapped: why. What may yet end is still looked at from time to time, and unloaded
    /// after all.
    Resident(String),
}

/// Something changed for a retired generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which.
    pub generation: Generation,
    /// What it is now.
    pub state: Unloading,
}

/// What [`ReaperRules::grace`] is unless somebody has a reason: long enough for a thread that
/// ends by itself after a last timeout.
pub const GRACE: Duration = Duration::from_secs(10);

/// How long after its deadline the reaper may take to say what is left.
const ANSWER_TIME: Duration = Duration::from_millis(100);

/// How the reaper works.
#[derive(Clone, Debug)]
pub struct ReaperRules {
    /// Why nothing is ever unloaded; `None`: things are.
    pub never: Option<String>,
    /// How long a plugin's `stop` may take before it counts as hanging.
    pub stop_time: Duration,
    /// How long a thread may take to answer a purge before it counts as not answering.
    pub purge_time: Duration,
    /// How long a generation is pending, on top of those, before it is called resident.
    pub grace: Duration,
}

struct Inbox {
    arrived: VecDeque<Retired>,
    closing: Option<Instant>,
    held: bool,
}

struct Shared {
    /// As long as the number of loads at most; `retire` must never wait nor fail.
    inbox: Mutex<Inbox>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that unloads.
pub struct Reaper {
    shared: Arc<Shared>,
    /// Says once how many generations did not stop in time.
    left: Mutex<Receiver<usize>>,
}

/// Hands retired generations over; clones reach the same reaper.
#[derive(Clone)]
pub struct ReaperHandle {
    shared: Arc<Shared>,
}

impl ReaperHandle {
    /// Hands a generation over. Never waits, so that the last lease may be dropped anywhere. After
    /// [`Reaper::shut_down`] the generation just stays.
    pub fn retire(&self, retired: Retired) {
        self.shared.lock().arrived.push_back(retired);
        self.shared.changed.notify_one();
    }
}

impl Reaper {
    /// Starts the reaper's thread. `report` is called there, for each change.
    ///
    /// # Errors
    /// The system's own, when the thread cannot be started.
    pub fn start(rules: ReaperRules, report: impl Fn(Report) + Send + 'static) -> io::Result<Self> {
        let inbox = Inbox { arrived: VecDeque::new(), closing: None, held: false };
        let shared = Arc::new(Shared { inbox: Mutex::new(inbox), changed: Condvar::new() });
        let here = Arc::clone(&shared);
        let (say, left) = sync_channel(1);
        let work = move || {
            // Nobody hears it when the process has lost patience.
            let _ = say.send(run(&here, &rules, &report));
        };
        thread::Builder::new().name("reaper".to_owned()).spawn(work)?;
        Ok(Self { shared, left: Mutex::new(left) })
    }

    /// A way to hand generations over.
    #[must_use]
    pub fn handle(&self) -> ReaperHandle {
        ReaperHandle { shared: Arc::clone(&self.shared) }
    }

    /// Nothing is unloaded from now on: the process is about to end, which frees everything, and an
    /// unload could only go wrong. What arrives is still stopped.
    pub fn hold(&self) {
        self.shared.lock().held = true;
        self.shared.changed.notify_one();
    }

    /// For the end of the process: every generation handed over so far is stopped and freed, side
    /// by side, until `deadline`; nothing is closed any more. Returns how many did not make it;
    /// `usize::MAX` when the reaper itself does not answer.
    #[must_use]
    pub fn shut_down(self, deadline: Instant) -> usize {
        self.shared.lock().closing = Some(deadline);
        self.shared.changed.notify_one();
        // It looks at the deadline every millisecond, unless it hangs or panicked in `report`.
        let time = deadline.saturating_duration_since(Instant::now()) + ANSWER_TIME;
        let left = self.left.into_inner().unwrap_or_else(PoisonError::into_inner);
        left.recv_timeout(time).unwrap_or(usize::MAX)
    }
}

impl fmt::Debug for Reaper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reaper").finish_non_exhaustive()
    }
}

impl fmt::Debug for ReaperHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReaperHandle").finish_non_exhaustive()
    }
}

fn run(shared: &Shared, rules: &ReaperRules, report: &impl Fn(Report)) -> usize {
    let mut all: Vec<Going> = Vec::new();
    loop {
        let Inbox { arrived, closing, held } = wait(shared, all.iter().map(Going::due).min());
        all.extend(arrived.into_iter().map(Going::start));
        if let Some(deadline) = closing {
            return stop_all(all, deadline);
        }
        if held {
            continue;
        }
        let now = Instant::now();
        all.retain_mut(|going| {
            if going.due() > now {
                return true;
            }
            let state = going.advance(rules);
            let over = going.is_over();
            if let Some(state) = state {
                report(Report { generation: going.generation(), state });
            }
            !over
        });
    }
}

/// Waits for an arrival, the end, or, unless everything is held, the moment `due`.
fn wait(shared: &Shared, due: Option<Instant>) -> Inbox {
    let mut inbox = shared.lock();
    loop {
        let news = |inbox: &mut Inbox| Inbox {
            arrived: std::mem::take(&mut inbox.arrived),
            closing: inbox.closing,
            held: inbox.held,
        };
        if !inbox.arrived.is_empty() || inbox.closing.is_some() {
            return news(&mut inbox);
        }
        let Some(due) = due.filter(|_| !inbox.held) else {
            inbox = shared.changed.wait(inbox).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return news(&mut inbox);
        }
        let woken = shared.changed.wait_timeout(inbox, left);
        inbox = woken.unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// Each has begun to stop when it arrived.
fn stop_all(mut all: Vec<Going>, deadline: Instant) -> usize {
    loop {
        all.retain_mut(|going| !going.has_stopped());
        if all.is_empty() || Instant::now() >= deadline {
            return all.len();
        }
        thread::park_timeout(Duration::from_millis(1));
    }
}
