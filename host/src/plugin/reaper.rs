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
    collections::{BTreeMap, VecDeque},
    fmt, io,
    mem::take,
    ops::ControlFlow,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use self::going::Going;
use super::instance::Instance;
use crate::{
    ids::Generation,
    sys::{figures::Figures, private::PrivateFile},
    thread::{Inbox, Side},
};

mod going;

/// A generation whose last lease is gone.
#[derive(Debug)]
pub struct Retired {
    /// Which.
    pub generation: Generation,
    /// What is to be unloaded.
    pub instance: Instance,
    /// The private copy, removed afterwards.
    pub file: PrivateFile,
    /// What the process had before it was loaded.
    pub before: Figures,
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
    /// Its threads that still run, by name, where those keep it.
    pub threads: BTreeMap<String, usize>,
    /// What has come to the process since it was about to be loaded, once it is unloaded; others come
    /// and go meanwhile.
    pub since_load: Option<Figures>,
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

#[derive(Default)]
struct News {
    /// As long as the number of loads at most; `retire` must never wait nor fail.
    arrived: VecDeque<Retired>,
    closing: Option<Instant>,
    held: bool,
}

/// The thread that unloads.
pub struct Reaper {
    inbox: Arc<Inbox<News>>,
    /// Ends with how many generations did not stop in time.
    thread: Side<usize>,
}

/// Hands retired generations over; clones reach the same reaper.
#[derive(Clone)]
pub struct ReaperHandle {
    inbox: Arc<Inbox<News>>,
}

impl ReaperHandle {
    /// Hands a generation over. Never waits, so that the last lease may be dropped anywhere. After
    /// [`Reaper::shut_down`] the generation just stays.
    pub fn retire(&self, retired: Retired) {
        self.inbox.tell(|news| news.arrived.push_back(retired));
    }
}

impl Reaper {
    /// Starts the reaper's thread. `report` is called there, for each change.
    ///
    /// # Errors
    /// The system's own, when the thread cannot be started.
    pub fn start(rules: ReaperRules, report: impl Fn(Report) + Send + 'static) -> io::Result<Self> {
        let inbox = Arc::<Inbox<News>>::default();
        let here = Arc::clone(&inbox);
        // Nobody hears its number when the process has lost patience.
        let thread = Side::start("reaper", move || run(&here, &rules, &report), drop)?;
        Ok(Self { inbox, thread })
    }

    /// A way to hand generations over.
    #[must_use]
    pub fn handle(&self) -> ReaperHandle {
        ReaperHandle { inbox: Arc::clone(&self.inbox) }
    }

    /// Nothing is unloaded from now on: the process is about to end, which frees everything, and an
    /// unload could only go wrong. What arrives is still stopped.
    pub fn hold(&self) {
        self.inbox.tell(|news| news.held = true);
    }

    /// For the end of the process: every generation handed over so far is stopped and freed, side
    /// by side, until `deadline`; nothing is closed any more. Returns how many did not make it;
    /// `usize::MAX` when the reaper itself does not answer.
    #[must_use]
    pub fn shut_down(self, deadline: Instant) -> usize {
        self.inbox.tell(|news| news.closing = Some(deadline));
        // It looks at the deadline every millisecond, unless it hangs or panicked in `report`.
        let time = deadline.saturating_duration_since(Instant::now()) + ANSWER_TIME;
        self.thread.wait(time).unwrap_or(usize::MAX)
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

fn run(inbox: &Inbox<News>, rules: &ReaperRules, report: &impl Fn(Report)) -> usize {
    let mut all: Vec<Going> = Vec::new();
    loop {
        let News { arrived, closing, held } = wait(inbox, all.iter().map(Going::due).min());
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
                report(going.report(state));
            }
            !over
        });
    }
}

/// Waits for an arrival, the end, or, unless everything is held, the moment `due`.
fn wait(inbox: &Inbox<News>, due: Option<Instant>) -> News {
    inbox.wait(|news| {
        let due = due.filter(|_| !news.held);
        let is_due = due.is_some_and(|due| due <= Instant::now());
        if news.arrived.is_empty() && news.closing.is_none() && !is_due {
            return ControlFlow::Continue(due);
        }
        ControlFlow::Break(News { arrived: take(&mut news.arrived), ..*news })
    })
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
