//! What becomes of the orders that the folder gives, and of files that wait for another try.

use std::{os::unix::fs::MetadataExt as _, path::Path, time::Instant};

use tokio::sync::oneshot::error::TryRecvError;

use super::{Look, Ordered, Round};
use crate::{
    deploy::{
        condition::Condition,
        desk::{DeskError, Refusal},
        order::{Order, Source},
    },
    error::{Coded as _, Kind},
    state::{Fate, Seen},
    watch::{
        probe::is_written,
        waiting::{Step, may_pass},
    },
};

impl Round {
    /// Orders a file, unless that cannot be done now.
    pub(super) fn order(&mut self, path: &Path, seen: Seen) -> Result<(), DeskError> {
        let order = Order::Deploy {
            path: path.to_owned(),
            force: false,
            source: Source::Folder,
            condition: Condition::None,
        };
        // Before the order can begin: a process that does not live to its end leaves a trace.
        let before = self.store.seen().remove(path);
        self.store.remember(path, Some(seen.clone()));
        let error = match self.desk.submit(order) {
            Ok(ticket) => {
                self.store.note(path, None);
                self.ordered.push(Ordered { path: path.to_owned(), seen, ticket });
                return Ok(());
            }
            Err(error) => error,
        };
        if let DeskError::Busy { .. } | DeskError::Frozen = error {
            tracing::info!(path = %path.display(), %error, "ordered again at the next look");
        }
        self.store.remember(path, before);
        Err(error)
    }

    /// What became of the orders. Files whose order was never begun are forgotten: the next start
    /// finds them again.
    pub(super) fn hear_answers(&mut self, now: Instant, ending: bool) {
        let mut open = Vec::new();
        for mut ordered in std::mem::take(&mut self.ordered) {
            let fate = match ordered.ticket.answer.try_recv() {
                Ok(Err(refusal)) if refusal.kind() == Kind::Stopping => None,
                // It is for the worker that takes over, whose first look finds the file again.
                Ok(Err(refusal)) if refusal.code() == DeskError::Frozen.code() => None,
                Ok(Err(refusal)) => Some(self.fate_of(&ordered.path, &refusal, now)),
                Ok(Ok(_)) => Some(Fate::Ended),
                Err(TryRecvError::Closed) => None,
                Err(TryRecvError::Empty) if !ending => {
                    open.push(ordered);
                    continue;
                }
                Err(TryRecvError::Empty) => None,
            };
            let Ordered { path, seen, .. } = ordered;
            // A commit has written the end of its order by itself, and a file that has another content
            // since has an order of its own.
            let kept = self.store.seen().remove(&path);
            let kept = kept.filter(|kept| kept.digest == seen.digest && kept.fate == seen.fate);
            if let Some(kept) = kept {
                self.store.remember(&path, fate.map(|fate| Seen { fate, ..kept }));
            }
        }
        self.ordered = open;
    }

    fn fate_of(&mut self, path: &Path, refusal: &Refusal, now: Instant) -> Fate {
        let code = refusal.code();
        let waits = may_pass(&**refusal) && self.waiting.refused(path, code, now);
        if waits { Fate::Waits(code.to_owned()) } else { Fate::Ended }
    }

    /// Tries files again that were refused for what is around them.
    pub(super) fn attend_to_waiting(&mut self, look: &Look) {
        let folder = std::fs::metadata(&self.config.dir).ok().map(|it| (it.mode(), it.uid()));
        let moved = std::mem::replace(&mut self.folder, folder) != folder;
        let waits = |seen: &Seen| matches!(seen.fate, Fate::Waits(_));
        let seen = self.store.seen();
        self.waiting.keep(|path| {
            self.ordered.iter().any(|it| it.path == path) || seen.get(path).is_some_and(waits)
        });
        for (path, seen) in seen {
            let Fate::Waits(code) = &seen.fate else { continue };
            let here = path.parent() == Some(&*self.config.dir);
            if !here || self.is_ordered(&path) {
                continue;
            }
            // Nothing is heard of one who has merely opened it so far.
            if look.unsettled.contains(&path) || is_written(&path, self.config.follow_links) {
                self.waiting.holds(&path, look.now);
                continue;
            }
            let nudged = moved || look.nudged.contains(&path);
            match self.waiting.step(&path, code, nudged, look.now) {
                Step::Rest => {}
                Step::Try => match self.desk.try_file(path.clone()) {
                    Ok(trial) => self.waiting.tries(&path, trial),
                    Err(error) => self.waiting.not_tried(&path, error, look.now),
                },
                Step::Order => {
                    if let Err(error) = self.order(&path, Seen { fate: Fate::Ordered(1), ..seen }) {
                        self.waiting.not_ordered(&path, error, look.now);
                    }
                }
            }
        }
    }
}
