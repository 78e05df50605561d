//! Asking for another worker in the middle of an order.
//!
//! A worker that has used up what no unload gives back cannot carry an order out, but its successor can.
//! So whoever leads it is asked to replace it, and the order waits until this worker takes no more
//! orders: then it is given back, and goes to whoever accepts next, like any other that comes during a
//! hand-over. Knows nothing of how workers are replaced.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::desk::Desk;

/// Between two requests, as long as nothing has happened.
const ASK_TIME: Duration = Duration::from_secs(1);

/// How long no order waits again after one did in vain: a worker that goes on has not been replaced,
/// and the next attempt may well end as the last. And between two suggestions.
const PAUSE: Duration = Duration::from_secs(60);

/// Whoever leads the worker is asked to replace it: why.
pub type Ask = Arc<dyn Fn(&str) + Send + Sync>;

/// See the module.
pub struct Renewal {
    /// `None`: the operator does not want it, or nobody leads this worker.
    ask: Option<Ask>,
    desk: Desk,
    /// How long an order waits.
    patience: Duration,
    in_vain: Mutex<Option<Instant>>,
    suggested: Mutex<Option<Instant>>,
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewal").field("asks", &self.ask.is_some()).finish_non_exhaustive()
    }
}

impl Renewal {
    /// Orders of `desk` wait up to `patience` for it.
    #[must_use]
    pub fn new(ask: Option<Ask>, desk: Desk, patience: Duration) -> Self {
        Self { ask, desk, patience, in_vain: Mutex::default(), suggested: Mutex::default() }
    }

    /// Asks, once, without waiting: no order depends on it, and none waits less for it.
    pub fn suggest(&self, why: &str) {
        let Some(ask) = &self.ask else { return };
        let mut suggested = lock(&self.suggested);
        if !is_recent(*suggested) {
            *suggested = Some(Instant::now());
            ask(why);
        }
    }

    /// Waits until this worker takes no more orders because another one takes over. False: that does
    /// not happen, and the order has to be carried out as well as it can be.
    #[must_use]
    pub(super) fn wait(&self, why: &str) -> bool {
        // In any case: somebody may have asked for an upgrade.
        if self.desk.is_frozen(Duration::ZERO) {
            return true;
        }
        let is_hopeless = is_recent(*lock(&self.in_vain));
        let Some(ask) = self.ask.as_ref().filter(|_| !is_hopeless) else { return false };
        tracing::info!(why, "this worker is worn out: the order goes on in the next one");
        let until = Instant::now() + self.patience;
        loop {
            ask(why);
            if self.desk.is_frozen(ASK_TIME.min(self.patience)) {
                return true;
            }
            if Instant::now() >= until {
                tracing::warn!("no other worker takes over: the order goes on in this one");
                *lock(&self.in_vain) = Some(Instant::now());
                return false;
            }
        }
    }
}

fn is_recent(at: Option<Instant>) -> bool {
    at.is_some_and(|at| at.elapsed() < PAUSE)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicUsize, sync::atomic::Ordering::SeqCst, thread};

    use super::*;
    use crate::event::{EVENTS_COUNT, Events};

    fn desk() -> Desk {
        Desk::new(4, Events::after(EVENTS_COUNT, 0))
    }

    #[test]
    fn an_order_waits_until_its_worker_is_frozen() {
        let desk = desk();
        let theirs = desk.clone();
        let freeze = move |_: &str| {
            let desk = theirs.clone();
            thread::spawn(move || desk.freeze());
        };
        let renewal = Renewal::new(Some(Arc::new(freeze)), desk, Duration::from_secs(20));
        assert!(renewal.wait("no room"));
    }

    /// Somebody may have said shortly before that another worker would be welcome.
    #[test]
    fn an_order_waits_after_a_suggestion() {
        let desk = desk();
        let (theirs, asked) = (desk.clone(), Arc::new(AtomicUsize::new(0)));
        let counts = asked.clone();
        // The first time nobody can.
        let ask: Ask = Arc::new(move |_| {
            if counts.fetch_add(1, SeqCst) > 0 {
                let desk = theirs.clone();
                thread::spawn(move || desk.freeze());
            }
        });
        let renewal = Renewal::new(Some(ask), desk, Duration::from_secs(20));
        renewal.suggest("too many stay");
        renewal.suggest("too many stay");
        assert_eq!(asked.load(SeqCst), 1);
        assert!(renewal.wait("no room"));
    }

    #[test]
    fn it_goes_on_where_nobody_takes_over() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counts = asked.clone();
        let ask: Ask = Arc::new(move |_| _ = counts.fetch_add(1, SeqCst));
        let renewal = Renewal::new(Some(ask), desk(), Duration::from_millis(1));
        assert!(!renewal.wait("no room"));
        assert!(!renewal.wait("no room"), "at once: it was in vain");
        assert_eq!(asked.load(SeqCst), 1);
        let off = Renewal::new(None, desk(), Duration::from_secs(20));
        assert!(!off.wait("no room"));
    }
}
