//! The drain notice: a state that only goes forward, and who waits for it.
//!
//! Owns the phases and the wakers. Knows nothing of why the instance goes.
//! Invariant: no waker is cloned, dropped or called under the lock that others could need.

use std::{
    collections::BTreeMap,
    future::Future,
    mem,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{self, Poll, Waker},
};

use super::Context;

/// How far an instance's end has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    #[default]
    Serving,
    Requested,
    LastCall,
}

#[derive(Default)]
pub(crate) struct Drain {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    phase: Phase,
    next_key: u64,
    waiting: BTreeMap<u64, Waker>,
}

impl Drain {
    /// Goes on to the phase and wakes all who wait; whether this was the first notice.
    pub(crate) fn notify(&self, last_call: bool) -> bool {
        let (first, waiting) = {
            let mut state = self.lock();
            let first = state.phase == Phase::Serving;
            state.phase =
                state.phase.max(if last_call { Phase::LastCall } else { Phase::Requested });
            (first, mem::take(&mut state.waiting))
        };
        waiting.into_values().for_each(Waker::wake);
        first
    }

    /// How many wait for it.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends when the drain notice has come; see [`Context::draining`].
#[derive(Debug)]
#[must_use = "a future does nothing until it is awaited"]
pub struct Draining {
    context: Context,
    phase: Phase,
    key: Option<u64>,
}

impl Draining {
    pub(super) fn new(context: Context, phase: Phase) -> Self {
        Self { context, phase, key: None }
    }
}

impl Future for Draining {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let this = &mut *self;
        let (_unused, polled) = {
            let mut state = this.context.drain().lock();
            if state.phase >= this.phase {
                (Some(waker), Poll::Ready(()))
            } else {
                let key = *this.key.get_or_insert_with(|| {
                    state.next_key += 1;
                    state.next_key
                });
                (state.waiting.insert(key, waker), Poll::Pending)
            }
        };
        polled
    }
}

impl Drop for Draining {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let _removed = self.context.drain().lock().waiting.remove(&key);
        }
    }
}
