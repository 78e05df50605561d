//! Where orders are handed in: a bounded queue with a ticket for each.
//!
//! Owns the queue and the list of recent orders. Knows nothing of what an order does; the
//! pipeline's thread takes them out one by one, so history is linear.

use std::{
    collections::VecDeque,
    fmt,
    ops::ControlFlow,
    path::PathBuf,
    sync::{
        Arc, MutexGuard, OnceLock,
        mpsc::{SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    amend::Withdrawal,
    order::{Change, Deployed, Order},
    reload::Reloaded,
};
use crate::{
    error::{Coded, Kind},
    event::{Events, Phase},
    ids::Peer,
    state::history::Entry,
    status::OrderStatus,
    thread::Inbox,
};

/// Why an order was not carried out; shared, because the log, the history and the caller all
/// get it.
pub type Refusal = Arc<dyn Coded + Send + Sync>;

/// How an order ended.
pub type Outcome = Result<Deployed, Refusal>;

/// Ended orders that `/v1/deploys` still shows.
const ENDED_COUNT: usize = 64;

/// An order was not even queued.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum DeskError {
    /// Units: `limit` counts orders.
    #[error("{limit} orders are waiting already")]
    Busy {
        /// The queue's bound.
        limit: usize,
    },
    /// A reload is to begin that will read what this one would.
    #[error("a reload of the configuration is waiting already")]
    ReloadWaits,
    /// The host is stopping.
    #[error("the host is stopping")]
    Stopping,
    /// Another worker is about to take over, or has.
    #[error("this worker takes no orders: another one is taking over")]
    Frozen,
    /// The thread that carries orders out has panicked.
    #[error("the deploy thread has ended by a panic: nothing can be changed any more")]
    Broken,
}

impl Coded for DeskError {
    fn code(&self) -> &'static str {
        match self {
            Self::Busy { .. } => "queue_full",
            Self::ReloadWaits => "reload_waiting",
            Self::Stopping => "stopping",
            Self::Frozen => "worker_frozen",
            Self::Broken => "deploy_thread_ended",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Busy { .. } | Self::ReloadWaits | Self::Frozen => Kind::Busy,
            Self::Stopping => Kind::Stopping,
            Self::Broken => Kind::Host,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Busy { .. } => "try again in a second, or raise `queue_count`".to_owned(),
            Self::ReloadWaits => {
                "it reads the file when its turn comes; try again in a second".to_owned()
            }
            Self::Stopping => "send it to the host that is started next".to_owned(),
            Self::Frozen => "send it again on a new connection".to_owned(),
            Self::Broken => {
                "what serves goes on serving; restart the host, and report the panic in its log"
                    .to_owned()
            }
        })
    }
}

/// A queued order: its number, and where its outcome will arrive.
#[derive(Debug)]
pub struct Ticket {
    /// As in `/v1/deploys`.
    pub order: u64,
    /// Answered exactly once. Dropping it does not cancel the order.
    pub answer: oneshot::Receiver<Outcome>,
}

/// An order that the pipeline has taken out.
#[derive(Debug)]
pub struct Job {
    /// Its number.
    pub number: u64,
    /// What is wanted.
    pub order: Order,
    /// The process that asks, as far as known.
    pub by: Option<Peer>,
    answer: oneshot::Sender<Outcome>,
}

impl Job {
    /// What the order names: a path as it was given, or a plugin.
    #[must_use]
    pub fn subject(&self) -> String {
        match &self.order {
            Order::Deploy { path, .. } => path.display().to_string(),
            Order::Rollback { plugin, .. } => {
                plugin.as_ref().map_or_else(String::new, ToString::to_string)
            }
            Order::Unload { plugin, .. } => plugin.to_string(),
        }
    }
}

/// What the pipeline's thread does next.
#[derive(Debug)]
pub enum Work {
    /// An order of somebody.
    Order(Job),
    /// The state was changed by another process: make what serves equal to it, then say so.
    Reconcile(SyncSender<()>),
    /// Something that serves is not to do so any longer.
    Withdraw(Withdrawal),
    /// The plugins' own settings may have changed.
    Reload(ReloadJob),
    /// Nothing is to change: find out whether a file would be accepted by now.
    Trial(Trial),
}

/// Somebody wants the plugins' settings read anew.
#[derive(Debug)]
pub struct ReloadJob {
    /// The process that asks, as far as known.
    pub by: Option<Peer>,
    answer: oneshot::Sender<Result<Reloaded, Refusal>>,
}

impl ReloadJob {
    /// Tells whoever waits, if somebody still does.
    pub fn answer(self, done: Result<Reloaded, Refusal>) {
        let _ = self.answer.send(done);
    }
}

/// A file that was refused, to be tried again without a word.
#[derive(Debug)]
pub struct Trial {
    /// Where it lies.
    pub path: PathBuf,
    answer: oneshot::Sender<Verdict>,
}

/// How a trial ended: the code of the refusal that an order would get.
pub type Verdict = Result<(), &'static str>;

impl Trial {
    /// Tells whoever waits, if somebody still does.
    pub fn answer(self, verdict: Verdict) {
        let _ = self.answer.send(verdict);
    }
}

#[derive(Debug, Default)]
struct State {
    /// The number given last.
    last: u64,
    /// What is answered to whoever comes now.
    closed: Option<DeskError>,
    /// No order is taken in for the time being.
    frozen: bool,
    waiting: VecDeque<Job>,
    reconcile: Option<SyncSender<()>>,
    /// One of each generation at most.
    withdraw: VecDeque<Withdrawal>,
    reload: Option<ReloadJob>,
    /// Only when nothing else is to be done.
    trial: Option<Trial>,
    running: Option<OrderStatus>,
    /// From the moment work is taken out until the next is asked for: what is tidied up behind an
    /// order's answer belongs to the order.
    busy: bool,
    ended: VecDeque<OrderStatus>,
}

impl State {
    fn take_out(&mut self) -> ControlFlow<Option<Work>, Option<Instant>> {
        if self.closed.is_some() {
            return ControlFlow::Break(None);
        }
        let work = if let Some(done) = self.reconcile.take() {
            Work::Reconcile(done)
        } else if !self.frozen
            && let Some(withdrawal) = self.withdraw.pop_front()
        {
            Work::Withdraw(withdrawal)
        } else if let Some(job) = self.reload.take() {
            Work::Reload(job)
        } else if let Some(job) = self.waiting.pop_front() {
            self.running = Some(describe(&job, "running"));
            Work::Order(job)
        } else if let Some(trial) = self.trial.take() {
            Work::Trial(trial)
        } else {
            return ControlFlow::Continue(None);
        };
        self.busy = true;
        ControlFlow::Break(Some(work))
    }
}

struct Shared {
    limit: usize,
    state: Inbox<State>,
    events: Events,
    /// Hears of each number.
    given: OnceLock<Box<dyn Fn(u64) + Send + Sync>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("state", &self.state).finish_non_exhaustive()
    }
}

/// See [`Desk::attend`].
#[derive(Debug)]
pub struct Attendant(Desk);

impl Drop for Attendant {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Whoever waits for the desk to settle has waited long enough.
            self.0.shared.state.tell(|state| (state.running, state.busy) = (None, false));
            self.0.close_with(DeskError::Broken);
        }
    }
}

/// The handle that every edge gets. Clones share the queue.
#[derive(Clone, Debug)]
pub struct Desk {
    shared: Arc<Shared>,
}

impl Desk {
    /// A queue of at most `limit` waiting orders. Numbers begin with 1.
    #[must_use]
    pub fn new(limit: usize, events: Events) -> Self {
        let given = OnceLock::new();
        Self { shared: Arc::new(Shared { limit, state: Inbox::default(), events, given }) }
    }

    /// Orders are numbered from `first` on, before any is taken in; `given` hears of each number
    /// under the desk's lock.
    pub fn number_from(&self, first: u64, given: impl Fn(u64) + Send + Sync + 'static) {
        // Said once.
        let _ = self.shared.given.set(Box::new(given));
        self.skip_to(first);
    }

    /// The next order has at least this number: those before it are somebody else's.
    pub fn skip_to(&self, next: u64) {
        let mut state = self.state();
        state.last = state.last.max(next.saturating_sub(1));
    }

    /// The number of the next order.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.state().last + 1
    }

    /// How many orders may wait.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.shared.limit
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock()
    }

    /// Queues `order`.
    ///
    /// # Errors
    /// [`DeskError::Busy`] when the queue is full, [`DeskError::Frozen`] while it is frozen,
    /// [`DeskError::Stopping`] or [`DeskError::Broken`] once it is closed.
    pub fn submit(&self, order: Order) -> Result<Ticket, DeskError> {
        self.submit_by(order, None)
    }

    /// As [`submit`](Self::submit), for a process that is known.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn submit_by(&self, order: Order, by: Option<Peer>) -> Result<Ticket, DeskError> {
        self.shared.state.tell(|state| {
            // Also of a worker that ends after it has handed over: its successor takes orders.
            if state.frozen {
                return Err(DeskError::Frozen);
            }
            if let Some(why) = state.closed {
                return Err(why);
            }
            if state.waiting.len() >= self.shared.limit {
                return Err(DeskError::Busy { limit: self.shared.limit });
            }
            state.last += 1;
            let number = state.last;
            if let Some(given) = self.shared.given.get() {
                given(number);
            }
            let (answer, receiver) = oneshot::channel();
            state.waiting.push_back(Job { number, order, by, answer });
            // Published under the lock, so that `queued` never follows `staged`.
            self.shared.events.publish(Phase::Queued, |event| event.order = Some(number));
            Ok(Ticket { order: number, answer: receiver })
        })
    }

    /// Takes the next piece of work out, waiting for one. `None` once the desk is closed. Whoever
    /// asks is done with the piece before.
    #[must_use]
    pub fn next(&self) -> Option<Work> {
        let first = self.shared.state.tell(|state| {
            state.busy = false;
            state.take_out()
        });
        match first {
            ControlFlow::Break(work) => work,
            ControlFlow::Continue(_) => self.shared.state.wait(State::take_out),
        }
    }

    /// Takes the next order out.
    #[cfg(test)]
    pub(crate) fn take(&self) -> Option<Job> {
        match self.next()? {
            Work::Order(job) => Some(job),
            Work::Reconcile(_) | Work::Withdraw(_) | Work::Reload(_) | Work::Trial(_) => None,
        }
    }

    /// Has a generation that serves replaced by the version before it, before the next order.
    pub fn withdraw(&self, withdrawal: Withdrawal) {
        self.shared.state.tell(|state| {
            if state.withdraw.iter().all(|it| it.generation != withdrawal.generation) {
                state.withdraw.push_back(withdrawal);
            }
        });
    }

    /// Has the plugins' settings read anew, before the next order.
    ///
    /// # Errors
    /// As [`submit`](Self::submit); one may wait.
    pub fn reload(
        &self,
        by: Option<Peer>,
    ) -> Result<oneshot::Receiver<Result<Reloaded, Refusal>>, DeskError> {
        self.shared.state.tell(|state| {
            if state.frozen {
                return Err(DeskError::Frozen);
            }
            if let Some(why) = state.closed {
                return Err(why);
            }
            if state.reload.is_some() {
                return Err(DeskError::ReloadWaits);
            }
            let (answer, receiver) = oneshot::channel();
            state.reload = Some(ReloadJob { by, answer });
            Ok(receiver)
        })
    }

    /// Has the file at `path` tried once nothing else is to be done.
    ///
    /// # Errors
    /// As [`submit`](Self::submit); one trial may wait.
    pub fn try_file(&self, path: PathBuf) -> Result<oneshot::Receiver<Verdict>, DeskError> {
        self.shared.state.tell(|state| {
            if state.frozen {
                return Err(DeskError::Frozen);
            }
            if let Some(why) = state.closed {
                return Err(why);
            }
            if state.trial.is_some() {
                return Err(DeskError::Busy { limit: 1 });
            }
            let (answer, receiver) = oneshot::channel();
            state.trial = Some(Trial { path, answer });
            Ok(receiver)
        })
    }

    /// Answers an order that was taken out.
    pub fn finish(&self, job: Job, outcome: Outcome) {
        let mut ended = describe(&job, if outcome.is_ok() { "done" } else { "refused" });
        ended.outcome = Some(match &outcome {
            Ok(deployed) => deployed.line(),
            Err(refusal) => refusal.to_string(),
        });
        let mut state = self.state();
        state.running = None;
        state.ended.push_front(ended);
        state.ended.truncate(ENDED_COUNT);
        drop(state);
        // The client may have gone; the order is done all the same.
        let _ = job.answer.send(outcome);
    }

    /// Takes no order in until [`thaw`](Self::thaw); those that wait are still carried out.
    pub fn freeze(&self) {
        self.shared.state.tell(|state| {
            state.frozen = true;
            state.trial = None;
        });
    }

    /// Whether it is frozen; waits for that up to `patience`.
    #[must_use]
    pub fn is_frozen(&self, patience: Duration) -> bool {
        self.shared.state.wait_for(patience, |state| state.frozen)
    }

    /// Takes orders in again.
    pub fn thaw(&self) {
        self.state().frozen = false;
    }

    /// Has the pipeline make what serves equal to the record; at most `patience` is waited for
    /// that. False: it takes longer, or the desk is closed.
    #[must_use]
    pub fn reconcile(&self, patience: Duration) -> bool {
        let (done, over) = sync_channel(1);
        // Where it is closed nobody ever answers: `done` is dropped.
        self.shared.state.tell(|state| {
            if state.closed.is_none() {
                state.reconcile = Some(done);
            }
        });
        over.recv_timeout(patience).is_ok()
    }

    /// Waits until no order waits or runs, at most `patience`. Whether that is so.
    #[must_use]
    pub fn settle(&self, patience: Duration) -> bool {
        self.shared.state.wait_for(patience, |state| {
            state.waiting.is_empty() && state.reload.is_none() && !state.busy
        })
    }

    /// Refuses everything that waits and all that comes.
    pub fn close(&self) {
        self.close_with(DeskError::Stopping);
    }

    fn close_with(&self, why: DeskError) {
        let (waiting, reload) = self.shared.state.tell(|state| {
            state.closed = Some(why);
            // Whoever waits for either hears that nobody will answer.
            (state.trial, state.reconcile) = (None, None);
            (std::mem::take(&mut state.waiting), state.reload.take())
        });
        if let Some(job) = reload {
            job.answer(Err(Arc::new(why)));
        }
        for job in waiting {
            let _ = job.answer.send(Err(Arc::new(why)));
        }
    }

    /// Whether nobody takes orders any more although the host does not stop.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        matches!(self.state().closed, Some(DeskError::Broken))
    }

    /// To be held by the thread that takes the orders: should it panic, whoever waits is told.
    #[must_use]
    pub fn attend(&self) -> Attendant {
        Attendant(self.clone())
    }

    /// Shows what ended before this worker as well; newest first.
    pub fn remember(&self, history: &[Entry]) {
        let ended: VecDeque<_> = history.iter().filter_map(ended).take(ENDED_COUNT).collect();
        self.state().ended = ended;
    }

    /// The running order, those that wait, and those that ended last (newest first).
    #[must_use]
    pub fn orders(&self) -> Vec<OrderStatus> {
        let state = self.state();
        let waiting = state.waiting.iter().map(|job| describe(job, "waiting"));
        state.running.iter().cloned().chain(waiting).chain(state.ended.iter().cloned()).collect()
    }
}

fn describe(job: &Job, state: &'static str) -> OrderStatus {
    let verb = job.order.verb();
    OrderStatus { order: job.number, verb, subject: job.subject(), state, outcome: None }
}

/// An order that this or an earlier worker has carried out, as the history has it. `None`: the line
/// is of no order, or of a host that has counted from 1 again.
#[must_use]
pub fn ended(entry: &Entry) -> Option<OrderStatus> {
    let verb = Order::VERBS.into_iter().find(|verb| *verb == entry.verb)?;
    let done = Change::ALL.iter().any(|change| change.as_str() == entry.outcome);
    Some(OrderStatus {
        order: entry.order,
        verb,
        subject: entry.subject.clone()?,
        state: if done { "done" } else { "refused" },
        outcome: Some(entry.text.clone()),
    })
}

#[cfg(test)]
mod tests;
