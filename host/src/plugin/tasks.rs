//! Tasks of plugins: futures that run on data threads beside requests.
//!
//! Owns the books of each generation's tasks: which wait until it serves, which run, how they end.
//! Knows nothing of how a thread runs them (`desk`).
//!
//! # Invariants
//! - From its first poll on a task is polled, and dropped, on one data thread.
//! - A task holds no lease on its generation, so none keeps it from its end. [`Tasks::end`] returns
//!   when the last one is dropped, and comes before the plugin's `stop`: that is what keeps the library
//!   loaded for them.
//! - No code of a plugin runs under the lock.
#![expect(unsafe_code, reason = "polls tasks of plugins")]

use std::{
    fmt,
    mem::{self, MaybeUninit},
    pin::Pin,
    rc::Rc,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use hotseat_plugin_api::abi;
use slab::Slab;
use tokio::task::AbortHandle;

use hotseat_unload::{Holding, LibraryId, LibraryLease, Record, enter};

use super::{
    desk::{self, DataThreads},
    release::{self, Keep, Leaving},
    waker::HostWaker,
};
use crate::{
    ids::{Generation, PluginName},
    log,
    status::Beside,
};

/// Why a task was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The generation has as many as it may.
    Full,
    /// It is at its end.
    Ended,
}

/// Whose tasks they are, and where they run.
pub(super) struct Owner {
    pub(super) plugin: PluginName,
    pub(super) generation: Generation,
    pub(super) record: Arc<Record>,
    pub(super) beside: Arc<Beside>,
    pub(super) threads: Arc<dyn DataThreads>,
    /// How many there may be. Units: tasks.
    pub(super) limit: usize,
}

/// The tasks of one generation.
pub(super) struct Tasks {
    owner: Owner,
    state: Mutex<State>,
    /// The last one is gone.
    empty: Condvar,
}

#[derive(Default)]
struct State {
    phase: Phase,
    /// Every task, and how it is ended once it runs.
    all: Slab<Option<AbortHandle>>,
    /// Those that were spawned before the generation serves.
    waiting: Vec<Task>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Waiting,
    Running,
    Ended,
}

impl Tasks {
    pub(super) fn new(owner: Owner) -> Arc<Self> {
        Arc::new(Self { owner, state: Mutex::default(), empty: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a task, which begins when the generation serves: `here`, if the calling thread is a data
    /// thread, else on one that turns. One that is refused is still the caller's.
    pub(super) fn spawn(
        self: &Arc<Self>,
        future: abi::Future<abi::Done>,
        here: bool,
    ) -> Result<(), Refused> {
        let task = {
            let mut state = self.lock();
            if state.phase == Phase::Ended || self.owner.threads.are_ending() {
                return Err(Refused::Ended);
            }
            if state.all.len() >= self.owner.limit {
                return Err(Refused::Full);
            }
            let lease = LibraryLease::new(Arc::clone(&self.owner.record), Holding::Task);
            let lease = lease.ok_or(Refused::Ended)?;
            let key = state.all.insert(None);
            let place = Place { tasks: Arc::clone(self), key, _lease: lease };
            self.owner.beside.tasks.add(1);
            let task = Task { future, place: Some(place) };
            if state.phase == Phase::Waiting {
                state.waiting.push(task);
                return Ok(());
            }
            task
        };
        self.send(task, here);
        Ok(())
    }

    /// The generation serves from here on. Again, it does nothing.
    pub(super) fn begin(&self) {
        let waiting = {
            let mut state = self.lock();
            if state.phase != Phase::Waiting {
                return;
            }
            state.phase = Phase::Running;
            mem::take(&mut state.waiting)
        };
        for task in waiting {
            self.send(task, false);
        }
    }

    /// Takes no more, ends all there are and waits until they are gone: for ever, if the thread of one
    /// does not turn.
    pub(super) fn end(&self) {
        let (waiting, running) = {
            let mut state = self.lock();
            state.phase = Phase::Ended;
            let running: Vec<_> = state.all.iter().filter_map(|(_, it)| it.clone()).collect();
            (mem::take(&mut state.waiting), running)
        };
        drop(waiting);
        running.iter().for_each(AbortHandle::abort);
        let mut state = self.lock();
        while !state.all.is_empty() {
            state = self.empty.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Has `task` begin on its thread. Where none is left it is dropped.
    fn send(&self, task: Task, here: bool) {
        if here && desk::own().is_some() {
            return task.begin();
        }
        if let Some(desk) = self.owner.threads.next() {
            // Given back by a thread that has ended meanwhile, it goes here.
            drop(desk.send(Box::new(move || task.begin())));
        }
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("plugin", &self.owner.plugin).finish_non_exhaustive()
    }
}

/// One task's place in the books, left when its future has been dropped.
struct Place {
    tasks: Arc<Tasks>,
    key: usize,
    /// By which it is seen that there are tasks.
    _lease: LibraryLease,
}

impl Keep for Place {
    fn library(&self) -> LibraryId {
        self.tasks.owner.record.id()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.tasks.owner.beside.tasks.take();
        let mut state = self.tasks.lock();
        state.all.remove(self.key);
        if state.all.is_empty() {
            self.tasks.empty.notify_all();
        }
    }
}

/// For a value that goes before its task does, whose library that keeps.
struct Within(LibraryId);

impl Keep for Within {
    fn library(&self) -> LibraryId {
        self.0
    }
}

/// A task of a plugin.
struct Task {
    future: abi::Future<abi::Done>,
    /// Until it is dropped.
    place: Option<Place>,
}

// SAFETY: by the ABI a task may go to another thread between two calls.
unsafe impl Send for Task {}

impl Task {
    fn place(&self) -> &Place {
        self.place.as_ref().expect("taken only when the task is dropped")
    }

    /// Begins it on the calling thread.
    fn begin(self) {
        let Place { tasks, key, .. } = self.place();
        let (tasks, key) = (Arc::clone(tasks), *key);
        let ended = tasks.lock().phase == Phase::Ended;
        if ended {
            return;
        }
        // At the end of its thread it is gone at once, and its place may be another's.
        let Some(handle) = desk::begin(Box::pin(self)).filter(|it| !it.is_finished()) else {
            return;
        };
        let mut state = tasks.lock();
        if state.phase == Phase::Ended {
            drop(state);
            return handle.abort();
        }
        // It has not been polled: this is its thread.
        if let Some(place) = state.all.get_mut(key) {
            *place = Some(handle);
        }
    }

    /// Copies a text of the plugin's and frees it, before the task goes.
    fn take_text(&self, mut bytes: abi::Bytes) -> String {
        let view = abi::Str { ptr: bytes.ptr, len: bytes.len };
        // SAFETY: owned by us and not freed yet.
        let text = String::from_utf8_lossy(unsafe { view.bytes() }).into_owned();
        release::let_go_of_bytes(&mut bytes, || Rc::new(Within(self.place().library())));
        text
    }

    /// What it ended with, for the log and the books. A panic's text was told by its hook.
    fn tell(&self, code: u32, done: &MaybeUninit<abi::Done>) {
        let Owner { plugin, generation, beside, .. } = &self.place().tasks.owner;
        let is_news = |what| log::is_news(plugin.as_str(), generation.0, what);
        match code {
            abi::poll::READY => {}
            abi::poll::FAILED => {
                // SAFETY: FAILED fills the error's text, which is ours then.
                let error = unsafe { (&raw const (*done.as_ptr()).error).read() };
                let error = self.take_text(error);
                beside.task_errors.add(1);
                if is_news("a task ended with an error") {
                    tracing::error!(
                        target: "plugin", plugin = plugin.as_str(), generation = generation.0,
                        error, "a task ended with an error"
                    );
                }
            }
            _ => {
                beside.task_panics.add(1);
                if is_news("a task panicked") {
                    tracing::error!(
                        target: "plugin", plugin = plugin.as_str(), generation = generation.0,
                        "a task panicked; it has ended, and nothing else has"
                    );
                }
            }
        }
    }
}

impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut done = MaybeUninit::uninit();
        let waker = HostWaker::new(cx.waker());
        let entered = enter(self.place().library());
        // SAFETY: the task is alive, on its thread, and not polled after its end: whoever runs it
        // drops it then. Its library stays loaded until it is dropped.
        let code =
            unsafe { (self.future.poll)(self.future.data, waker.as_ptr(), done.as_mut_ptr()) };
        drop(entered);
        if code == abi::poll::PENDING {
            return Poll::Pending;
        }
        self.tell(code, &done);
        Poll::Ready(())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            release::let_go(Leaving::future(&self.future, Rc::new(place)));
        }
    }
}

#[cfg(test)]
mod tests;
