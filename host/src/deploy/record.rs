//! What was committed, kept in step with the disk.
//!
//! Owns the manifest and the history while the host runs. The pipeline commits, the watcher
//! remembers files, the status reads; locks keep them apart, and nobody on the data plane comes
//! here.
//! Invariants: what is committed or removed is on disk before it is so in memory. Nothing is
//! written while the record is sealed: another worker of the host writes then. Whoever leads the
//! worker holds a copy of the manifest, so that neither depends on the folder.
//! Whoever changes the manifest has the pen, also while the disk does not answer; the book is held
//! for moments in memory, so that nobody who only reads waits for a disk.

mod changes;
mod files;
mod numbers;
mod opening;
mod upkeep;
mod withdrawals;

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use self::{changes::Changes, numbers::Numbering, withdrawals::withdrawals};
pub use self::{
    opening::Handed,
    upkeep::{OnRenewed, Unkept},
    withdrawals::Withdrawn,
};
use super::Withdrawal;
use crate::{
    artifact::Store,
    cells::Copied,
    error::Coded as _,
    ids::{Digest, Generation, Label, PluginName},
    state::{
        Fate, History, Loaded, Manifest, ManifestError, ManifestFile, Note, Numbers, RollbackError,
        StateDir, Syncer, VersionEntry, Versions, Witness, cells, history::Entry,
    },
    status::{KeptVersion, Unwritable},
    sys::{marks::Marks, path::PathError},
};

/// How long the end of the host waits for the disk.
const FLUSH_TIME: Duration = Duration::from_secs(10);

/// What a new version is committed as.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Its number.
    pub generation: Generation,
    /// Its content.
    pub digest: Digest,
    /// Its label.
    pub label: Label,
    /// For a rollback: the version that is returned to.
    pub target: Option<VersionEntry>,
    /// For a file of the plugins folder: where it lies. That its order has ended is on the disk with
    /// what it has brought.
    pub file: Option<PathBuf>,
}

#[derive(Debug)]
struct Book {
    manifest: Manifest,
    changes: Changes,
    /// What has ended processes without being active.
    avoided: Vec<Withdrawal>,
    /// The contents that processes have died of while they loaded them, before this one.
    deadly: Vec<Digest>,
    /// The disk does not have what memory has.
    behind: bool,
}

/// The manifest and the history of a running host.
pub struct Record {
    /// Taken before the book by whoever changes its manifest.
    pen: Mutex<ManifestFile>,
    /// Whether somebody else has changed what the pen has written.
    witness: Witness,
    /// Held across no call of a file system.
    book: Mutex<Book>,
    /// What the status says of a plugin that did not boot as it was committed.
    warnings: Mutex<BTreeMap<PluginName, String>>,
    /// What the status says of files in the plugins folder.
    notes: Mutex<BTreeMap<PathBuf, Note>>,
    history: History,
    syncer: Arc<Syncer>,
    sealed: AtomicBool,
    unwritable: Mutex<Option<Unwritable>>,
    numbering: Mutex<Numbering>,
    /// For whoever starts the next worker, should this one end without a word.
    marks: Option<Marks>,
    renewed: OnRenewed,
    /// The lock on the folder is held as long as the record is.
    dir: StateDir,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("book", &self.book).finish_non_exhaustive()
    }
}

impl Record {
    /// The manifest as it is, for whoever leads the worker.
    #[must_use]
    pub fn manifest(&self) -> Vec<u8> {
        self.book().manifest.to_text()
    }

    /// Whether another worker of the host may be writing from now on.
    pub fn seal(&self, sealed: bool) {
        // With the pen: a change that has begun is on the disk afterwards.
        let _pen = self.pen();
        self.sealed.store(sealed, Ordering::Release);
    }

    /// Another host may take the folder: nothing more is begun there. Waits for nobody, so that a
    /// change whose write hangs keeps nobody.
    pub fn leave(&self) {
        self.sealed.store(true, Ordering::Release);
        self.dir.leave();
    }

    fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    /// Reads again what another worker has written meanwhile, also where it had to make the folder
    /// again; `handed` is what was heard of it, should the folder not have it. What is older than
    /// what is known here is not taken.
    ///
    /// # Errors
    /// [`ManifestError`]; nothing is known of the folder then.
    pub fn reload(&self, handed: Option<Manifest>) -> Result<(), ManifestError> {
        let mut file = self.pen();
        let reloaded = if self.dir.is_lost() {
            // Nobody has written anything there that would be newer.
            self.book().behind = true;
            Ok(())
        } else {
            file.load().map(|found| self.take_newer(&mut file, found))
        };
        let mut book = self.book();
        if let Some(handed) = handed.filter(|it| it.serial > book.manifest.serial) {
            self.go_on_from(&mut book, handed);
            book.behind = true;
        }
        reloaded
    }

    /// Goes on with what another worker of this host has written, unless more is known here.
    fn take_newer(&self, file: &mut ManifestFile, found: Loaded) {
        if let Some(warning) = found.warning {
            tracing::error!("{warning}");
        }
        let mut book = self.book();
        // A number that a load of this process has used is not used again.
        let next = book.manifest.next_generation.max(found.manifest.next_generation);
        book.manifest.next_generation = next;
        // The release before this one counts no changes: what it has written is newer than what it
        // was told of.
        let uncounted = found.manifest.serial == 0 && found.manifest != Manifest::default();
        let serial = book.manifest.serial.max(found.manifest.serial);
        book.behind = found.manifest.serial < serial && !uncounted;
        if !book.behind {
            file.know(&found.manifest);
        }
        if uncounted || found.manifest.serial > book.manifest.serial {
            self.go_on_from(&mut book, found.manifest);
        }
        drop(book);
        if let Ok(written) = Numbers::read(self.dir.path()) {
            self.numbering().written = written;
        }
        if let Err(error) = self.history.reload() {
            tracing::warn!(%error, hint = error.hint(), "the history could not be read again");
        }
    }

    /// Takes `manifest` as what was committed. What did not boot here is not tried again because
    /// somebody else has changed another plugin.
    fn go_on_from(&self, book: &mut Book, manifest: Manifest) {
        let before = std::mem::replace(&mut book.manifest, manifest);
        let now = &mut book.manifest;
        now.serial = now.serial.max(before.serial);
        now.next_generation = now.next_generation.max(before.next_generation);
        book.changes = Changes::read();
        let mut told = withdrawals(now);
        let mut warnings = self.warnings();
        for (plugin, versions) in &mut now.plugins {
            let unchanged = before.plugins.get(plugin).is_some_and(|it| versions.go_on_from(it));
            if let Some(text) = warnings.remove(plugin).filter(|_| unchanged) {
                told.insert(plugin.clone(), text);
            }
        }
        *warnings = told;
    }

    /// Writes down what the cells of a plugin are; its way to the disk is not waited for. False:
    /// another worker of the host writes.
    ///
    /// # Errors
    /// What was written before is still there then.
    pub fn keep_cells(&self, plugin: &PluginName, copied: &Copied) -> Result<bool, PathError> {
        // With the pen, so that nothing older than what the next worker writes comes after it.
        let _pen = self.pen();
        if self.is_sealed() {
            return Ok(false);
        }
        if self.dir.is_lost() {
            let lost = std::io::ErrorKind::NotFound;
            return Err(PathError::new("find", self.dir.path(), "--state-dir", lost));
        }
        self.syncer.file(cells::write(self.dir.path(), plugin, copied)?);
        Ok(true)
    }

    /// Whether the folder has cells of a plugin.
    #[must_use]
    pub fn has_cells(&self, plugin: &PluginName) -> bool {
        cells::is_there(self.dir.path(), plugin)
    }

    fn pen(&self) -> MutexGuard<'_, ManifestFile> {
        self.pen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the manifest on disk, then in memory.
    fn change<T>(&self, change: impl FnOnce(&mut Manifest) -> T) -> Result<T, ManifestError> {
        let mut file = self.pen();
        if self.is_sealed() {
            return Err(ManifestError::Sealed);
        }
        let mut next = self.book().manifest.clone();
        let result = change(&mut next);
        next.serial += 1;
        file.save(&next).inspect_err(|error| self.not_written(error))?;
        let mut book = self.book();
        (book.manifest, book.behind) = (next, false);
        Ok(result)
    }

    /// Commits a version: from here on it is what boots.
    ///
    /// # Errors
    /// [`ManifestError`]; nothing has changed then.
    pub fn commit(&self, plugin: &PluginName, commit: Commit) -> Result<(), ManifestError> {
        self.commit_all(&[(plugin.clone(), commit)])
    }

    /// Commits versions of several plugins by one write.
    ///
    /// # Errors
    /// [`ManifestError`]; nothing has changed then.
    pub fn commit_all(&self, commits: &[(PluginName, Commit)]) -> Result<(), ManifestError> {
        self.change(|manifest| {
            for (plugin, commit) in commits {
                enter(manifest, plugin, commit);
            }
        })?;
        for (plugin, commit) in commits {
            self.book().changes.note(plugin);
            self.warnings().remove(plugin);
            self.notes().retain(|_, note| note.digest != Some(commit.digest));
        }
        Ok(())
    }

    /// Forgets a plugin at boot. Its versions stay for a rollback. `None`: it does not serve.
    ///
    /// # Errors
    /// [`ManifestError`]; nothing has changed then.
    pub fn remove(&self, plugin: &PluginName) -> Result<Option<VersionEntry>, ManifestError> {
        // One whose versions were all withdrawn has its place still.
        let last = self.book().manifest.plugins.get(plugin).and_then(|versions| {
            let withdrawn = versions.withdrawn().and_then(|_| versions.list().last());
            versions.active().or(withdrawn).cloned()
        });
        let Some(last) = last else { return Ok(None) };
        self.change(|manifest| {
            if let Some(versions) = manifest.plugins.get_mut(plugin) {
                versions.deactivate();
                versions.touch(SystemTime::now());
            }
            manifest.changed_last = Some(plugin.clone());
        })?;
        self.book().changes.note(plugin);
        self.warnings().remove(plugin);
        Ok(Some(last))
    }

    /// Whether a version of some plugin has this content.
    #[must_use]
    pub fn is_committed(&self, digest: Digest) -> bool {
        let book = self.book();
        book.manifest.plugins.values().flat_map(Versions::digests).any(|it| it == digest)
    }

    /// Has the status say something about a plugin until its next commit.
    pub fn warn(&self, plugin: &PluginName, text: String) {
        self.warnings().insert(plugin.clone(), text);
    }

    /// Whom a rollback concerns that names `plugin`, or nobody: then it is the plugin that changed
    /// last, as long as no other one has changed within the last minute, too.
    ///
    /// # Errors
    /// [`RollbackError::NothingChanged`], [`RollbackError::NoSuchPlugin`],
    /// [`RollbackError::Ambiguous`].
    pub fn rollback_subject(
        &self,
        plugin: Option<&PluginName>,
    ) -> Result<PluginName, RollbackError> {
        let book = self.book();
        if plugin.is_none() {
            let now = (Instant::now(), SystemTime::now());
            let is_recent = |name: &PluginName, versions: &Versions| {
                book.changes.is_recent(name, versions.changed_at(), now)
            };
            let plugins = book.manifest.changed_of_late(is_recent);
            if plugins.len() > 1 {
                return Err(RollbackError::Ambiguous { plugins });
            }
        }
        Ok(book.manifest.rollback_subject(plugin)?.0.clone())
    }

    /// The version whose bytes a rollback of `plugin` loads again.
    ///
    /// # Errors
    /// [`RollbackError`].
    pub fn rollback_target(
        &self,
        plugin: &PluginName,
        to: Option<Generation>,
    ) -> Result<VersionEntry, RollbackError> {
        let book = self.book();
        let (plugin, versions) = book.manifest.rollback_subject(Some(plugin))?;
        Ok(versions.rollback_target(plugin, to)?.clone())
    }

    /// What to load at boot: each plugin with the versions to try, best first.
    #[must_use]
    pub fn committed(&self) -> BTreeMap<PluginName, Vec<VersionEntry>> {
        let book = self.book();
        let candidates = |(plugin, versions): (&PluginName, &Versions)| {
            let list: Vec<_> = versions.boot_candidates().into_iter().cloned().collect();
            (!list.is_empty()).then(|| (plugin.clone(), list))
        };
        book.manifest.plugins.iter().filter_map(candidates).collect()
    }

    /// What is to be in traffic of `plugin`: what was committed, or what stands in for it.
    #[must_use]
    pub fn serving(&self, plugin: &PluginName) -> Option<Generation> {
        Some(self.book().manifest.plugins.get(plugin)?.serving()?.generation)
    }

    /// What a rollback of `plugin` can reach, newest first.
    #[must_use]
    pub fn kept(&self, plugin: &PluginName) -> Vec<KeptVersion> {
        let book = self.book();
        let Some(versions) = book.manifest.plugins.get(plugin) else { return Vec::new() };
        let serving = versions.serving().map(|entry| entry.generation);
        let others = versions.list().iter().rev().filter(|it| Some(it.generation) != serving);
        let kept = |entry: &VersionEntry| KeptVersion {
            generation: entry.generation,
            label: entry.label.clone(),
            digest: entry.digest,
            rolled_back: entry.rolled_back,
        };
        others.map(kept).collect()
    }

    /// The committed version of `plugin` does not boot: `instead` serves, and the status says `why`.
    pub fn stand_in(&self, plugin: &PluginName, instead: Option<Generation>, why: String) {
        let _pen = self.pen();
        // Of this process alone: the disk keeps what was committed.
        if let Some(versions) = self.book().manifest.plugins.get_mut(plugin) {
            versions.stand_in(instead);
        }
        // What was withdrawn before that stays true.
        let withdrawn = self.book().manifest.plugins.get(plugin).and_then(Versions::withdrawn);
        let why = withdrawn.map_or(why.clone(), |text| format!("{text}; {why}"));
        self.warnings().insert(plugin.clone(), why);
    }

    fn warnings(&self) -> MutexGuard<'_, BTreeMap<PluginName, String>> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every plugin that did not boot as it was committed, and why.
    #[must_use]
    pub fn warned(&self) -> BTreeMap<PluginName, String> {
        self.warnings().clone()
    }

    /// Has an artifact brought to the disk in the background.
    pub fn sync(&self, artifact: PathBuf) {
        self.syncer.file(artifact);
    }

    /// Forgets versions beyond the limit, and removes bytes that nothing needs any more.
    pub fn tidy(&self, store: &Store, kept_count: usize) {
        // What lies in a folder that is not this host's, or not for sure, is not ours to remove.
        if self.is_sealed() || self.unwritable().is_some() || self.dir.inspect().is_err() {
            return;
        }
        let (digests, traffic) = {
            let _pen = self.pen();
            let mut book = self.book();
            // On disk they go with the next commit; an entry without its artifact does no harm.
            (book.manifest.prune(kept_count), book.manifest.in_traffic())
        };
        if let Err(error) = store.retain(&digests, &traffic) {
            tracing::warn!(
                %error, hint = error.hint(),
                "an artifact that is not needed any more could not be removed"
            );
        }
    }

    /// Appends to the history.
    pub fn append(&self, entry: Entry) {
        match self.history.append(entry) {
            // That was said already, and it is in memory.
            Err(error) if self.unwritable().is_some() => {
                tracing::debug!(%error, hint = error.hint(), "the history could not be written");
            }
            Err(error) => {
                tracing::error!(%error, hint = error.hint(), "the history could not be written")
            }
            Ok(()) => {}
        }
    }

    /// Appends what this worker alone knows, unless another one writes.
    pub fn note(&self, entry: Entry) {
        if !self.is_sealed() {
            self.append(entry);
        }
    }

    /// What was done.
    #[must_use]
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// What is known without a look at the disk.
    #[must_use]
    pub fn recent(&self) -> Vec<Entry> {
        self.history.read(usize::MAX)
    }

    /// Waits until the disk has everything.
    pub fn flush(&self) {
        if !self.syncer.flush(FLUSH_TIME) {
            tracing::warn!("the state may not be on the disk yet");
        }
    }
}

/// Writes a commit into the manifest.
fn enter(manifest: &mut Manifest, plugin: &PluginName, commit: &Commit) {
    let versions = manifest.plugins.entry(plugin.clone()).or_default();
    let committed_at = SystemTime::now();
    match &commit.target {
        Some(target) => {
            versions.commit_rollback(target, commit.generation, committed_at);
        }
        None => versions.commit(VersionEntry {
            generation: commit.generation,
            digest: commit.digest,
            label: commit.label.clone(),
            committed_at,
            rolled_back: false,
            from: None,
        }),
    }
    manifest.changed_last = Some(plugin.clone());
    for (path, seen) in &mut manifest.seen {
        let is_file = commit.file.as_ref() == Some(path);
        if seen.digest == commit.digest && (is_file || seen.fate == Fate::Held) {
            seen.fate = Fate::Ended;
        }
    }
}

#[cfg(test)]
mod tests;
