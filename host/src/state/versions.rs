//! The committed versions of one plugin, and what a rollback means.
//!
//! Owns the rule. A rollback loads kept bytes again as a new generation, so entries point at their
//! *origin*, the generation that brought the bytes. Going back is measured between origins, which
//! is why a second rollback goes one further back and never forward, and leads to other bytes than
//! those that serve: loading the same again is no step. Knows nothing of files.
//! Invariants: generations ascend; an origin is no rollback itself and stays as long as an entry
//! points at it.

use std::time::SystemTime;

use super::RollbackError;
use crate::ids::{Digest, Generation, Label, PluginName};

mod retention;

/// Contents that are remembered as left behind. A plugins folder has few files of one plugin.
const LEFT_COUNT: usize = 64;

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
    /// Contents that a rollback or a withdrawal left and that were not committed since, oldest
    /// first. Outlives the entries, for the plugins folder: a file may lie there for longer.
    left: Vec<Digest>,
    /// When what serves changed last; `None`: a list of a release that did not write it.
    changed_at: Option<SystemTime>,
    /// What was withdrawn since the last commit, and why; one line.
    withdrawn: Option<String>,
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
        let versions = Self { list, active, ..Self::default() };
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

    /// The same with what is remembered beside the list: what was left, and the last change.
    #[must_use]
    pub fn remembering(mut self, left: Vec<Digest>, changed_at: Option<SystemTime>) -> Self {
        self.left = left;
        self.changed_at = changed_at;
        // A release that did not write the first has marked the entries all the same.
        let newest = |versions: &Self, digest| {
            let mut same = versions.list.iter().rev().filter(|entry| entry.digest == digest);
            same.next().is_some_and(|entry| entry.rolled_back)
        };
        for digest in self.list.iter().map(|entry| entry.digest).collect::<Vec<_>>() {
            if newest(&self, digest) && !self.left.contains(&digest) {
                self.leave(digest);
            }
        }
        self
    }

    /// Contents that a rollback or a withdrawal left, and that were not committed since.
    #[must_use]
    pub fn left(&self) -> &[Digest] {
        &self.left
    }

    /// When what serves changed last.
    #[must_use]
    pub fn changed_at(&self) -> Option<SystemTime> {
        self.changed_at.or_else(|| self.list.last().map(|entry| entry.committed_at))
    }

    /// What [`changed_at`](Self::changed_at) says from now on.
    pub fn touch(&mut self, at: SystemTime) {
        self.changed_at = Some(at);
    }

    fn leave(&mut self, digest: Digest) {
        self.left.retain(|known| *known != digest);
        self.left.push(digest);
        if self.left.len() > LEFT_COUNT {
            self.left.remove(0);
        }
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

    /// Goes on from `before`: with what stood in, where nothing else was committed since. Whether it
    /// is so.
    pub fn go_on_from(&mut self, before: &Self) -> bool {
        let committed = |it: &Self| it.active().map(|entry| entry.generation);
        let same = committed(self) == committed(before) && self.withdrawn == before.withdrawn;
        let kept = match before.stand_in {
            StandIn::Generation(generation) => self.position(generation).is_some(),
            StandIn::Unneeded | StandIn::Nothing => true,
        };
        if same && kept {
            self.stand_in = before.stand_in;
        }
        same && kept
    }

    /// Commits a deploy; `entry.from` is empty.
    pub fn commit(&mut self, entry: VersionEntry) {
        debug_assert!(self.list.last().is_none_or(|last| last.generation < entry.generation));
        self.left.retain(|left| *left != entry.digest);
        self.changed_at = Some(entry.committed_at);
        self.list.push(entry);
        self.active = true;
        self.withdrawn = None;
        self.stand_in = StandIn::Unneeded;
    }

    /// Commits a rollback to `target` (see [`Self::rollback_target`]), whose bytes now serve as
    /// `generation`. What it left for something older is marked as rolled back: every load of those
    /// bytes since the target.
    pub fn commit_rollback(
        &mut self,
        target: &VersionEntry,
        generation: Generation,
        committed_at: SystemTime,
    ) {
        let origin = target.origin();
        let standing = [self.active(), self.serving()];
        for left in standing.map(|it| it.map(|entry| (entry.origin(), entry.digest))) {
            let Some((from, digest)) = left else { continue };
            if from <= origin || digest == target.digest {
                continue;
            }
            let since = |entry: &&mut VersionEntry| entry.origin() > origin;
            let entries = self.list.iter_mut().filter(since);
            let same = entries.filter(|entry| entry.digest == digest);
            same.for_each(|entry| entry.rolled_back = true);
            self.leave(digest);
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

    /// The entry of `plugin` whose bytes a rollback loads again: its origin, so that chains stay
    /// short.
    ///
    /// Without `to`: the newest of other bytes than what serves that was committed before them and
    /// was not rolled back; after an unload, the newest that was not rolled back.
    ///
    /// # Errors
    /// [`RollbackError::NothingOlder`], [`RollbackError::NoSuchGeneration`],
    /// [`RollbackError::Serves`].
    pub fn rollback_target(
        &self,
        plugin: &PluginName,
        to: Option<Generation>,
    ) -> Result<&VersionEntry, RollbackError> {
        let Some(wanted) = to else {
            let found = if self.active {
                let from = self.serving().or(self.list.last());
                from.and_then(|from| self.before(from.origin(), &[from.digest]))
            } else {
                let good = self.list.iter().rev().find(|entry| !entry.rolled_back);
                good.map(|entry| self.origin_of(entry))
            };
            return found.ok_or_else(|| RollbackError::NothingOlder { plugin: plugin.clone() });
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
    /// take, each content once. Empty when the plugin was unloaded.
    #[must_use]
    pub fn boot_candidates(&self) -> Vec<&VersionEntry> {
        let mut candidates: Vec<_> = self.active().into_iter().collect();
        let mut tried: Vec<_> = candidates.iter().map(|entry| entry.digest).collect();
        while let Some(older) =
            candidates.last().and_then(|last| self.before(last.origin(), &tried))
        {
            candidates.push(older);
            tried.push(older.digest);
        }
        candidates
    }

    /// The plugin serves no more; its versions stay, so that a rollback can bring it back.
    pub fn deactivate(&mut self) {
        self.active = false;
        self.withdrawn = None;
        self.stand_in = StandIn::Unneeded;
    }

    /// What was withdrawn since the last commit, and why.
    #[must_use]
    pub fn withdrawn(&self) -> Option<String> {
        self.withdrawn.clone()
    }

    /// Keeps what is to be said of a withdrawal until the next commit.
    pub fn set_withdrawn(&mut self, text: String) {
        self.withdrawn = Some(text);
    }

    /// The bytes of `generation` are not returned to unless they are named.
    pub fn give_up(&mut self, generation: Generation) {
        let Some(digest) = self.position(generation).map(|at| self.list[at].digest) else {
            return;
        };
        self.give_up_content(digest);
    }

    /// The bytes `content`, if they are kept, are not returned to unless they are named.
    pub fn give_up_content(&mut self, content: Digest) {
        let mut is_kept = false;
        for entry in self.list.iter_mut().filter(|entry| entry.digest == content) {
            (entry.rolled_back, is_kept) = (true, true);
        }
        if is_kept {
            self.leave(content);
        }
    }

    /// The plugin serves no more, and what served last is not returned to unless it is named.
    pub fn withdraw(&mut self) {
        if let Some(last) = self.list.last().map(|last| last.generation) {
            self.give_up(last);
        }
        self.deactivate();
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

    /// The newest entry before `origin` that was not rolled back and has none of the contents `but`,
    /// as its own origin.
    fn before(&self, origin: Generation, but: &[Digest]) -> Option<&VersionEntry> {
        let before = self.list.iter().rev().filter(|entry| entry.generation < origin);
        let mut good = before.filter(|entry| !entry.rolled_back && !but.contains(&entry.digest));
        good.next().map(|entry| self.origin_of(entry))
    }
}

#[cfg(test)]
mod tests;
