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

mod upkeep;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use self::changes::Changes;
use super::Withdrawal;
use crate::{
    artifact::{Store, quoted},
    config::Limits,
    ids::{Digest, Generation, Label, PluginName},
    state::{
        Fate, History, Loaded, Manifest, ManifestError, ManifestFile, Note, Numbers, RollbackError,
        Seen, SeenStore, Standing, StateDir, Syncer, VersionEntry, Versions, history::Entry,
    },
    status::{KeptVersion, Unwritable},
    sys::marks::{Marks, Series},
};

mod changes;

pub use self::upkeep::{OnRenewed, Unkept};

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

/// A version that was taken out of traffic because it ended its process.
#[derive(Debug)]
pub struct Withdrawn {
    /// Whose.
    pub plugin: PluginName,
    /// What was taken out.
    pub was: VersionEntry,
    /// What is active instead. `None`: nothing was committed before it.
    pub now: Option<VersionEntry>,
    /// All of it, for people.
    pub text: String,
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

/// Which numbers are reserved.
#[derive(Debug)]
struct Numbering {
    written: Numbers,
    /// The last attempt to write has failed, which was logged.
    fails: bool,
    /// The number of the first order that comes.
    first_order: u64,
}

/// The manifest and the history of a running host.
pub struct Record {
    /// Taken before the book by whoever changes its manifest.
    pen: Mutex<ManifestFile>,
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

/// What a record begins with beside its folder.
pub struct Handed {
    /// The manifest as the worker before had it.
    pub manifest: Option<Manifest>,
    /// Hears of a lock that had to be taken anew.
    pub renewed: OnRenewed,
    /// The numbers that come next, where whoever leads the worker knows them.
    pub next: Option<Numbers>,
    /// Where whoever leads the worker reads which numbers were given.
    pub marks: Option<Marks>,
}

impl fmt::Debug for Handed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handed").field("manifest", &self.manifest).finish_non_exhaustive()
    }
}

impl Record {
    /// Reads what was committed: from the folder, or, where that is not the one it was, cannot be
    /// read or does not know the last change, from what was handed on.
    ///
    /// # Errors
    /// [`ManifestError`], when nothing was handed on; a thread cannot be made.
    pub fn open(dir: StateDir, limits: &Limits, handed: Handed) -> anyhow::Result<Self> {
        let syncer = Arc::new(Syncer::start()?);
        let mut file = ManifestFile::new(&dir, syncer.clone());
        let (mut manifest, behind) = choose(&dir, &file, handed.manifest)?;
        if !behind {
            file.know(&manifest);
        }
        let (disk, memory) = (limits.history_disk_count, limits.history_memory_count);
        let history = History::open(dir.path(), disk, memory).unwrap_or_else(|error| {
            tracing::error!(%error, "the history could not be read");
            History::unread(dir.path(), disk, memory)
        });
        let written = Numbers::read(dir.path()).unwrap_or_else(|error| {
            tracing::error!(%error, "the numbers that were given before cannot be read");
            Numbers::default()
        });
        // What is reserved may never have been given; whoever led the worker before knows.
        let next = handed.next.unwrap_or(written);
        manifest.next_generation = manifest.next_generation.max(Generation(next.generations));
        let first_order = next.orders.max(history.order_max() + 1);
        let numbering = Mutex::new(Numbering { written, fails: false, first_order });
        let warnings = Mutex::new(withdrawals(&manifest));
        let (changes, avoided, deadly) = (Changes::read(), Vec::new(), Vec::new());
        let book = Mutex::new(Book { manifest, changes, avoided, deadly, behind });
        let (notes, sealed, unwritable) = Default::default();
        let Handed { renewed, marks, .. } = handed;
        Ok(Self {
            pen: Mutex::new(file),
            book,
            warnings,
            notes,
            history,
            syncer,
            sealed,
            unwritable,
            numbering,
            marks,
            renewed,
            dir,
        })
    }

    /// The manifest as it is, for whoever leads the worker.
    #[must_use]
    pub fn manifest(&self) -> Vec<u8> {
        self.book().manifest.to_text()
    }

    /// The number of the first order that comes to whoever has opened the record.
    #[must_use]
    pub fn first_order(&self) -> u64 {
        self.numbering().first_order
    }

    /// The number of the first event, where nobody else gives them.
    #[must_use]
    pub fn first_event(&self) -> u64 {
        self.numbering().written.events
    }

    fn numbering(&self) -> MutexGuard<'_, Numbering> {
        self.numbering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The order of this number was taken in.
    pub fn order_given(&self, number: u64) {
        if let Some(marks) = &self.marks {
            marks.given(Series::Order, number);
        }
    }

    /// Reserves the numbers of what may come soon: `order` and the event after `event` come next, and
    /// at most `burst` orders before this is called again. A disk that fails is no reason to stop.
    pub fn reserve(&self, order: u64, event: u64, burst: usize) {
        let next = self.next_numbers(order, event);
        let written = self.numbering().written;
        if let Some(more) = written.ahead_of(next, burst as u64) {
            self.write_numbers(more);
        }
    }

    /// Gives back what was reserved: `order` and the event after `event` come next.
    pub fn settle_numbers(&self, order: u64, event: u64) {
        self.write_numbers(self.next_numbers(order, event));
    }

    fn next_numbers(&self, order: u64, event: u64) -> Numbers {
        let generations = self.book().manifest.next_generation.0;
        Numbers { orders: order, generations, events: event + 1 }
    }

    fn write_numbers(&self, numbers: Numbers) {
        let _pen = self.pen();
        // What cannot be written now is reserved as soon as it can be.
        if self.is_sealed() || self.unwritable().is_some() {
            return;
        }
        let mut numbering = self.numbering();
        let written = numbers.write(self.dir.path());
        match &written {
            Ok(_) => numbering.written = numbers,
            Err(error) if !numbering.fails => tracing::error!(
                %error, "numbers cannot be reserved: after the host's end they may be given again"
            ),
            Err(_) => {}
        }
        numbering.fails = written.is_err();
        if let Ok(path) = written {
            self.syncer.file(path);
        }
    }

    /// What the state folder says: these numbers and those behind them nobody has had.
    #[must_use]
    pub fn reserved(&self) -> Numbers {
        self.numbering().written
    }

    /// What another worker has given is not given again.
    pub fn skip_generations(&self, next: Generation) {
        let _pen = self.pen();
        let manifest = &mut self.book().manifest;
        manifest.next_generation = manifest.next_generation.max(next);
    }

    /// Whether another worker of the host may be writing from now on.
    pub fn seal(&self, sealed: bool) {
        // With the pen: a change that has begun is on the disk afterwards.
        let _pen = self.pen();
        self.sealed.store(sealed, Ordering::Release);
    }

    fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    /// Reads again what another worker has written meanwhile, also where it had to make the folder
    /// again. What is older than what is known here is not taken.
    ///
    /// # Errors
    /// [`ManifestError`]; nothing has changed then.
    pub fn reload(&self) -> Result<(), ManifestError> {
        let mut file = self.pen();
        if self.dir.is_lost() {
            // Nobody has written anything there that would be newer.
            self.book().behind = true;
            return Ok(());
        }
        let found = file.load()?;
        self.take_newer(&mut file, found);
        Ok(())
    }

    /// Goes on with what another worker of this host has written, unless more is known here.
    fn take_newer(&self, file: &mut ManifestFile, found: Loaded) {
        if let Some(warning) = found.warning {
            tracing::error!("{warning}");
        }
        let mut book = self.book();
        // A number that a load of this process has used is not used again.
        let next = book.manifest.next_generation.max(found.manifest.next_generation);
        // The release before this one counts no changes: what it has written is newer than what it
        // was told of.
        let uncounted = found.manifest.serial == 0 && found.manifest != Manifest::default();
        let serial = book.manifest.serial.max(found.manifest.serial);
        book.behind = found.manifest.serial < serial && !uncounted;
        if !book.behind {
            file.know(&found.manifest);
            book.manifest = found.manifest;
            book.manifest.serial = serial;
            book.changes = Changes::read();
            *self.warnings() = withdrawals(&book.manifest);
        }
        book.manifest.next_generation = next;
        drop(book);
        if let Ok(written) = Numbers::read(self.dir.path()) {
            self.numbering().written = written;
        }
        if let Err(error) = self.history.reload() {
            tracing::warn!(%error, "the history could not be read again");
        }
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

    /// The number of the next load. It counts as used from here on, also when the load fails.
    #[must_use]
    pub fn take_generation(&self) -> Generation {
        let _pen = self.pen();
        let taken = self.book().manifest.take_generation();
        self.generation_given(taken);
        taken
    }

    fn generation_given(&self, generation: Generation) {
        if let Some(marks) = &self.marks {
            marks.given(Series::Generation, generation.0);
        }
    }

    /// Commits a version: from here on it is what boots.
    ///
    /// # Errors
    /// [`ManifestError`]; nothing has changed then.
    pub fn commit(&self, plugin: &PluginName, commit: Commit) -> Result<(), ManifestError> {
        self.change(|manifest| {
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
        })?;
        self.book().changes.note(plugin);
        self.warnings().remove(plugin);
        self.notes().retain(|_, note| note.digest != Some(commit.digest));
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

    /// No withdrawal leads to one of `contents`: processes have died of loading them. Their numbers
    /// say less: one that was given to a rollback which never reached the disk is not known here.
    pub fn shun(&self, contents: impl IntoIterator<Item = Digest>) {
        self.book().deadly.extend(contents);
    }

    /// Takes a generation out of what boots, if it is active: what a rollback would bring back is
    /// active then, under a number of its own. `None`: it is not active, and will be avoided where it
    /// would stand in for one that is.
    ///
    /// It is so in memory also when the disk fails: whatever ended a process is not loaded again.
    pub fn withdraw(&self, withdrawal: &Withdrawal) -> Option<Withdrawn> {
        let Withdrawal { generation, why, .. } = withdrawal;
        let mut file = self.pen();
        let mut book = self.book();
        // Also that of an attempt which nothing was committed of: else another one would get it,
        // and the blame with it.
        book.manifest.use_up(*generation);
        let mut next = book.manifest.clone();
        let active = next.plugins.iter().find_map(|(plugin, versions)| {
            let active = versions.active().filter(|entry| entry.generation == *generation)?;
            Some((plugin.clone(), active.clone()))
        });
        let Some((plugin, was)) = active else {
            book.avoided.push(withdrawal.clone());
            return None;
        };
        let versions = next.plugins.get_mut(&plugin)?;
        book.deadly.iter().for_each(|content| versions.give_up_content(*content));
        drop(book);
        let target = versions.rollback_target(&plugin, None).ok().cloned();
        let number = target.as_ref().map(|_| next.take_generation());
        if let Some(number) = number {
            self.generation_given(number);
        }
        let versions = next.plugins.get_mut(&plugin)?;
        match target.zip(number) {
            Some((target, number)) => {
                versions.commit_rollback(&target, number, SystemTime::now());
            }
            None => {
                versions.withdraw();
                versions.touch(SystemTime::now());
            }
        }
        let now = versions.active().cloned();
        let instead = match &now {
            Some(now) => format!("generation {} ({}) is active instead", now.generation, now.label),
            None => "there is no version before it".to_owned(),
        };
        let label = &was.label;
        let text = format!("generation {generation} ({label}) was withdrawn: {why}; {instead}");
        versions.set_withdrawn(text.clone());
        next.changed_last = Some(plugin.clone());
        self.save_withdrawal(&mut file, next);
        self.book().changes.note(&plugin);
        self.warn(&plugin, text.clone());
        Some(Withdrawn { plugin, was, now, text })
    }

    fn save_withdrawal(&self, file: &mut ManifestFile, mut next: Manifest) {
        next.serial += 1;
        let saved = file.save(&next);
        if let Err(error) = &saved {
            tracing::error!(%error, "a withdrawn version is not written down yet");
            self.not_written(error);
        }
        let mut book = self.book();
        (book.manifest, book.behind) = (next, saved.is_err());
    }

    /// Why a version of `plugin` that would stand in for the active one must not: it has ended
    /// processes. From then on it is not returned to unless it is named.
    pub fn avoid(&self, plugin: &PluginName, generation: Generation) -> Option<String> {
        let mut file = self.pen();
        let book = self.book();
        let known = book.avoided.iter().find(|it| it.generation == generation)?;
        let text = format!("generation {generation} was withdrawn: {}", known.why);
        let mut next = book.manifest.clone();
        drop(book);
        if let Some(versions) = next.plugins.get_mut(plugin) {
            versions.give_up(generation);
            versions.set_withdrawn(text.clone());
        }
        self.save_withdrawal(&mut file, next);
        Some(text)
    }

    /// Files whose orders were under way when a process died of loading one of `contents`: those with
    /// such a content are not ordered again, and say why; the others had nothing to do with it, and
    /// are found anew.
    pub fn orders_died_of(&self, contents: &BTreeMap<Digest, String>) {
        let mut culprits = Vec::new();
        let changed = self.change(|manifest| {
            manifest.seen.retain(|path, seen| {
                let why = contents.get(&seen.digest);
                let under_way = matches!(seen.fate, Fate::Ordered(_));
                if let Some(why) = why {
                    // Also what an earlier process has died of, which nobody has said since.
                    culprits.push((path.clone(), why, seen.digest));
                    seen.fate = Fate::Ended;
                }
                why.is_some() || !under_way
            });
        });
        if let Err(error) = changed {
            tracing::error!(%error, "files that end the process may be tried again");
        }
        for (path, why, digest) in culprits {
            let command = format!("hotseat load {}", quoted(&path));
            tracing::error!(path = %path.display(), command, "not tried again: {why}");
            let text = format!("{why}: `{command}` tries it again");
            SeenStore::note(self, &path, Some(Note { text, digest: Some(digest) }));
        }
    }

    /// Whether a version of some plugin has this content.
    #[must_use]
    pub fn is_committed(&self, digest: Digest) -> bool {
        let book = self.book();
        book.manifest.plugins.values().flat_map(Versions::digests).any(|it| it == digest)
    }

    /// Every plugin that serves nothing because all that was committed of it was withdrawn.
    #[must_use]
    pub fn without_a_version(&self) -> Vec<PluginName> {
        let book = self.book();
        let none = |(_, versions): &(&PluginName, &Versions)| {
            !versions.is_active() && versions.withdrawn().is_some()
        };
        book.manifest.plugins.iter().filter(none).map(|(plugin, _)| plugin.clone()).collect()
    }

    /// Whose `generation` was, if it was left for an older one or for nothing.
    #[must_use]
    pub fn withdrawn_before(&self, generation: Generation) -> Option<(PluginName, Label)> {
        let book = self.book();
        book.manifest.plugins.iter().find_map(|(plugin, versions)| {
            let entries = versions.list().iter();
            let mut left = entries.filter(|it| it.generation == generation && it.rolled_back);
            left.next().map(|entry| (plugin.clone(), entry.label.clone()))
        })
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

    fn notes(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Note>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Files of the plugins folder that are not deployed, and why.
    #[must_use]
    pub fn noted(&self) -> BTreeMap<PathBuf, String> {
        self.notes().iter().map(|(path, note)| (path.clone(), note.text.clone())).collect()
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
            tracing::warn!(%error, "an artifact that is not needed any more could not be removed");
        }
    }

    /// Appends to the history.
    pub fn append(&self, entry: Entry) {
        match self.history.append(entry) {
            // That was said already, and it is in memory.
            Err(error) if self.unwritable().is_some() => {
                tracing::debug!(%error, "the history could not be written");
            }
            Err(error) => tracing::error!(%error, "the history could not be written"),
            Ok(()) => {}
        }
    }

    /// Appends what this worker alone knows, unless another one writes.
    pub fn note(&self, entry: Entry) {
        if !self.is_sealed() {
            self.append(entry);
        }
    }

    /// What was done last, newest first; only what was before the line `before`.
    #[must_use]
    pub fn history(&self, limit: usize, before: Option<u64>) -> Vec<Entry> {
        self.history.page(limit, before)
    }

    /// What is known without a look at the disk.
    #[must_use]
    pub fn recent(&self) -> Vec<Entry> {
        self.history.read(usize::MAX)
    }

    /// How the order of this number ended.
    #[must_use]
    pub fn order(&self, number: u64) -> Option<Entry> {
        self.history.order(number)
    }

    /// Waits until the disk has everything.
    pub fn flush(&self) {
        if !self.syncer.flush(FLUSH_TIME) {
            tracing::warn!("the state may not be on the disk yet");
        }
    }
}

/// What the status says of plugins until their next commit.
fn withdrawals(manifest: &Manifest) -> BTreeMap<PluginName, String> {
    let told = |(plugin, versions): (&PluginName, &Versions)| {
        Some((plugin.clone(), versions.withdrawn()?))
    };
    manifest.plugins.iter().filter_map(told).collect()
}

/// The manifest to begin with, and whether the disk does not have it.
fn choose(
    dir: &StateDir,
    file: &ManifestFile,
    handed: Option<Manifest>,
) -> Result<(Manifest, bool), ManifestError> {
    let lost = dir.is_lost();
    match (file.load(), handed) {
        (Ok(found), Some(handed)) if lost || handed.serial > found.manifest.serial => {
            tracing::warn!(folder = %dir.path().display(), "going on with what was handed on");
            Ok((handed, true))
        }
        (Ok(found), _) => {
            if let Some(warning) = found.warning {
                tracing::error!("{warning}");
            }
            Ok((found.manifest, false))
        }
        (Err(error), Some(handed)) => {
            tracing::error!(%error, "going on with what was handed on");
            Ok((handed, true))
        }
        (Err(error), None) => Err(error),
    }
}

impl SeenStore for Record {
    fn may_remember(&self) -> bool {
        self.unwritable().is_none()
    }

    fn seen(&self) -> BTreeMap<PathBuf, Seen> {
        self.book().manifest.seen.clone()
    }

    fn remember(&self, path: &Path, seen: Option<Seen>) {
        if self.is_sealed() {
            return;
        }
        let apply = |manifest: &mut Manifest| match &seen {
            Some(seen) => drop(manifest.seen.insert(path.to_owned(), seen.clone())),
            None => drop(manifest.seen.remove(path)),
        };
        if let Err(error) = self.change(apply) {
            tracing::error!(%error, path = %path.display(), "a file is remembered in memory only");
            // Else it would be ordered again at every look. It is written with what comes next.
            let _pen = self.pen();
            let mut book = self.book();
            apply(&mut book.manifest);
            book.manifest.serial += 1;
            book.behind = true;
        }
    }

    fn standing(&self, plugin: &PluginName, digest: Digest) -> Standing {
        let book = self.book();
        let Some(versions) = book.manifest.plugins.get(plugin) else { return Standing::Free };
        if versions.serving().is_some_and(|entry| entry.digest == digest) {
            Standing::Serves
        } else if versions.left().contains(&digest) {
            Standing::Left
        } else {
            Standing::Free
        }
    }

    fn note(&self, path: &Path, note: Option<Note>) {
        let mut notes = self.notes();
        match note {
            Some(note) => drop(notes.insert(path.to_owned(), note)),
            None => drop(notes.remove(path)),
        }
    }
}

#[cfg(test)]
mod tests;
