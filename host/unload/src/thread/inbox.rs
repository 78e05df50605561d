//! A value under a lock, and whoever waits for it to change.
//!
//! Invariant: a panic of one who held the lock is nobody else's: what is inside stays usable.

use std::{
    ops::ControlFlow,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// See the module.
#[derive(Debug, Default)]
pub struct Inbox<T> {
    inside: Mutex<T>,
    changed: Condvar,
}

impl<T> Inbox<T> {
    /// An inbox with `inside` in it.
    pub const fn new(inside: T) -> Self {
        Self { inside: Mutex::new(inside), changed: Condvar::new() }
    }

    /// What is inside. A change through this is not heard of by those who wait.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is inside; everybody who waits looks again.
    pub fn tell<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let said = change(&mut self.lock());
        self.changed.notify_all();
        said
    }

    /// As [`tell`](Self::tell), where all who wait are alike and one of them is enough.
    pub fn tell_one<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let said = change(&mut self.lock());
        self.changed.notify_one();
        said
    }

    /// Waits until `look` breaks with what it has found. It looks now, at every change, and at the
    /// moment that it asks for.
    pub fn wait<R>(&self, mut look: impl FnMut(&mut T) -> ControlFlow<R, Option<Instant>>) -> R {
        let mut inside = self.lock();
        loop {
            inside = match look(&mut inside) {
                ControlFlow::Break(found) => return found,
                ControlFlow::Continue(None) => {
                    self.changed.wait(inside).unwrap_or_else(PoisonError::into_inner)
                }
                ControlFlow::Continue(Some(due)) => {
                    let left = due.saturating_duration_since(Instant::now());
                    let waited = self.changed.wait_timeout(inside, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            }
        }
    }

    /// Waits until `find` has found something; `None` when it has not by `due`.
    pub fn wait_until<R>(
        &self,
        due: Option<Instant>,
        mut find: impl FnMut(&mut T) -> Option<R>,
    ) -> Option<R> {
        self.wait(|inside| match find(inside) {
            None if due.is_none_or(|due| Instant::now() < due) => ControlFlow::Continue(due),
            found => ControlFlow::Break(found),
        })
    }

    /// Waits until `is_so`, at most `patience`; whether it is.
    pub fn wait_for(&self, patience: Duration, is_so: impl Fn(&T) -> bool) -> bool {
        let due = Instant::now().checked_add(patience);
        self.wait_until(due, |inside| is_so(inside).then_some(())).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::channel, thread};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_change_is_heard_and_a_limit_is_kept() {
        let inbox = Inbox::new(0);
        assert!(!inbox.wait_for(Duration::ZERO, |number| *number == 1));
        assert!(!inbox.wait_for(Duration::from_millis(1), |number| *number == 1));
        let begun = Instant::now();
        for tell in [Inbox::tell, Inbox::tell_one] {
            let (looks, looked) = channel();
            let find = |number: &mut u32| {
                // Under the lock: what is told afterwards finds it waiting.
                looks.send(()).unwrap();
                (*number > 0).then(|| std::mem::take(number))
            };
            thread::scope(|scope| {
                let waiting = scope.spawn(|| inbox.wait_until(Some(begun + LONG), find));
                looked.recv().unwrap();
                tell(&inbox, |number: &mut u32| *number = 7);
                assert_eq!(waiting.join().unwrap(), Some(7));
            });
        }
        assert!(begun.elapsed() < LONG, "it has looked because it was told");
    }

    #[test]
    fn what_is_found_at_the_limit_counts() {
        let inbox = Inbox::new(7);
        assert_eq!(inbox.wait_until(Some(Instant::now()), |number| Some(*number)), Some(7));
        let mut looks = 0;
        let found = inbox.wait(|_| {
            looks += 1;
            let soon = Instant::now() + Duration::from_millis(1);
            if looks < 3 { ControlFlow::Continue(Some(soon)) } else { ControlFlow::Break(looks) }
        });
        assert_eq!(found, 3);
    }

    #[test]
    fn a_panic_of_one_is_nobody_elses() {
        let inbox = Inbox::new(0);
        let told = thread::scope(|scope| {
            scope.spawn(|| inbox.tell(|_| panic!("asked to"))).join().is_err()
        });
        assert!(told);
        assert!(inbox.wait_for(Duration::ZERO, |number| *number == 0));
    }
}
