//! When to look: rung by kernel events, waited for by the watching thread.
//!
//! Owns the debounce. Knows nothing of files.
//! Invariant: a writer that never pauses postpones a look by [`POSTPONED_MAX`] quiet times, not
//! for ever.

use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
};

use crate::thread::Inbox;

/// How many quiet times a constant writer can postpone a look.
const POSTPONED_MAX: u32 = 10;

#[derive(Debug, Default)]
pub(super) struct Bell(Inbox<State>);

#[derive(Debug, Default)]
struct State {
    begun: bool,
    /// The folder has been looked at once.
    looked: bool,
    /// A look is going on.
    looking: bool,
    paused: bool,
    stopping: bool,
    /// Somebody waits until the answers to orders are taken.
    asked: bool,
    rung: Option<Rung>,
}

/// What the watching thread does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Looks at the folder.
    Look,
    /// Takes the answers to its orders, then [`Bell::has_taken`].
    Answers,
    /// Ends.
    Stop,
}

/// The events since the last look.
#[derive(Clone, Copy, Debug)]
struct Rung {
    first: Instant,
    last: Instant,
}

/// When to look next.
fn due(rung: Option<Rung>, look_at: Instant, debounce: Duration) -> Instant {
    match rung {
        Some(Rung { first, last }) => (last + debounce).min(first + debounce * POSTPONED_MAX),
        None => look_at,
    }
}

impl Bell {
    /// Something in the folder may have changed.
    pub(super) fn ring(&self) {
        let now = Instant::now();
        self.0.tell(|state| {
            let first = state.rung.map_or(now, |rung| rung.first);
            state.rung = Some(Rung { first, last: now });
        });
    }

    pub(super) fn begin(&self) {
        self.0.tell(|state| state.begun = true);
    }

    /// The first look is over.
    pub(super) fn has_looked(&self) {
        self.0.tell(|state| state.looked = true);
    }

    /// Waits for the first look to be over, at most `patience`.
    pub(super) fn wait_for_look(&self, patience: Duration) {
        self.0.wait_for(patience, |state| state.looked || state.stopping);
    }

    /// No look begins until [`go_on`](Self::go_on); waits for one that is going on, at most
    /// `patience`. Whether none is.
    pub(super) fn pause(&self, patience: Duration) -> bool {
        self.0.tell(|state| state.paused = true);
        self.0.wait_for(patience, |state| !state.looking)
    }

    /// Looks again; what has rung meanwhile counts.
    pub(super) fn go_on(&self) {
        self.0.tell(|state| state.paused = false);
    }

    /// Waits until the answers that orders have had are taken, at most `patience`; also in a pause.
    /// Whether they are. Before the first look nothing was ordered.
    pub(super) fn take_answers(&self, patience: Duration) -> bool {
        self.0.tell(|state| state.asked = state.looked);
        self.0.wait_for(patience, |state| !state.asked)
    }

    /// Every answer that was there was taken.
    pub(super) fn has_taken(&self) {
        self.0.tell(|state| state.asked = false);
    }

    pub(super) fn stop(&self) {
        self.0.tell(|state| state.stopping = true);
    }

    /// False when it is to stop instead.
    pub(super) fn wait_for_begin(&self) -> bool {
        self.0.wait(|state| {
            if (!state.begun || state.paused) && !state.stopping {
                return ControlFlow::Continue(None);
            }
            // The first look sees everything that has rung so far.
            state.rung = None;
            state.looking = !state.stopping;
            ControlFlow::Break(!state.stopping)
        })
    }

    /// Waits for the next look, `debounce` after the last ring, else at `look_at`; or for what is to
    /// be done before that.
    pub(super) fn wait(&self, look_at: Instant, debounce: Duration) -> Turn {
        self.0.tell(|state| state.looking = false);
        self.0.wait(|state| {
            if state.stopping {
                return ControlFlow::Break(Turn::Stop);
            }
            if state.asked {
                return ControlFlow::Break(Turn::Answers);
            }
            if state.paused {
                return ControlFlow::Continue(None);
            }
            let due = due(state.rung, look_at, debounce);
            if Instant::now() < due {
                return ControlFlow::Continue(Some(due));
            }
            state.rung = None;
            state.looking = true;
            ControlFlow::Break(Turn::Look)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_is_waited_for_but_not_for_ever() {
        let debounce = Duration::from_millis(200);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let rung = |first, last| Some(Rung { first: at(first), last: at(last) });
        assert_eq!(due(None, at(2_000), debounce), at(2_000), "the net");
        assert_eq!(due(rung(0, 0), at(2_000), debounce), at(200));
        assert_eq!(due(rung(0, 1_000), at(1_100), debounce), at(1_200), "the net waits as well");
        assert_eq!(due(rung(0, 1_900), at(1_100), debounce), at(2_000), "ten quiet times at most");
    }

    #[test]
    fn a_pause_waits_for_the_look_and_holds_the_next() {
        let bell = Bell::default();
        bell.begin();
        assert!(bell.wait_for_begin());
        assert!(!bell.pause(Duration::ZERO), "a look is going on");
        std::thread::scope(|scope| {
            let (went, going) = std::sync::mpsc::sync_channel(1);
            let bell = &bell;
            let looker = scope.spawn(move || {
                let turn = bell.wait(Instant::now(), Duration::ZERO);
                went.send(()).unwrap();
                turn
            });
            assert!(bell.pause(Duration::from_secs(20)), "the look is over");
            assert!(going.try_recv().is_err(), "no look begins");
            bell.go_on();
            assert_eq!(looker.join().unwrap(), Turn::Look);
            going.recv().unwrap();
        });
    }

    #[test]
    fn a_stop_ends_every_wait() {
        let bell = Bell::default();
        bell.begin();
        assert!(bell.wait_for_begin());
        bell.stop();
        assert!(!bell.wait_for_begin());
        let far = Instant::now() + Duration::from_secs(3_600);
        assert_eq!(bell.wait(far, Duration::ZERO), Turn::Stop);
    }
}
