//! The way out: ends, purges and closes what is not used any more, on one thread made for it.
//!
//! Whoever has the last use of a library hands it over ([`ReaperHandle::retire`]) and goes on; nothing
//! of it happens on that thread. Knows nothing of why.
//!
//! # Invariants
//! - A library that cannot go yet is looked at again and again, and no other waits for it. While the
//!   loader runs one's static destructors it opens and closes no other, whoever asks.
//! - Whatever may hang in a library (its end, static destructors) hangs on a side thread.
//! - [`Unloading::Unloaded`] is reported after the loader has confirmed it.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, io,
    mem::{ManuallyDrop, take},
    ops::ControlFlow,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use self::going::Going;
use crate::{
    hooks::registry::Record,
    library::Library,
    thread::{Inbox, Side},
};

mod going;

/// What lives in a library, and has to end before that is closed.
///
/// [`Library`] itself is one, with nothing in it.
pub trait Retire: Sized + Send + 'static {
    /// What its library has in the process.
    fn record(&self) -> &Arc<Record>;

    /// Stops what it has started (its `stop`), and then ends itself (its `drop`), on the calling
    /// thread, which was made for that and is purged of the library afterwards. `freeing` is to be
    /// called between the two, of which each may take [`ReaperRules::stop_time`].
    fn end(self, freeing: impl FnOnce()) -> Ended<Self>;

    /// Ends itself, once nothing of it runs any more: for what [`end`](Self::end) has left running.
    /// On a thread as there.
    fn free(self) -> Library;
}

impl Retire for Library {
    fn record(&self) -> &Arc<Record> {
        self.record()
    }

    fn end(self, freeing: impl FnOnce()) -> Ended<Self> {
        freeing();
        Ended::Freed(self)
    }

    fn free(self) -> Library {
        self
    }
}

/// What [`Retire::end`] left.
#[derive(Debug)]
pub enum Ended<I> {
    /// Only the library; threads of it may still run.
    Freed(Library),
    /// It has ended what it had started, but may itself be ended only when nothing of it runs any
    /// more, and something does.
    Running(I),
}

/// Something that is to be unloaded.
pub struct Retired<I> {
    /// By which it is reported: any number of the host's.
    pub tag: u64,
    /// What is to be ended, and then unloaded.
    pub instance: I,
    /// Called on the reaper's thread as soon as the library is unmapped, before that is reported:
    /// its file may go.
    pub unmapped: Box<dyn FnOnce() + Send>,
}

impl<I> fmt::Debug for Retired<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retired").field("tag", &self.tag).finish_non_exhaustive()
    }
}

/// Where something retired is on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unloading {
    /// It cannot be unmapped yet: why.
    Pending(String),
    /// Unmapped, verified.
    Unloaded,
    /// It stays mapped: why. What may yet end is still looked at from time to time, and unloaded
    /// after all.
    Resident(String),
}

/// Something has changed for something retired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which: [`Retired::tag`].
    pub tag: u64,
    /// What it is now.
    pub state: Unloading,
    /// Its threads that still run, by name, where those keep it.
    pub threads: BTreeMap<String, usize>,
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
    /// How long each step of an end may take before it counts as hanging.
    pub stop_time: Duration,
    /// How long a thread may take to answer a purge before it counts as not answering.
    pub purge_time: Duration,
    /// How long something is pending, on top of those, before it is called resident.
    pub grace: Duration,
}

struct News<I> {
    /// As long as the number of loads at most; `retire` must never wait nor fail.
    arrived: VecDeque<ManuallyDrop<Retired<I>>>,
    closing: Option<Instant>,
    held: bool,
}

impl<I> Default for News<I> {
    fn default() -> Self {
        Self { arrived: VecDeque::new(), closing: None, held: false }
    }
}

/// The thread that unloads.
pub struct Reaper<I> {
    inbox: Arc<Inbox<News<I>>>,
    /// Ends with how many did not end in time.
    thread: Side<usize>,
}

/// Hands over what is to be unloaded; clones reach the same reaper.
pub struct ReaperHandle<I> {
    inbox: Arc<Inbox<News<I>>>,
}

impl<I> Clone for ReaperHandle<I> {
    fn clone(&self) -> Self {
        Self { inbox: Arc::clone(&self.inbox) }
    }
}

impl<I> ReaperHandle<I> {
    /// Hands something over. Never waits, so that the last use may end anywhere. After
    /// [`Reaper::shut_down`] it just stays.
    pub fn retire(&self, retired: Retired<I>) {
        // Nobody drops it: without a reaper it stays.
        let retired = ManuallyDrop::new(retired);
        self.inbox.tell(|news| news.arrived.push_back(retired));
    }
}

impl<I: Retire> Reaper<I> {
    /// Starts the reaper's thread. `report` is called there, for each change.
    ///
    /// # Errors
    /// The system's own, when the thread cannot be started.
    pub fn start(rules: ReaperRules, report: impl Fn(Report) + Send + 'static) -> io::Result<Self> {
        let inbox = Arc::<Inbox<News<I>>>::default();
        let here = Arc::clone(&inbox);
        // Nobody hears its number when the process has lost patience.
        let thread = Side::start("reaper", move || run(&here, &rules, &report), drop)?;
        Ok(Self { inbox, thread })
    }

    /// A way to hand things over.
    #[must_use]
    pub fn handle(&self) -> ReaperHandle<I> {
        ReaperHandle { inbox: Arc::clone(&self.inbox) }
    }

    /// Nothing is unloaded from now on: the process is about to end, which frees everything, and an
    /// unload could only go wrong. What arrives is still stopped.
    pub fn hold(&self) {
        self.inbox.tell(|news| news.held = true);
    }

    /// For the end of the process: whatever was handed over so far is ended, side
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

impl<I> fmt::Debug for Reaper<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reaper").finish_non_exhaustive()
    }
}

impl<I> fmt::Debug for ReaperHandle<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReaperHandle").finish_non_exhaustive()
    }
}

fn run<I: Retire>(inbox: &Inbox<News<I>>, rules: &ReaperRules, report: &impl Fn(Report)) -> usize {
    let mut all: Vec<Going<I>> = Vec::new();
    loop {
        let News { arrived, closing, held } = wait(inbox, all.iter().map(Going::due).min());
        all.extend(arrived.into_iter().map(|it| Going::start(ManuallyDrop::into_inner(it))));
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
fn wait<I>(inbox: &Inbox<News<I>>, due: Option<Instant>) -> News<I> {
    inbox.wait(|news| {
        let due = due.filter(|_| !news.held);
        let is_due = due.is_some_and(|due| due <= Instant::now());
        if news.arrived.is_empty() && news.closing.is_none() && !is_due {
            return ControlFlow::Continue(due);
        }
        ControlFlow::Break(News { arrived: take(&mut news.arrived), ..*news })
    })
}

/// Each has begun to end when it arrived.
fn stop_all<I: Retire>(mut all: Vec<Going<I>>, deadline: Instant) -> usize {
    loop {
        all.retain_mut(|going| !going.has_stopped());
        if all.is_empty() || Instant::now() >= deadline {
            return all.len();
        }
        thread::park_timeout(Duration::from_millis(1));
    }
}
