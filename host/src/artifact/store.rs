//! Libraries on disk: one artifact for each content, one private copy for each load.
//!
//! Owns `artifacts/` and `loaded/` of the state folder. Knows nothing of which artifact is active.
//! Invariants: an artifact appears whole, by rename, and its name is its content's sha256; a
//! private copy is a file of its own, under a path that this process has never used before
//! (dlopen takes a path or inode that it has seen for the library it has already). Nothing here
//! waits for the disk: `state::Syncer` does, behind the answer.

pub mod refusal;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::{
        fd::OwnedFd,
        unix::fs::{FileExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::{io::Errno, process};

pub use self::refusal::StoreError;
use crate::{
    error::Coded as _,
    ids::{Digest, Generation},
    sys::{mount::forbids_running, private::PrivateFile, start},
};

/// The files of one host's libraries. Shared by reference; every method may be called from any
/// thread.
#[derive(Debug)]
pub struct Store {
    artifacts: PathBuf,
    all_loaded: PathBuf,
    loaded: PathBuf,
    temporary: AtomicU64,
    last_copy: Mutex<(Generation, u64)>,
    /// Open artifacts: handed on by a process before this one, or in traffic in this one.
    carried: Mutex<BTreeMap<Digest, OwnedFd>>,
}

impl Store {
    /// Makes the folders below `state_dir` and sweeps what dead hosts have left: their private
    /// copies and half-written artifacts. What belongs to a process that still lives stays.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`], [`StoreError::Failed`].
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let store = Self::at(state_dir);
        store.prepare()?;
        Ok(store)
    }

    /// As [`open`](Self::open), for a host that serves what it has whatever became of its folder:
    /// what cannot be made now is made when it is needed.
    #[must_use]
    pub fn of_host(state_dir: &Path) -> Self {
        let store = Self::at(state_dir);
        if let Err(error) = store.prepare() {
            tracing::error!(
                code = error.code(), %error, hint = error.hint(),
                "the artifact store is not as it should be"
            );
        }
        store
    }

    fn at(state_dir: &Path) -> Self {
        let all_loaded = state_dir.join("loaded");
        let loaded = all_loaded.join(std::process::id().to_string());
        let last_copy = Mutex::new((Generation(0), 0));
        let (temporary, carried) = Default::default();
        let artifacts = state_dir.join(ARTIFACTS);
        Self { artifacts, all_loaded, loaded, temporary, last_copy, carried }
    }

    fn prepare(&self) -> Result<(), StoreError> {
        let own = std::process::id();
        for folder in [&self.artifacts, &self.all_loaded] {
            make_folder(folder)?;
        }
        sweep(&self.all_loaded, |name| is_gone(name.parse().ok()?, own))?;
        sweep(&self.artifacts, |name| {
            let pid = name.strip_prefix(TEMPORARY)?.split('-').next()?;
            is_gone(pid.parse().ok()?, own)
        })?;
        make_folder(&self.loaded)
    }

    /// Takes open artifacts over: their bytes are preferred to what is in the folder, which
    /// somebody may have cleaned meanwhile.
    pub fn carry(&self, artifacts: Vec<(Digest, OwnedFd)>) {
        self.carried().extend(artifacts);
    }

    fn carried(&self) -> MutexGuard<'_, BTreeMap<Digest, OwnedFd>> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The artifact, open for reading, to be handed on: the one that was open here when its bytes
    /// were checked. Only where there is none, the file that is kept, if it is what it should be.
    ///
    /// # Errors
    /// Those of [`find`].
    pub fn open_artifact(&self, digest: Digest) -> Result<OwnedFd, StoreError> {
        let carried = self.carried().get(&digest).map(OwnedFd::try_clone);
        if let Some(Ok(carried)) = carried {
            return Ok(carried);
        }
        // The standard library opens with O_CLOEXEC.
        let (_, file) = read(self.artifact_path(digest), digest)?;
        Ok(file.into())
    }

    /// Where the artifact of `digest` is, kept or not.
    #[must_use]
    pub fn artifact_path(&self, digest: Digest) -> PathBuf {
        artifact_path(&self.artifacts, digest)
    }

    /// Keeps `bytes`, whose digest the caller knows. An artifact that is there already and has
    /// the same bytes is left alone; a damaged one is replaced.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`], [`StoreError::Failed`].
    pub fn keep(&self, digest: Digest, bytes: &[u8]) -> Result<PathBuf, StoreError> {
        let path = self.artifact_path(digest);
        if holds(&path, bytes) {
            self.hold(digest, File::open(&path).ok());
            return Ok(path);
        }
        // Somebody may have removed it since the start.
        make_folder(&self.artifacts)?;
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = self.artifacts.join(format!("{TEMPORARY}{}-{number}", std::process::id()));
        write_new(&temporary, bytes)?;
        if let Err(source) = fs::rename(&temporary, &path) {
            let _ = fs::remove_file(&temporary);
            return Err(StoreError::new("rename", &path, source, bytes.len()));
        }
        self.hold(digest, File::open(&path).ok());
        Ok(path)
    }

    /// Keeps an artifact open whose bytes were checked, so that it outlives its file.
    fn hold(&self, digest: Digest, file: Option<File>) {
        if let Some(file) = file {
            self.carried().insert(digest, file.into());
        }
    }

    /// Sees to it that the folder has an artifact that is open here, if it is.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`], [`StoreError::Failed`].
    pub fn put_back(&self, digest: Digest) -> Result<(), StoreError> {
        match self.read_carried(digest) {
            Some(bytes) => self.keep(digest, &bytes).map(drop),
            None => Ok(()),
        }
    }

    /// Reads a kept artifact and checks it against its digest. What was carried here is put back
    /// into the folder if it is not there any more.
    ///
    /// # Errors
    /// Every [`StoreError`].
    pub fn read(&self, digest: Digest) -> Result<Arc<[u8]>, StoreError> {
        if let Some(bytes) = self.read_carried(digest) {
            if let Err(error) = self.keep(digest, &bytes) {
                tracing::warn!(
                    %digest, %error, hint = error.hint(),
                    "an artifact could not be put back"
                );
            }
            return Ok(bytes.into());
        }
        let (found, file) = read(self.artifact_path(digest), digest)?;
        self.hold(digest, Some(file));
        Ok(found.bytes)
    }

    fn read_carried(&self, digest: Digest) -> Option<Vec<u8>> {
        let file = File::from(self.carried().get(&digest)?.try_clone().ok()?);
        let mut bytes = Vec::new();
        // By position: the offset is shared with every process that has this file open.
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match file.read_at(&mut piece, bytes.len() as u64).ok()? {
                0 => break,
                count => bytes.extend_from_slice(&piece[..count]),
            }
        }
        let found = super::digest(&bytes);
        if found != digest {
            tracing::warn!(%digest, %found, "an artifact that was handed on is not what it was");
            // Nor is it handed on once more.
            self.carried().remove(&digest);
            return None;
        }
        Some(bytes)
    }

    /// Writes `bytes` to a file of its own for one load, `loaded/<pid>/<generation>-<sha16>.so`; to
    /// one in memory where nothing may be run from that folder.
    ///
    /// A second attempt at the same generation gets a path of its own (`…-2.so`): a failed load
    /// may have left the first one in the loader's table.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`], [`StoreError::Failed`].
    pub fn private_copy(
        &self,
        generation: Generation,
        digest: Digest,
        bytes: &[u8],
    ) -> Result<PrivateFile, StoreError> {
        self.copy_to(&self.copy_name(generation, digest), bytes)
    }

    /// As [`private_copy`](Self::private_copy); in memory where the disk takes none.
    ///
    /// # Errors
    /// Those of the disk, when there is no memory either.
    pub fn private_copy_somewhere(
        &self,
        generation: Generation,
        digest: Digest,
        bytes: &[u8],
    ) -> Result<PrivateFile, StoreError> {
        self.private_copy(generation, digest, bytes).or_else(|error| {
            let name = format!("hotseat-{generation}-{}.so", digest.short());
            match PrivateFile::in_memory(&name, bytes) {
                Ok(file) => {
                    tracing::warn!(
                        code = error.code(), %error, hint = error.hint(),
                        "a private copy is in memory only"
                    );
                    Ok(file)
                }
                Err(trouble) => {
                    tracing::error!(%trouble, "a private copy cannot be kept in memory either");
                    Err(error)
                }
            }
        })
    }

    fn copy_name(&self, generation: Generation, digest: Digest) -> String {
        let mut last = self.last_copy.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = if last.0 == generation { last.1 + 1 } else { 1 };
        *last = (generation, attempt);
        drop(last);
        let again = if attempt == 1 { String::new() } else { format!("-{attempt}") };
        format!("{generation}-{}{again}.so", digest.short())
    }

    /// Writes a copy for a child alone, which is to be removed again.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn trial_copy(&self, digest: Digest, bytes: &[u8]) -> Result<PrivateFile, StoreError> {
        self.copy_to(&format!("trial-{}.so", digest.short()), bytes)
    }

    fn copy_to(&self, name: &str, bytes: &[u8]) -> Result<PrivateFile, StoreError> {
        make_folder(&self.all_loaded)?;
        make_folder(&self.loaded)?;
        if forbids_running(&self.loaded).is_some() {
            match PrivateFile::in_memory(&format!("hotseat-{name}"), bytes) {
                // Without /proc nobody finds it; the loader's refusal then names the mount.
                Ok(file) if file.path().exists() => return Ok(file),
                Ok(file) => drop(file.remove()),
                Err(trouble) => tracing::warn!(%trouble, "no private copy can be kept in memory"),
            }
        }
        let path = self.loaded.join(name);
        write_new(&path, bytes)?;
        Ok(PrivateFile::on_disk(path))
    }

    /// Removes every artifact whose digest is not in `keep`, and holds none open but those in
    /// `traffic`; says how many were removed.
    ///
    /// # Errors
    /// [`StoreError::Failed`].
    pub fn retain(
        &self,
        keep: &BTreeSet<Digest>,
        traffic: &BTreeSet<Digest>,
    ) -> Result<usize, StoreError> {
        self.carried().retain(|digest, _| traffic.contains(digest));
        sweep(&self.artifacts, |name| {
            let digest = name.strip_suffix(".so")?.parse().ok()?;
            (!keep.contains(&digest)).then_some(())
        })
    }
}

impl Drop for Store {
    /// Removes this process's folder of private copies once it is empty.
    fn drop(&mut self) {
        // Not empty: something is still mapped; the next start sweeps it.
        let _ = fs::remove_dir(&self.loaded);
    }
}

/// How a half-written artifact's name begins; its writer's pid follows.
pub(super) const TEMPORARY: &str = ".tmp-";

/// A kept artifact that was read.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it is. It is never written to, only replaced as a whole.
    pub path: PathBuf,
    /// Its content.
    pub bytes: Arc<[u8]>,
}

/// Reads a kept artifact of a host that runs: as [`Store::read`], but nothing is made or swept.
///
/// # Errors
/// Every [`StoreError`].
pub fn find(state_dir: &Path, digest: Digest) -> Result<Found, StoreError> {
    read(artifact_path(&state_dir.join(ARTIFACTS), digest), digest).map(|(found, _)| found)
}

/// How large a kept artifact is. Units: bytes.
#[must_use]
pub fn size(state_dir: &Path, digest: Digest) -> Option<u64> {
    Some(fs::metadata(artifact_path(&state_dir.join(ARTIFACTS), digest)).ok()?.len())
}

fn artifact_path(artifacts: &Path, digest: Digest) -> PathBuf {
    artifacts.join(format!("{digest}.so"))
}

/// The artifact, and its file, still open.
fn read(path: PathBuf, digest: Digest) -> Result<(Found, File), StoreError> {
    let mut bytes = Vec::new();
    let file = File::open(&path).and_then(|mut file| {
        file.read_to_end(&mut bytes)?;
        Ok(file)
    });
    let file = file.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => StoreError::Missing { digest },
        _ => StoreError::new("read", &path, source, 0),
    })?;
    let found = super::digest(&bytes);
    if found != digest {
        return Err(StoreError::Damaged { digest, found });
    }
    Ok((Found { path, bytes: bytes.into() }, file))
}

fn make_folder(path: &Path) -> Result<(), StoreError> {
    start::make_folder(path, 0o700).map_err(|error| StoreError::new("create", path, error, 0))
}

/// A process that left something and is no more. At the start our own pid is somebody else's.
pub(super) fn is_gone(pid: u32, own: u32) -> Option<()> {
    let raw = i32::try_from(pid).ok()?;
    let pid_gone = process::Pid::from_raw(raw)
        .is_some_and(|pid| process::test_kill_process(pid) == Err(Errno::SRCH) || has_ended(pid));
    (pid == own || pid_gone).then_some(())
}

/// Whether it has ended and only nobody has taken note of that yet.
fn has_ended(pid: process::Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    // The name before the state may hold anything. Source: proc_pid_stat(5).
    let state = stat.ok().and_then(|text| text.rsplit_once(')')?.1.trim_start().chars().next());
    matches!(state, Some('Z' | 'X'))
}

/// Removes each entry of `folder` that `wanted` picks by name; says how many.
pub(super) fn sweep(
    folder: &Path,
    wanted: impl Fn(&str) -> Option<()>,
) -> Result<usize, StoreError> {
    let failed = |source| StoreError::new("list", folder, source, 0);
    let mut count = 0;
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if name.to_str().and_then(&wanted).is_none() {
            continue;
        }
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::new("remove", &path, error, 0));
            }
            _ => count += 1,
        }
    }
    Ok(count)
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let failed = |source| StoreError::new("write", path, source, bytes.len());
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o400).open(path).map_err(failed)?;
    let written = start::give_mode(&file, 0o400).and_then(|()| file.write_all(bytes));
    if let Err(source) = written {
        let _ = fs::remove_file(path);
        return Err(failed(source));
    }
    Ok(())
}

/// Whether `path` holds exactly `bytes`; a comparison costs less than a second hash.
fn holds(path: &Path, bytes: &[u8]) -> bool {
    let Ok(mut file) = File::open(path) else { return false };
    if !file.metadata().is_ok_and(|meta| meta.is_file() && meta.len() == bytes.len() as u64) {
        return false;
    }
    let mut piece = vec![0; PIECE_BYTES.min(bytes.len())];
    for wanted in bytes.chunks(PIECE_BYTES) {
        let found = &mut piece[..wanted.len()];
        if file.read_exact(found).is_err() || found != wanted {
            return false;
        }
    }
    true
}

/// The folder of artifacts, in the state folder.
const ARTIFACTS: &str = "artifacts";

/// Units: bytes compared at a time.
const PIECE_BYTES: usize = 128 << 10;

#[cfg(test)]
mod tests;
