//! The time of a kit, and who waits for it.
//!
//! It stands still but for [`Clock::jump`] and [`Clock::set`], unless it is the real one.
//! Invariant: no waker is called or dropped under the lock.
#![expect(unsafe_code, reason = "plays the host's side of the ABI")]

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use super::{
    future,
    waker::Kept,
    world::{World, lock},
};
use crate::abi::{self, Done, Waker};

/// See the module.
#[derive(Debug)]
pub(super) struct Clock {
    began: Instant,
    /// The same by `CLOCK_MONOTONIC`.
    monotonic: Duration,
    is_real: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    now: Duration,
    last: u64,
    timers: BTreeMap<(Duration, u64), Kept>,
}

impl Clock {
    pub(super) fn new(is_real: bool) -> Self {
        let monotonic = crate::request::monotonic().unwrap_or_default();
        Self { began: Instant::now(), monotonic, is_real, state: Mutex::default() }
    }

    pub(super) fn is_real(&self) -> bool {
        self.is_real
    }

    /// Since the kit was started.
    pub(super) fn now(&self) -> Duration {
        if self.is_real { self.began.elapsed() } else { lock(&self.state).now }
    }

    /// As a moment.
    pub(super) fn instant(&self) -> Instant {
        self.began + self.now()
    }

    /// As `CLOCK_MONOTONIC` has it.
    pub(super) fn monotonic(&self) -> Duration {
        self.monotonic + self.now()
    }

    /// When the next timer ends.
    pub(super) fn next(&self) -> Option<Duration> {
        lock(&self.state).timers.keys().next().map(|(deadline, _)| *deadline)
    }

    /// Timers that somebody waits for.
    pub(super) fn waiting(&self) -> usize {
        lock(&self.state).timers.len()
    }

    /// Those whose waker is the kit's, and the others.
    #[cfg(test)]
    pub(super) fn kept(&self) -> (usize, usize) {
        let state = lock(&self.state);
        let own = state.timers.values().filter(|kept| kept.is_own()).count();
        (own, state.timers.len() - own)
    }

    /// Goes on to the next timer.
    pub(super) fn jump(&self) {
        if let Some(next) = self.next() {
            self.set(next);
        }
    }

    /// Goes on to `now`, never back, and wakes whose time has come.
    pub(super) fn set(&self, now: Duration) {
        let due = {
            let mut state = lock(&self.state);
            let now = state.now.max(now);
            state.now = now;
            // All numbers of that moment.
            let later = state.timers.split_off(&(now, u64::MAX));
            std::mem::replace(&mut state.timers, later)
        };
        due.into_values().for_each(Kept::wake);
    }

    fn number(&self) -> u64 {
        let mut state = lock(&self.state);
        state.last += 1;
        state.last
    }

    fn remove(&self, key: (Duration, u64)) {
        let removed = lock(&self.state).timers.remove(&key);
        drop(removed);
    }
}

/// Ends at a moment.
#[derive(Debug)]
pub(super) struct Timer {
    world: &'static World,
    key: (Duration, u64),
}

impl Timer {
    pub(super) fn new(world: &'static World, duration: Duration) -> Self {
        let deadline = world.clock.now().saturating_add(duration);
        Self { world, key: (deadline, world.clock.number()) }
    }

    pub(super) fn left(&self) -> Duration {
        self.key.0.saturating_sub(self.world.clock.now())
    }

    /// Whether it has ended; else `waker` is woken then.
    ///
    /// # Safety
    /// `waker` is valid for the call.
    pub(super) unsafe fn poll(&self, waker: *const Waker) -> bool {
        if self.left().is_zero() {
            return true;
        }
        // SAFETY: the caller's promise.
        let kept = unsafe { Kept::of(self.world, waker) };
        let before = lock(&self.world.clock.state).timers.insert(self.key, kept);
        drop(before);
        false
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.world.clock.remove(self.key);
    }
}

/// [`abi::HostVt::sleep`].
pub(super) unsafe extern "C" fn sleep(host: *const (), nanos: u64) -> abi::Future<Done> {
    // SAFETY: the data of our table.
    let world = unsafe { World::of(host) };
    let timer = Timer::new(world, Duration::from_nanos(nanos));
    // SAFETY: the waker of a poll is valid for it.
    future::of(move |waker| unsafe { timer.poll(waker) }.then_some(Ok(())))
}
