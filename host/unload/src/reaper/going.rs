//! One retired instance on its way out: what is done with it, what it waits for, when to look again.

use std::{
    mem::ManuallyDrop,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Ended, ReaperRules, Report, Retire, Retired, Unloading};
use crate::{
    hooks::{purge_thread, registry::Record},
    library::{CloseError, Library, unanswered},
    purge::Purge,
    thread::{NoResult, Side},
};

/// How long the first look may wait for a side thread or a purge; most end sooner. Later looks do
/// not wait, because others do.
const PATIENCE: Duration = Duration::from_millis(2);
/// A wait shorter than this is not worth a report.
const UNREPORTED: Duration = Duration::from_millis(50);
/// Between two looks: doubled from the first to the second, and the third once it is resident.
const LOOK_FIRST: Duration = Duration::from_millis(1);
const LOOK_LAST: Duration = Duration::from_millis(100);
const LOOK_RESIDENT: Duration = Duration::from_secs(1);

/// What a `drop` that takes longer than it may is told as.
const NOT_DROPPED: &str = "its `drop` has not returned";

enum Stage<I> {
    /// `stop` runs on a side thread, and then `drop`: since how long after the beginning.
    Ending { side: Side<Ended<I>>, freeing: Arc<OnceLock<Duration>>, record: Arc<Record> },
    /// Stopped; something of it still runs, and may use the instance: a library of before.
    Running(I),
    /// The `drop` of such a one runs on a side thread.
    Freeing(Side<Library>),
    /// Only the library is left; every thread is asked to purge itself.
    Purging { library: Library, purge: Option<Purge> },
    /// The loader runs its static destructors and unmaps it, on a side thread.
    Closing { side: Side<Result<(), CloseError>>, began: Arc<AtomicBool> },
    /// Nothing more is done with it.
    Over,
}

/// What a look found.
enum Look<I> {
    /// The next stage can be tried at once.
    On(Stage<I>),
    /// Not yet: why, and how long that is no surprise.
    Wait(Stage<I>, String, Duration),
    /// As it was closed something was found that holds it: back to the stage before, why.
    Back(Stage<I>, String),
    /// The end.
    End(Unloading),
}

/// One on its way out.
pub(super) struct Going<I> {
    tag: u64,
    /// Until it was called.
    unmapped: Option<Box<dyn FnOnce() + Send>>,
    stage: Stage<I>,
    /// Since when it is in this stage.
    since: Instant,
    look: Duration,
    /// The same of the stage before it was closed, for when it has to go back there.
    earlier: (Instant, Duration),
    /// It had to, and was said to be held.
    held: bool,
    due: Instant,
    reported: Option<Unloading>,
}

impl<I: Retire> Going<I> {
    /// Begins with its end, at once.
    pub(super) fn start(retired: Retired<I>) -> Self {
        let Retired { tag, instance, unmapped } = retired;
        let now = Instant::now();
        let stage = end(instance);
        let (look, earlier) = (LOOK_FIRST, (now, LOOK_FIRST));
        Self {
            tag,
            unmapped: Some(unmapped),
            stage,
            since: now,
            look,
            earlier,
            held: false,
            due: now,
            reported: None,
        }
    }

    /// What there is to say of `state`.
    pub(super) fn report(&self, state: Unloading) -> Report {
        let record = match &self.stage {
            Stage::Running(instance) => Some(instance.record()),
            Stage::Purging { library, .. } => Some(library.record()),
            Stage::Ending { .. } | Stage::Freeing(_) | Stage::Closing { .. } | Stage::Over => None,
        };
        let threads = record.map(|record| record.threads_by_name()).unwrap_or_default();
        Report { tag: self.tag, state, threads }
    }

    /// When it wants to be looked at.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// Takes it as far as it goes; what became of it, if that is new.
    pub(super) fn advance(&mut self, rules: &ReaperRules) -> Option<Unloading> {
        loop {
            let stage = std::mem::replace(&mut self.stage, Stage::Over);
            let patience = if self.look == LOOK_FIRST { PATIENCE } else { Duration::ZERO };
            match step(stage, rules, patience) {
                Look::On(stage) => {
                    if matches!(stage, Stage::Closing { .. }) {
                        self.earlier = (self.since, self.look);
                    }
                    self.stage = stage;
                    self.since = Instant::now();
                    self.look = LOOK_FIRST;
                }
                Look::Wait(stage, reason, allowed) => {
                    self.stage = stage;
                    return self.wait(reason, allowed, rules);
                }
                Look::Back(stage, reason) => {
                    self.stage = stage;
                    (self.since, self.look) = self.earlier;
                    self.held = true;
                    return self.wait(reason, Duration::ZERO, rules);
                }
                Look::End(state) => return self.end(state),
            }
        }
    }

    fn wait(
        &mut self,
        reason: String,
        allowed: Duration,
        rules: &ReaperRules,
    ) -> Option<Unloading> {
        let waited = self.since.elapsed();
        let resident = waited >= allowed + rules.grace;
        self.due = Instant::now() + if resident { LOOK_RESIDENT } else { self.look };
        self.look = (self.look * 2).min(LOOK_LAST);
        // Whoever was held is only looked at once more: until it hangs, that is still so.
        let again = self.held && matches!(self.stage, Stage::Closing { .. });
        if waited < if again { allowed } else { UNREPORTED } {
            return None;
        }
        self.news(if resident { Unloading::Resident(reason) } else { Unloading::Pending(reason) })
    }

    fn end(&mut self, state: Unloading) -> Option<Unloading> {
        if state == Unloading::Unloaded
            && let Some(unmapped) = self.unmapped.take()
        {
            unmapped();
        }
        self.news(state)
    }

    fn news(&mut self, state: Unloading) -> Option<Unloading> {
        if self.reported.as_ref() == Some(&state) {
            return None;
        }
        self.reported = Some(state.clone());
        Some(state)
    }

    /// For the end of the process: whether its `stop` is over, and the `drop` that belongs to it. It
    /// is not closed any more.
    pub(super) fn has_stopped(&mut self) -> bool {
        match &self.stage {
            Stage::Ending { side, .. } => {
                !matches!(side.wait(Duration::ZERO), Err(NoResult::TimedOut))
            }
            Stage::Running(_)
            | Stage::Freeing(_)
            | Stage::Purging { .. }
            | Stage::Closing { .. }
            | Stage::Over => true,
        }
    }
}

fn end<I: Retire>(instance: I) -> Stage<I> {
    let freeing = Arc::<OnceLock<Duration>>::default();
    let (told, began) = (freeing.clone(), Instant::now());
    let (library, record) = (instance.record().id(), instance.record().clone());
    // Where there is no thread for it nobody drops it.
    let instance = ManuallyDrop::new(instance);
    let work = move || {
        let ended = ManuallyDrop::into_inner(instance).end(|| {
            // Said once.
            let _ = told.set(began.elapsed());
        });
        purge_thread(library);
        ended
    };
    // Nobody waits when the process ends; then it just stays.
    match Side::start("stop", work, drop) {
        Ok(side) => Stage::Ending { side, freeing, record },
        Err(error) => {
            // The instance went with the closure: it stays, unstopped, as if it hung.
            tracing::error!(%error, "no thread to stop a plugin");
            Stage::Over
        }
    }
}

fn step<I: Retire>(stage: Stage<I>, rules: &ReaperRules, patience: Duration) -> Look<I> {
    match stage {
        Stage::Ending { side, freeing, record } => match side.wait(patience) {
            Ok(Ended::Freed(library)) => Look::On(Stage::Purging { library, purge: None }),
            Ok(Ended::Running(instance)) => Look::On(Stage::Running(instance)),
            Err(NoResult::TimedOut) => {
                // Each of the two has the whole time.
                let (reason, allowed) = match freeing.get() {
                    Some(stopped) => (NOT_DROPPED, *stopped + rules.stop_time),
                    // They go before its `stop`.
                    None if record.task_count() > 0 => {
                        ("a task of it has not ended: its thread does not turn", rules.stop_time)
                    }
                    None => ("its `stop` has not returned", rules.stop_time),
                };
                Look::Wait(Stage::Ending { side, freeing, record }, reason.to_owned(), allowed)
            }
            Err(NoResult::Died) => broken(),
        },
        Stage::Running(instance) => step_running(instance),
        Stage::Freeing(side) => match side.wait(patience) {
            Ok(library) => Look::On(Stage::Purging { library, purge: None }),
            Err(NoResult::TimedOut) => {
                Look::Wait(Stage::Freeing(side), NOT_DROPPED.to_owned(), rules.stop_time)
            }
            Err(NoResult::Died) => broken(),
        },
        Stage::Purging { library, purge } => step_purging(library, purge, rules, patience),
        Stage::Closing { side, began } => match side.wait(patience) {
            Ok(Ok(())) => Look::End(Unloading::Unloaded),
            Ok(Err(CloseError::Held(library, reason))) => {
                Look::Back(Stage::Purging { library, purge: None }, reason)
            }
            Ok(Err(CloseError::Mapped(reason))) => Look::End(Unloading::Resident(reason)),
            Err(NoResult::TimedOut) => {
                let reason = match began.load(Ordering::Relaxed) {
                    true => "its destructors have not returned",
                    false => "another library is being opened or closed",
                };
                let reason = reason.to_owned();
                Look::Wait(Stage::Closing { side, began }, reason, rules.stop_time)
            }
            Err(NoResult::Died) => broken(),
        },
        Stage::Over => broken(),
    }
}

fn broken<I>() -> Look<I> {
    Look::End(Unloading::Resident("its unloading broke off inside the host".to_owned()))
}

fn step_running<I: Retire>(instance: I) -> Look<I> {
    if !instance.record().is_quiet() {
        let holders = instance.record().holders();
        return Look::Wait(Stage::Running(instance), holders, Duration::ZERO);
    }
    let library = instance.record().id();
    let instance = ManuallyDrop::new(instance);
    let work = move || {
        let freed = ManuallyDrop::into_inner(instance).free();
        purge_thread(library);
        freed
    };
    match Side::start("drop", work, drop) {
        Ok(side) => Look::On(Stage::Freeing(side)),
        Err(error) => {
            tracing::error!(%error, "no thread to drop a plugin's instance");
            broken()
        }
    }
}

fn step_purging<I>(
    library: Library,
    purge: Option<Purge>,
    rules: &ReaperRules,
    patience: Duration,
) -> Look<I> {
    if let Some(reason) = &rules.never {
        return Look::End(Unloading::Resident(reason.clone()));
    }
    library.calm();
    let record = library.record();
    if record.needs_purge() {
        let purge = purge.unwrap_or_else(|| Purge::begin(library.id()));
        let missing = purge.missing(patience);
        if !missing.is_empty() {
            let stage = Stage::Purging { library, purge: Some(purge) };
            return Look::Wait(stage, unanswered(&missing), rules.purge_time);
        }
    }
    // Asked here, because whoever is held for long stays in this stage and becomes resident.
    if let Some(reason) = library.held() {
        // Something appeared since; every thread is asked again.
        return Look::Wait(Stage::Purging { library, purge: None }, reason, Duration::ZERO);
    }
    let began = Arc::<AtomicBool>::default();
    let begins = Arc::clone(&began);
    let close = move || library.close_telling(|| begins.store(true, Ordering::Relaxed));
    match Side::start("close", close, drop) {
        Ok(side) => Look::On(Stage::Closing { side, began }),
        Err(error) => {
            tracing::error!(%error, "no thread to close a library");
            broken()
        }
    }
}
