//! Files that were refused for a reason that may go away by itself: an owner, a mode, a library that
//! or a secret that is not there, a disk that is full.
//!
//! Owns the pace at which they are tried again, and what was said of them already. A trial says
//! nothing to anybody: only what has changed becomes an order.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tokio::sync::oneshot::{Receiver, error::TryRecvError};

use crate::{
    deploy::desk::{DeskError, Verdict},
    error::{Coded, Kind},
};

/// The longest time between two trials that nothing gives a reason for.
const CALM: Duration = Duration::from_secs(30);
/// Orders in a row that were refused as before although a trial had passed.
const FRUITLESS_MAX: u32 = 3;

/// Refusals that concern what is around a file, and not what is in it.
const AROUND: [&str; 8] = [
    "companion_not_taken",
    "dlopen_failed",
    "folder_world_writable",
    "foreign_owner",
    "other_copy",
    "permission_denied",
    "secret_unreadable",
    "world_writable",
];

/// Whether a file that was refused so may be accepted without another content.
pub(super) fn may_pass(refusal: &dyn Coded) -> bool {
    AROUND.contains(&refusal.code()) || refusal.kind() == Kind::Host
}

#[derive(Debug)]
struct Wait {
    due: Instant,
    pause: Duration,
    /// It was given a reason to be tried while it was being tried.
    nudged: bool,
    /// Codes that somebody has been told.
    said: BTreeSet<String>,
    fruitless: u32,
    trial: Option<Receiver<Verdict>>,
}

/// What is to be done about a waiting file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is not due, or its trial still runs.
    Rest,
    /// It is to be tried; tell [`Waiting::tries`].
    Try,
    /// It passes, or is refused for another reason: whoever put it there is to hear of it.
    Order,
}

#[derive(Debug)]
pub(super) struct Waiting {
    waits: BTreeMap<PathBuf, Wait>,
    /// Until the next attempt after one that could not be made.
    soon: Duration,
    /// Until the first trial.
    pause: Duration,
}

impl Waiting {
    pub(super) const fn new(soon: Duration, pause: Duration) -> Self {
        Self { waits: BTreeMap::new(), soon, pause }
    }

    /// What to do about `path`, which was refused with `code`. `nudged`: something about it, or about
    /// its folder, has changed.
    pub(super) fn step(&mut self, path: &Path, code: &str, nudged: bool, now: Instant) -> Step {
        let (soon, pause) = (self.soon, self.pause);
        let new = || Wait::new(code, pause, now);
        let wait = self.waits.entry(path.to_owned()).or_insert_with(new);
        let Some(trial) = &mut wait.trial else {
            return if nudged || now >= wait.due { Step::Try } else { Step::Rest };
        };
        // The trial may have looked before that.
        wait.nudged |= nudged;
        let ended = trial.try_recv();
        if ended == Err(TryRecvError::Empty) {
            return Step::Rest;
        }
        wait.trial = None;
        match ended {
            Ok(Ok(())) => Step::Order,
            Ok(Err(code)) if !wait.said.contains(code) => Step::Order,
            Ok(Err(_)) | Err(_) => {
                wait.pause = (wait.pause * 2).min(CALM);
                wait.due = now + if wait.nudged { soon } else { wait.pause };
                Step::Rest
            }
        }
    }

    /// `path` is being tried.
    pub(super) fn tries(&mut self, path: &Path, trial: Receiver<Verdict>) {
        if let Some(wait) = self.waits.get_mut(path) {
            (wait.trial, wait.nudged) = (Some(trial), false);
        }
    }

    /// `path` could not be tried, for this reason: the trial of another one goes on, mostly.
    pub(super) fn not_tried(&mut self, path: &Path, why: DeskError, now: Instant) {
        self.put_off(path, self.soon, why, now);
    }

    /// `path` could not be ordered, for this reason; each attempt has cost a trial.
    pub(super) fn not_ordered(&mut self, path: &Path, why: DeskError, now: Instant) {
        self.put_off(path, self.pause.max(self.soon), why, now);
    }

    /// Somebody writes `path`: no trial says anything about what it will be.
    pub(super) fn holds(&mut self, path: &Path, now: Instant) {
        let by = self.pause.max(self.soon);
        if let Some(wait) = self.waits.get_mut(path) {
            (wait.trial, wait.due) = (None, wait.due.max(now + by));
        }
    }

    fn put_off(&mut self, path: &Path, by: Duration, why: DeskError, now: Instant) {
        let by = match why {
            DeskError::Busy { .. } | DeskError::ReloadWaits | DeskError::Frozen => by,
            // For as long as this process lives.
            DeskError::Stopping | DeskError::Broken => by.max(CALM),
        };
        if let Some(wait) = self.waits.get_mut(path) {
            wait.due = now + by;
        }
    }

    /// `path` was refused with `code`; whether it goes on waiting.
    pub(super) fn refused(&mut self, path: &Path, code: &str, now: Instant) -> bool {
        let pause = self.pause;
        let new = || Wait::new(code, pause, now);
        let wait = self.waits.entry(path.to_owned()).or_insert_with(new);
        if wait.said.insert(code.to_owned()) {
            wait.fruitless = 0;
        } else {
            wait.fruitless += 1;
        }
        wait.due = now + wait.pause;
        wait.fruitless < FRUITLESS_MAX
    }

    /// `path` is ordered for another reason than that it waits.
    pub(super) fn forget(&mut self, path: &Path) {
        self.waits.remove(path);
    }

    /// Whether an answer is awaited.
    pub(super) fn is_trying(&self) -> bool {
        self.waits.values().any(|wait| wait.trial.is_some())
    }

    /// When the next one is due. Of those that are ordered, and of those that are tried, an answer is
    /// awaited.
    pub(super) fn next_due(&self, is_ordered: impl Fn(&Path) -> bool) -> Option<Instant> {
        let idle = |it: &(&PathBuf, &Wait)| it.1.trial.is_none() && !is_ordered(it.0);
        self.waits.iter().filter(idle).map(|(_, wait)| wait.due).min()
    }

    /// Forgets files that do not wait any more.
    pub(super) fn keep(&mut self, waits: impl Fn(&Path) -> bool) {
        self.waits.retain(|path, _| waits(path));
    }
}

impl Wait {
    /// Of a process that has just begun: what was refused by another one is tried at once, and then
    /// as calmly as what was refused by this one.
    fn new(code: &str, pause: Duration, now: Instant) -> Self {
        let said = BTreeSet::from([code.to_owned()]);
        Self { due: now, pause, nudged: false, said, fruitless: 0, trial: None }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    const SOON: Duration = Duration::from_millis(5);
    const RESCAN: Duration = Duration::from_millis(100);

    const fn waiting() -> Waiting {
        Waiting::new(SOON, RESCAN)
    }

    #[test]
    fn a_trial_is_calm_and_what_is_new_is_an_order() {
        let (path, start) = (Path::new("/a.so"), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let mut waiting = waiting();
        assert!(waiting.refused(path, "foreign_owner", at(0)));
        let mut step = |now, nudged, verdict: Option<Verdict>| {
            let step = waiting.step(path, "foreign_owner", nudged, at(now));
            if step == Step::Try {
                let (sender, receiver) = oneshot::channel();
                waiting.tries(path, receiver);
                if let Some(verdict) = verdict {
                    sender.send(verdict).unwrap();
                }
            }
            step
        };
        let again = || Some(Err("foreign_owner"));
        assert_eq!(step(99, false, None), Step::Rest);
        assert_eq!(step(100, false, again()), Step::Try);
        assert_eq!(step(101, false, None), Step::Rest, "as before: not a word");
        assert_eq!(step(300, false, None), Step::Rest, "twice as long");
        assert_eq!(step(301, false, again()), Step::Try);
        assert_eq!(step(302, false, None), Step::Rest);
        assert_eq!(step(303, true, Some(Err("world_writable"))), Step::Try, "a reason to look");
        assert_eq!(step(304, false, None), Step::Order, "another reason is said");
        assert_eq!(step(305, true, None), Step::Try);
        assert_eq!(step(306, true, None), Step::Rest, "nobody answered");
        assert_eq!(step(307, true, Some(Ok(()))), Step::Try);
        assert_eq!(step(308, false, None), Step::Order);
        assert!(waiting.next_due(|_| false).is_some() && !waiting.is_trying());
        assert!(waiting.refused(path, "world_writable", at(310)), "said, and new");
        for goes_on in [true, true, false] {
            let waits = waiting.refused(path, "foreign_owner", at(400));
            assert_eq!(waits, goes_on, "it passes in a child and is refused all the same");
        }
    }

    #[test]
    fn what_another_process_has_refused_is_tried_at_once_and_then_calmly() {
        let mut waiting = waiting();
        let (path, start) = (Path::new("/a.so"), Instant::now());
        for pause_ms in [200, 400, 800] {
            let now = waiting.next_due(|_| false).unwrap_or(start);
            assert_eq!(waiting.step(path, "dlopen_failed", false, now), Step::Try);
            let (sender, receiver) = oneshot::channel();
            waiting.tries(path, receiver);
            sender.send(Err("dlopen_failed")).unwrap();
            assert_eq!(waiting.step(path, "dlopen_failed", false, now), Step::Rest);
            let pause = Duration::from_millis(pause_ms);
            assert_eq!(waiting.next_due(|_| false), Some(now + pause));
        }
        waiting.keep(|_| false);
        assert_eq!(waiting.next_due(|_| false), None);
    }

    #[test]
    fn a_reason_to_look_is_not_lost_on_a_trial_that_goes_on() {
        let mut waiting = waiting();
        let (path, now) = (Path::new("/a.so"), Instant::now());
        assert_eq!(waiting.step(path, "foreign_owner", false, now), Step::Try);
        let (sender, receiver) = oneshot::channel();
        waiting.tries(path, receiver);
        assert_eq!(waiting.step(path, "foreign_owner", true, now), Step::Rest);
        sender.send(Err("foreign_owner")).unwrap();
        assert_eq!(waiting.step(path, "foreign_owner", false, now), Step::Rest);
        assert_eq!(waiting.next_due(|_| false), Some(now + SOON));
    }

    #[test]
    fn what_cannot_be_done_now_is_not_due_now() {
        let mut waiting = waiting();
        let (path, now) = (Path::new("/a.so"), Instant::now());
        for (why, tried, ordered) in [
            (DeskError::Busy { limit: 1 }, SOON, RESCAN),
            (DeskError::Frozen, SOON, RESCAN),
            (DeskError::Stopping, CALM, CALM),
            (DeskError::Broken, CALM, CALM),
        ] {
            waiting.step(path, "dlopen_failed", true, now);
            waiting.not_tried(path, why, now);
            assert_eq!(waiting.next_due(|_| false), Some(now + tried), "{why:?}");
            waiting.not_ordered(path, why, now);
            assert_eq!(waiting.next_due(|_| false), Some(now + ordered), "{why:?}");
            assert_eq!(waiting.next_due(|it| it == path), None, "its answer is awaited");
        }
    }
}
