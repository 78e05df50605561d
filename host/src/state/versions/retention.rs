//! Which versions are forgotten.
//!
//! Owns the bound on a plugin's list. What counts is content: loading the same bytes again, however
//! often, pushes nothing out.
//! Invariant: a rollback leads where it led before, as far as the contents are kept.

use std::collections::BTreeSet;

use super::{StandIn, VersionEntry, Versions};
use crate::ids::{Digest, Generation};

impl Versions {
    /// Forgets all but the content of the last version and the `kept_count` others that served last
    /// before it. Rollbacks are no versions of their own: they go with what they point at, and once
    /// nothing can lead to them. Of loads of the same content one after the other the last is kept,
    /// and of contents that take turns the last few turns.
    pub fn prune(&mut self, kept_count: usize) {
        let Some(last) = self.list.last().map(|entry| entry.generation) else { return };
        let contents = self.newest_contents(kept_count.saturating_add(1));
        let mut kept = Kept { steps: kept_count.saturating_add(1), ..Kept::default() };
        if let StandIn::Generation(serving) = self.stand_in {
            kept.pinned.insert(serving);
        }
        let mut list = std::mem::take(&mut self.list);
        list.reverse();
        list.retain(|entry| {
            let wanted = contents.contains(&entry.digest) && kept.takes(entry, last);
            if wanted {
                kept.note(entry, last);
            }
            wanted
        });
        list.reverse();
        self.list = list;
    }

    /// The contents that served last.
    fn newest_contents(&self, count: usize) -> BTreeSet<Digest> {
        let mut contents = BTreeSet::new();
        for entry in self.list.iter().rev() {
            if contents.len() == count && !contents.contains(&entry.digest) {
                break;
            }
            contents.insert(entry.digest);
        }
        contents
    }
}

/// What was kept so far, on the way from the newest entry to the oldest.
#[derive(Default)]
struct Kept {
    /// Origins that a kept entry points at, and what serves in place of the last version.
    pinned: BTreeSet<Generation>,
    /// How many more origins may repeat a content.
    steps: usize,
    /// The content of the last origin, and of all of them.
    newest: Option<Digest>,
    contents: BTreeSet<Digest>,
    /// Origins whose predecessor was not met yet, by content.
    leading: Vec<Digest>,
}

impl Kept {
    fn takes(&self, entry: &VersionEntry, last: Generation) -> bool {
        if entry.generation == last || self.pinned.contains(&entry.generation) {
            return true;
        }
        if entry.from.is_some() {
            // It leads somewhere only as the newest good entry of other bytes before a version.
            return !entry.rolled_back && self.leading.iter().any(|from| *from != entry.digest);
        }
        self.newest != Some(entry.digest)
            && (self.steps > 0 || !self.contents.contains(&entry.digest))
    }

    fn note(&mut self, entry: &VersionEntry, last: Generation) {
        if !entry.rolled_back && entry.generation != last {
            self.leading.retain(|from| *from == entry.digest);
        }
        if let Some(origin) = entry.from {
            self.pinned.insert(origin);
            return;
        }
        self.newest = Some(entry.digest);
        self.contents.insert(entry.digest);
        self.steps = self.steps.saturating_sub(1);
        if !self.leading.contains(&entry.digest) {
            self.leading.push(entry.digest);
        }
    }
}
