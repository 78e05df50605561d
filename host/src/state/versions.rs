//! The committed versions of one plugin, and what a rollback means.
//!
//! Owns the rule. A rollback loads kept bytes again as a new generation, so entries point at their
//! *origin*, the generation that brought the bytes. Going back is measured between origins, which
//! is why a second rollback goes one further back and never forward. Knows nothing of files.
//! Invariants: generations ascend; an origin is no rollback itself and stays as long as an entry
//! points at it.

use std::{collections::BTreeSet, time::SystemTime};

use super::RollbackError;
use crate::ids::{Digest, Generation, Label};

/// One committed generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionEntry {
    /// The load.
    pub generation: Generation,
    /// Its content.
    pub digest: Digest,
    /// Its label.
    pub label: Label,
    /// When it was committed.
    pub committed_at: SystemTime,
    /// A rollback left it: it is not returned to unless it is named.
    pub rolled_back: bool,
    /// For a rollback: the generation that brought these bytes, never a rollback itself.
    pub from: Option<Generation>,
}

impl VersionEntry {
    /// The generation that brought these bytes.
    #[must_use]
    pub fn origin(&self) -> Generation {
        self.from.unwrap_or(self.generation)
    }
}

/// What was committed of one plugin, oldest first. The last entry is what serves, or, once the
/// plugin was unloaded, what served last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    list: Vec<VersionEntry>,
    active: bool,
    /// Of this process alone; not kept.
    stand_in: StandIn,
}

/// What serves in place of the active version, which did not load at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum StandIn {
    /// The active version itself serves.
    #[default]
    Unneeded,
    /// This generation.
    Generation(Generation),
    /// Nothing of the plugin loads.
    Nothing,
}

impl Versions {
    /// A list as it was kept.
    ///
    /// # Errors
    /// One line that says which invariant does not hold.
    pub fn restore(list: Vec<VersionEntry>, active: bool) -> Result<Self, String> {
        if active && list.is_empty() {
            return Err("active without a version".to_owned());
        }
        if let Some(pair) = list.windows(2).find(|pair| pair[0].generation >= pair[1].generation) {
            return Err(format!("generation {} is out of order", pair[1].generation));
        }
        let versions = Self { list, active, stand_in: StandIn::Unneeded };
        let stray = versions.list.iter().find(|entry| versions.position(entry.origin()).is_none());
        if let Some(entry) = stray {
            return Err(format!("generation {} comes from one that is not kept", entry.generation));
        }
        if let Some(entry) =
            versions.list.iter().find(|e| e.from.is_some_and(|f| f >= e.generation))
        {
            return Err(format!("generation {} comes from a later one", entry.generation));
        }
        Ok(versions)
    }

    /// All entries, oldest first.
    #[must_use]
    pub fn list(&self) -> &[VersionEntry] {
        &self.list
    }

    /// Whether the plugin serves, and boots.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// What boots.
    #[must_use]
    pub fn active(&self) -> Option<&VersionEntry> {
        self.list.last().filter(|_| self.active)
    }

    /// What serves now: the active version, or what stands in for it.
    #[must_use]
    pub fn serving(&self) -> Option<&VersionEntry> {
        match self.stand_in {
            StandIn::Unneeded => self.active(),
            StandIn::Generation(generation) => self.position(generation).map(|at| &self.list[at]),
            StandIn::Nothing => None,
        }
    }

    /// The active version did not load at the start: `instead` serves, until the next commit.
    pub fn stand_in(&mut self, instead: Option<Generation>) {
        self.stand_in = instead.map_or(StandIn::Nothing, StandIn::Generation);
    }

    /// Commits a deploy; `entry.from` is empty.
    pub fn commit(&mut self, entry: VersionEntry) {
        debug_assert!(self.list.last().is_none_or(|last| last.generation < entry.generation));
        self.list.push(entry);
        self.active = true;
        self.stand_in = StandIn::Unneeded;
    }

    /// Commits a rollback to `target` (see [`Self::rollback_target`]), whose bytes now serve as
    /// `generation`. What it left for something older is marked as rolled back, its origin too.
    pub fn commit_rollback(
        &mut self,
        target: &VersionEntry,
        generation: Generation,
        committed_at: SystemTime,
    ) {
        let origin = target.origin();
        for left in [self.active(), self.serving()].map(|it| it.map(VersionEntry::origin)) {
            let Some(left) = left.filter(|left| origin < *left) else { continue };
            let entries = self.list.iter_mut().filter(|entry| entry.origin() == left);
            entries.for_each(|entry| entry.rolled_back = true);
        }
        self.commit(VersionEntry {
            generation,
            digest: target.digest,
            label: target.label.clone(),
            committed_at,
            rolled_back: false,
            from: Some(origin),
        });
    }

    /// The entry whose bytes a rollback loads again: its origin, so that chains stay short.
    ///
    /// Without `to`: the newest committed before the active one's origin that was not rolled back;
    /// after an unload, what served last.
    ///
    /// # Errors
    /// [`RollbackError::NothingOlder`], [`RollbackError::NoSuchGeneration`],
    /// [`RollbackError::Serves`].
    pub fn rollback_target(&self, to: Option<Generation>) -> Result<&VersionEntry, RollbackError> {
        let Some(wanted) = to else {
            let last = self.list.last().ok_or(RollbackError::NothingOlder)?;
            if !self.active {
                return Ok(self.origin_of(last));
            }
            let from = self.serving().unwrap_or(last).origin();
            return self.older_than(from).ok_or(RollbackError::NothingOlder);
        };
        let serving = self.serving().map(|entry| entry.generation);
        if serving == Some(wanted) {
            return Err(RollbackError::Serves { wanted });
        }
        let found = self.position(wanted).map(|at| self.origin_of(&self.list[at]));
        found.ok_or_else(|| {
            let all = self.list.iter().map(|entry| entry.generation);
            let kept = all.filter(|generation| Some(*generation) != serving).collect();
            RollbackError::NoSuchGeneration { wanted, kept }
        })
    }

    /// What to try at boot, best first: the active version, then what a rollback from each would
    /// take. Empty when the plugin was unloaded.
    #[must_use]
    pub fn boot_candidates(&self) -> Vec<&VersionEntry> {
        let mut candidates: Vec<_> = self.active().into_iter().collect();
        while let Some(older) = candidates.last().and_then(|last| self.older_than(last.origin())) {
            candidates.push(older);
        }
        candidates
    }

    /// The plugin serves no more; its versions stay, so that a rollback can bring it back.
    pub fn deactivate(&mut self) {
        self.active = false;
        self.stand_in = StandIn::Unneeded;
    }

    /// The plugin serves no more, and what served last is not returned to unless it is named.
    pub fn withdraw(&mut self) {
        if let Some(origin) = self.list.last().map(VersionEntry::origin) {
            let entries = self.list.iter_mut().filter(|entry| entry.origin() == origin);
            entries.for_each(|entry| entry.rolled_back = true);
        }
        self.deactivate();
    }

    /// Forgets all but the last version and the `kept_count` that served last before it. Rollbacks
    /// are no versions of their own: they go with what they point at, and once nothing can lead to
    /// them.
    pub fn prune(&mut self, kept_count: usize) {
        let Some(last) = self.list.last().cloned() else { return };
        let mut kept = BTreeSet::new();
        for entry in self.list.iter().rev() {
            if kept.len() > kept_count {
                break;
            }
            kept.insert(entry.origin());
        }
        let mut list = std::mem::take(&mut self.list);
        list.reverse();
        // A rollback leads somewhere only as the newest good entry before a version.
        let mut leads_somewhere = false;
        list.retain(|entry| {
            let wanted = match entry.from {
                None => kept.contains(&entry.generation),
                Some(origin) => {
                    let needed = leads_somewhere && !entry.rolled_back && kept.contains(&origin);
                    needed || entry.generation == last.generation
                }
            };
            if wanted {
                leads_somewhere = entry.from.is_none() || leads_somewhere && entry.rolled_back;
            }
            wanted
        });
        list.reverse();
        self.list = list;
    }

    /// The contents that the list names.
    pub fn digests(&self) -> impl Iterator<Item = Digest> + '_ {
        self.list.iter().map(|entry| entry.digest)
    }

    fn position(&self, generation: Generation) -> Option<usize> {
        self.list.binary_search_by_key(&generation, |entry| entry.generation).ok()
    }

    fn origin_of<'a>(&'a self, entry: &'a VersionEntry) -> &'a VersionEntry {
        self.position(entry.origin()).map_or(entry, |at| &self.list[at])
    }

    /// The newest entry before `origin` that was not rolled back, as its own origin.
    fn older_than(&self, origin: Generation) -> Option<&VersionEntry> {
        let before = self.list.iter().rev().filter(|entry| entry.generation < origin);
        before.into_iter().find(|entry| !entry.rolled_back).map(|entry| self.origin_of(entry))
    }
}

#[cfg(test)]
mod tests;
