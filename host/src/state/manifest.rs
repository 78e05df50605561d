//! What boots: the manifest, and the two files that hold it.
//!
//! Owns `manifest.json` and `manifest.previous.json`. Knows nothing of libraries.
//! Invariants: `manifest.json` appears whole, by rename, before a change is acknowledged. The
//! previous file is one that the disk is known to have, so that a power cut while the newest is
//! still in memory finds a readable one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    RollbackError, Seen, StateDir, Syncer, Versions,
    wire::{self, WireError},
};
use crate::{
    artifact::shown,
    error::{Coded, Kind},
    ids::{Digest, Generation, PluginName},
    sys::{disk::Shortage, path::remedy, start::give_mode},
};

/// Everything that a host remembers across restarts, but for the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Counts the changes: of two manifests of a host, two files or a file and a copy that was
    /// handed on, the one with more is newer.
    pub serial: u64,
    /// The number that the next load gets.
    pub next_generation: Generation,
    /// Whom a rollback without a name concerns.
    pub changed_last: Option<PluginName>,
    /// What was committed of each plugin.
    pub plugins: BTreeMap<PluginName, Versions>,
    /// The files of the plugins folder that were looked at, by absolute path.
    pub seen: BTreeMap<PathBuf, Seen>,
}

impl Default for Manifest {
    fn default() -> Self {
        Self {
            serial: 0,
            next_generation: Generation(1),
            changed_last: None,
            plugins: BTreeMap::new(),
            seen: BTreeMap::new(),
        }
    }
}

impl Manifest {
    /// What the host of `folder` boots, or runs with; `None`: it has never committed anything.
    /// Nothing is held or changed, so it may be asked beside that host.
    ///
    /// # Errors
    /// [`ManifestError::Newer`], [`ManifestError::Unreadable`].
    pub fn read(folder: &Path) -> Result<Option<Self>, ManifestError> {
        let found = find(folder)?;
        if found.manifest.is_some() && !found.is_newest {
            // Its host may just have been between its two renames.
            return Ok(find(folder)?.manifest);
        }
        Ok(found.manifest)
    }

    /// What another process of the host has handed on, as [`to_text`](Self::to_text) made it.
    #[must_use]
    pub fn from_text(text: &[u8]) -> Option<Self> {
        wire::decode(text).ok()
    }

    /// As it stands in the file.
    #[must_use]
    pub fn to_text(&self) -> Vec<u8> {
        wire::encode(self)
    }

    /// The contents of what serves.
    #[must_use]
    pub fn in_traffic(&self) -> BTreeSet<Digest> {
        self.plugins.values().filter_map(|it| Some(it.serving()?.digest)).collect()
    }

    /// Whether both are what one host had after the same change. What a process has of its own (a
    /// number that it has used, a version that it has forgotten) makes no difference.
    fn is_same_change(&self, other: &Self) -> bool {
        let last = |versions: &Versions| {
            let last = versions.list().last();
            let last = last.map(|it| (it.generation, it.digest, wire::to_ms(it.committed_at)));
            (versions.is_active(), last)
        };
        self.serial == other.serial
            && self.changed_last == other.changed_last
            && self
                .plugins
                .iter()
                .map(|(name, it)| (name, last(it)))
                .eq(other.plugins.iter().map(|(name, it)| (name, last(it))))
    }

    /// Takes the next generation number. It counts as used from here on, also when the load fails.
    pub fn take_generation(&mut self) -> Generation {
        let taken = self.next_generation;
        self.next_generation = Generation(taken.0 + 1);
        taken
    }

    /// `generation` is a number that some load has had, whatever came of it.
    pub fn use_up(&mut self, generation: Generation) {
        let next = Generation(generation.0.saturating_add(1));
        self.next_generation = self.next_generation.max(next);
    }

    /// The plugin that a rollback concerns, with its versions.
    ///
    /// # Errors
    /// [`RollbackError::NothingChanged`], [`RollbackError::NoSuchPlugin`].
    pub fn rollback_subject(
        &self,
        plugin: Option<&PluginName>,
    ) -> Result<(&PluginName, &Versions), RollbackError> {
        let name = plugin.or(self.changed_last.as_ref()).ok_or(RollbackError::NothingChanged)?;
        self.plugins
            .get_key_value(name)
            .ok_or_else(|| RollbackError::NoSuchPlugin { plugin: name.clone() })
    }

    /// The plugins that a rollback without a name may mean: those of which `is_recent` says that
    /// they have just changed, newest first.
    pub fn changed_of_late(
        &self,
        is_recent: impl Fn(&PluginName, &Versions) -> bool,
    ) -> Vec<PluginName> {
        let recent = self.plugins.iter().filter(|(name, versions)| is_recent(name, versions));
        let mut recent: Vec<_> = recent.collect();
        recent.sort_by_key(|(name, versions)| {
            (Some(*name) != self.changed_last.as_ref(), std::cmp::Reverse(versions.changed_at()))
        });
        recent.into_iter().map(|(name, _)| name.clone()).collect()
    }

    /// Forgets versions beyond the active one and `kept_count` others of each plugin, and gives
    /// the contents that are still needed (for `artifact::Store::retain`).
    pub fn prune(&mut self, kept_count: usize) -> BTreeSet<Digest> {
        self.plugins.values_mut().for_each(|versions| versions.prune(kept_count));
        self.plugins.values().flat_map(Versions::digests).collect()
    }
}

/// The manifest cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Written by a newer hotseat.
    #[error("`{}` has schema {found}, this hotseat knows {}", shown(.path), wire::SCHEMA)]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its schema.
        found: u32,
    },
    /// Files are there and none can be read.
    #[error("no manifest in `{}` can be read: {reason}", shown(.folder))]
    Unreadable {
        /// The state folder.
        folder: PathBuf,
        /// What is wrong with each file.
        reason: String,
    },
    /// Another worker of the host writes it now.
    #[error("another worker of this host has taken over")]
    Sealed,
    /// It could not be written.
    #[error("{}", not_written(path, source, shortage.as_ref()))]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
        /// What there is too little of, if that is why.
        shortage: Option<Shortage>,
    },
}

impl Coded for ManifestError {
    fn code(&self) -> &'static str {
        match self {
            Self::Newer { .. } => "manifest_newer",
            Self::Unreadable { .. } => "state_unreadable",
            Self::Sealed => "handed_over",
            Self::Write { shortage: Some(_), .. } => "disk_full",
            Self::Write { .. } => "state_failed",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Sealed => Kind::Stopping,
            Self::Newer { .. } | Self::Unreadable { .. } | Self::Write { .. } => Kind::Host,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Sealed => "ask again: the worker that serves answers".to_owned(),
            Self::Newer { .. } => {
                "start the newer hotseat, or use another `--state-dir`".to_owned()
            }
            Self::Unreadable { .. } => {
                "restore `manifest.json` from a backup, or use another `--state-dir` to begin \
                 with nothing loaded"
                    .to_owned()
            }
            Self::Write { shortage: Some(shortage), .. } => shortage.hint().to_owned(),
            Self::Write { path, source, .. } => remedy(path, source, "--state-dir"),
        })
    }
}

fn not_written(path: &Path, source: &io::Error, shortage: Option<&Shortage>) -> String {
    let path = shown(path);
    match shortage {
        Some(shortage) => format!("disk full: {}", shortage.said_of(&path)),
        None => format!("cannot write `{path}`: {source}"),
    }
}

/// What was found at the start.
#[derive(Debug)]
pub struct Loaded {
    /// What boots.
    pub manifest: Manifest,
    /// One line for the log when it is not what was written last.
    pub warning: Option<String>,
}

const NEWEST: &str = "manifest.json";
const PREVIOUS: &str = "manifest.previous.json";

/// Looks whether the manifest on the disk is the one that this host has written last, without being
/// its writer.
#[derive(Clone, Debug)]
pub struct Witness {
    path: PathBuf,
    last: Arc<Mutex<Option<Look>>>,
}

/// How a file looked: device, inode, size and time of its last write.
type Look = (u64, u64, u64, i64, i64);

fn look(path: &Path) -> Option<Look> {
    let it = fs::metadata(path).ok()?;
    Some((it.dev(), it.ino(), it.len(), it.mtime(), it.mtime_nsec()))
}

impl Witness {
    fn lock(&self) -> MutexGuard<'_, Option<Look>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody has removed, replaced or changed it. Also before anything was written.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        let last = *self.lock();
        last.is_none() || look(&self.path) == last
    }

    fn remember(&self) {
        *self.lock() = look(&self.path);
    }
}

/// The manifest's files. One writer.
#[derive(Debug)]
pub struct ManifestFile {
    folder: PathBuf,
    syncer: Arc<Syncer>,
    /// How often it was written by this process; 0 is the file that was found.
    written: u64,
    /// What it held last, as far as this process knows.
    known: Option<Manifest>,
    /// The folder is another one than before: what lies there may be somebody else's.
    moved: bool,
    witness: Witness,
}

impl ManifestFile {
    /// The files in `dir`, made durable by `syncer`.
    #[must_use]
    pub fn new(dir: &StateDir, syncer: Arc<Syncer>) -> Self {
        let folder = dir.path().to_owned();
        let witness = Witness { path: folder.join(NEWEST), last: Arc::default() };
        Self { folder, syncer, written: 0, known: None, moved: false, witness }
    }

    /// For whoever looks at what was written.
    #[must_use]
    pub fn witness(&self) -> Witness {
        self.witness.clone()
    }

    fn newest(&self) -> PathBuf {
        self.folder.join(NEWEST)
    }

    fn previous(&self) -> PathBuf {
        self.folder.join(PREVIOUS)
    }

    /// Reads what boots. Without any file: nothing. An unreadable newest file falls back to the
    /// previous one, with a warning.
    ///
    /// # Errors
    /// [`ManifestError::Newer`], [`ManifestError::Unreadable`].
    pub fn load(&self) -> Result<Loaded, ManifestError> {
        self.witness.remember();
        let found = find(&self.folder)?;
        if found.is_newest {
            // It may have been written by a host that was killed before the disk had it.
            self.syncer.manifest(self.newest(), self.written);
        }
        let manifest = found.manifest.unwrap_or_default();
        Ok(Loaded { manifest, warning: found.warning })
    }

    /// The host goes on from what was read: it is this host's own.
    pub fn know(&mut self, manifest: &Manifest) {
        self.known = Some(manifest.clone());
    }

    /// The folder has become another one, or its manifest has: what lies there and is not this
    /// host's is put aside by the next change that is written.
    pub fn move_in(&mut self) {
        // Where the newest one was only removed, the one before is this host's own.
        self.moved = self.newest().exists() || !self.previous().exists() || self.moved;
    }

    /// Puts what lies there aside, if it may be somebody else's; where it is now.
    fn set_aside(&self, manifest: &Manifest) -> Result<Option<PathBuf>, ManifestError> {
        let ours = |there: &Manifest| {
            let known = self.known.iter().chain([manifest]);
            *there == Manifest::default() || known.into_iter().any(|it| it.is_same_change(there))
        };
        // Also what cannot be read: a newer hotseat may have written it.
        if find(&self.folder).is_ok_and(|found| found.manifest.as_ref().is_none_or(ours)) {
            return Ok(None);
        }
        let aside = self.folder.join("manifest.replaced.json");
        let newest = self.newest();
        let found = [&newest, &self.previous()].into_iter().find(|it| it.exists()).cloned();
        let found = found.unwrap_or(newest);
        match fs::rename(&found, &aside) {
            Ok(()) => Ok(Some(aside)),
            Err(source) => Err(ManifestError::Write { path: aside, source, shortage: None }),
        }
    }

    /// Replaces the file on disk and has it made durable in the background.
    ///
    /// # Errors
    /// [`ManifestError::Write`]; the file on disk is then the one before.
    pub fn save(&mut self, manifest: &Manifest) -> Result<(), ManifestError> {
        let temporary = self.folder.join("manifest.json.tmp");
        let text = manifest.to_text();
        let failed = |path: &Path, source| {
            let shortage = Shortage::of(&source, path, text.len() as u64);
            ManifestError::Write { path: path.to_owned(), source, shortage }
        };
        let replaced = write(&temporary, &text)
            .map_err(|e| failed(&temporary, e))
            .and_then(|()| self.replace(&temporary, manifest, failed));
        if let Err(error) = replaced {
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        self.witness.remember();
        self.written += 1;
        self.syncer.manifest(self.newest(), self.written);
        self.know(manifest);
        Ok(())
    }

    /// Puts what was written into its place.
    fn replace(
        &mut self,
        temporary: &Path,
        manifest: &Manifest,
        failed: impl Fn(&Path, io::Error) -> ManifestError,
    ) -> Result<(), ManifestError> {
        let aside = if self.moved { self.set_aside(manifest)? } else { None };
        if self.syncer.has_manifest(self.written) {
            // Between these two renames the previous file is what was acknowledged last.
            match fs::rename(self.newest(), self.previous()) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(failed(&self.previous(), e));
                }
                _ => {}
            }
        }
        fs::rename(temporary, self.newest()).map_err(|e| {
            // The first rename is taken back; should that fail too, a start finds the previous.
            let _ = match &aside {
                Some(aside) => fs::rename(aside, self.newest()),
                None => fs::hard_link(self.previous(), self.newest()),
            };
            failed(&self.newest(), e)
        })?;
        self.moved = false;
        if let Some(aside) = aside {
            tracing::warn!(path = %aside.display(), "what another host had written was put aside");
        }
        Ok(())
    }
}

/// What a folder holds.
struct Found {
    manifest: Option<Manifest>,
    is_newest: bool,
    warning: Option<String>,
}

fn find(folder: &Path) -> Result<Found, ManifestError> {
    let [newest, previous] = [NEWEST, PREVIOUS].map(|name| folder.join(name));
    let first = match read(&newest) {
        Ok(Some(manifest)) => {
            return Ok(Found { manifest: Some(manifest), is_newest: true, warning: None });
        }
        other => known_schema(newest, other)?,
    };
    let second = known_schema(previous.clone(), read(&previous))?;
    match (first, second) {
        (Ok(_), Ok(None)) => Ok(Found { manifest: None, is_newest: false, warning: None }),
        (first, Ok(Some(manifest))) => {
            let why = first.map_or_else(|reason| reason, |_| "it is not there".to_owned());
            let warning = format!(
                "`{NEWEST}` cannot be read ({why}): going on from `{PREVIOUS}`, the last changes \
                 may be missing"
            );
            Ok(Found { manifest: Some(manifest), is_newest: false, warning: Some(warning) })
        }
        (first, second) => {
            let reasons =
                [(NEWEST, first), (PREVIOUS, second)].map(|(file, result)| match result {
                    Ok(_) => format!("`{file}` is not there"),
                    Err(reason) => format!("`{file}`: {reason}"),
                });
            let reason = reasons.join("; ");
            Err(ManifestError::Unreadable { folder: folder.to_owned(), reason })
        }
    }
}

/// A newer schema is no damage: going back behind it would lose what the newer host did.
fn known_schema(
    path: PathBuf,
    result: Result<Option<Manifest>, WireError>,
) -> Result<Result<Option<Manifest>, String>, ManifestError> {
    match result {
        Ok(manifest) => Ok(Ok(manifest)),
        Err(WireError::Bad(reason)) => Ok(Err(reason)),
        Err(WireError::Newer(found)) => Err(ManifestError::Newer { path, found }),
    }
}

fn read(path: &Path) -> Result<Option<Manifest>, WireError> {
    match fs::read(path) {
        Ok(text) => wire::decode(&text).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(WireError::Bad(error.to_string())),
    }
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    give_mode(&file, 0o600)?;
    file.write_all(text)
}

#[cfg(test)]
mod tests;
