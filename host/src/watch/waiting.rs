//! Files that were refused for a reason that may go away by itself: an owner, a mode, a library that
//! is not there, a disk that is full.
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
    deploy::desk::Verdict,
    error::{Coded, Kind},
};

/// The longest time between two trials that nothing gives a reason for.
const CALM: Duration = Duration::from_secs(30);
/// Orders in a row that were refused as before although a trial had passed.
const FRUITLESS_MAX: u32 = 3;

/// Refusals that concern what is around a file, and not what is in it.
const AROUND: [&str; 5] = [
    "dlopen_failed",
    "folder_world_writable",
    "foreign_owner",
    "permission_denied",
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
    /// Codes that somebody has been told.
    said: BTreeSet<String>,
    fruitless: u32,
    trial: Option<Receiver<Verdict>>,
}

/// What is to be done about a waiting file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing for now.
    Rest,
    /// It is to be tried; tell [`Waiting::tries`].
    Try,
    /// It passes, or is refused for another reason: whoever put it there is to hear of it.
    Order,
}

#[derive(Debug, Default)]
pub(super) struct Waiting(BTreeMap<PathBuf, Wait>);

impl Waiting {
    /// What to do about `path`, which was refused with `code`. `nudged`: something about it, or about
    /// its folder, has changed.
    pub(super) fn step(&mut self, path: &Path, code: &str, nudged: bool, now: Instant) -> Step {
        let wait = self.0.entry(path.to_owned()).or_insert_with(|| Wait::new(code, now));
        let Some(trial) = &mut wait.trial else {
            return if nudged || now >= wait.due { Step::Try } else { Step::Rest };
        };
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
                wait.due = now + wait.pause;
                Step::Rest
            }
        }
    }

    /// `path` is being tried; `None`: it could not be by now.
    pub(super) fn tries(&mut self, path: &Path, trial: Option<Receiver<Verdict>>) {
        if let Some(wait) = self.0.get_mut(path) {
            wait.trial = trial;
        }
    }

    /// `path` was refused with `code`; whether it goes on waiting.
    pub(super) fn refused(
        &mut self,
        path: &Path,
        code: &str,
        pause: Duration,
        now: Instant,
    ) -> bool {
        let wait = self.0.entry(path.to_owned()).or_insert_with(|| Wait::new(code, now));
        if wait.said.insert(code.to_owned()) {
            wait.fruitless = 0;
        } else {
            wait.fruitless += 1;
        }
        wait.pause = wait.pause.max(pause);
        wait.due = now + wait.pause;
        wait.fruitless < FRUITLESS_MAX
    }

    /// `path` is ordered for another reason than that it waits.
    pub(super) fn forget(&mut self, path: &Path) {
        self.0.remove(path);
    }

    /// Whether an answer is awaited.
    pub(super) fn is_trying(&self) -> bool {
        self.0.values().any(|wait| wait.trial.is_some())
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.values().filter(|wait| wait.trial.is_none()).map(|wait| wait.due).min()
    }

    /// Forgets files that do not wait any more.
    pub(super) fn keep(&mut self, waits: impl Fn(&Path) -> bool) {
        self.0.retain(|path, _| waits(path));
    }
}

impl Wait {
    /// Of a process that has just begun: what was refused by another one is tried at once.
    fn new(code: &str, now: Instant) -> Self {
        let said = BTreeSet::from([code.to_owned()]);
        Self { due: now, pause: Duration::ZERO, said, fruitless: 0, trial: None }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn a_trial_is_calm_and_what_is_new_is_an_order() {
        let (path, start) = (Path::new("/a.so"), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let rescan = Duration::from_millis(100);
        let mut waiting = Waiting::default();
        assert!(waiting.refused(path, "foreign_owner", rescan, at(0)));
        let mut step = |now, nudged, verdict: Option<Verdict>| {
            let step = waiting.step(path, "foreign_owner", nudged, at(now));
            if step == Step::Try {
                let (sender, receiver) = oneshot::channel();
                waiting.tries(path, Some(receiver));
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
        assert!(waiting.next_due().is_some() && !waiting.is_trying());
        assert!(waiting.refused(path, "world_writable", rescan, at(310)), "said, and new");
        for goes_on in [true, true, false] {
            let waits = waiting.refused(path, "foreign_owner", rescan, at(400));
            assert_eq!(waits, goes_on, "it passes in a child and is refused all the same");
        }
    }

    #[test]
    fn what_another_process_has_refused_is_tried_at_once() {
        let mut waiting = Waiting::default();
        let (path, now) = (Path::new("/a.so"), Instant::now());
        assert_eq!(waiting.step(path, "dlopen_failed", false, now), Step::Try);
        waiting.keep(|_| false);
        assert_eq!(waiting.next_due(), None);
    }
}
