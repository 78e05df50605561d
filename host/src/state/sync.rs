//! Brings to the disk what was written, behind the answer.
//!
//! Owns one thread that calls fsync. Knows which manifest the disk has, and nothing of its
//! content. fsync before the answer would cost 8 to 12 ms.
//! Invariants: an artifact is on the disk before a manifest that was handed in after it; the
//! backlog is bounded by falling back to one syncfs.

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    mem::take,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{sys::path::remedy, thread::Inbox};

/// Files that may wait one by one; beyond it the whole file system is synced at once.
const FILES_COUNT_MAX: usize = 64;

#[derive(Debug, Default)]
struct Backlog {
    files: BTreeSet<PathBuf>,
    manifest: Option<(PathBuf, u64)>,
    whole: bool,
    stopping: bool,
    /// Batches handed in and batches on the disk; equal when all is there.
    asked: u64,
    done: u64,
    /// The newest manifest that the disk is known to have.
    manifest_done: Option<u64>,
}

/// What is brought to the disk at once.
struct Batch {
    files: BTreeSet<PathBuf>,
    manifest: Option<(PathBuf, u64)>,
    whole: bool,
    asked: u64,
}

/// The thread that calls fsync. Dropping it finishes what waits and ends the thread.
#[derive(Debug)]
pub struct Syncer {
    backlog: Arc<Inbox<Backlog>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start() -> io::Result<Self> {
        let backlog = Arc::new(Inbox::default());
        let theirs = Arc::clone(&backlog);
        let thread = std::thread::Builder::new()
            .name("hotseat-sync".to_owned())
            .spawn(move || run(&theirs))?;
        Ok(Self { backlog, thread: Some(thread) })
    }

    /// Has the file at `path` and its folder brought to the disk.
    pub fn file(&self, path: PathBuf) {
        self.ask(|backlog| {
            if backlog.files.len() < FILES_COUNT_MAX {
                backlog.files.insert(path);
            } else {
                backlog.whole = true;
            }
        });
    }

    /// Has the manifest at `path`, written for the `number`th time, brought to the disk.
    pub(super) fn manifest(&self, path: PathBuf, number: u64) {
        self.ask(|backlog| backlog.manifest = Some((path, number)));
    }

    /// Whether the disk has the manifest that was written for the `number`th time.
    pub(super) fn has_manifest(&self, number: u64) -> bool {
        self.backlog.lock().manifest_done >= Some(number)
    }

    /// Waits until everything handed in so far was brought to the disk (or failed to, which is
    /// logged). False when that takes longer than `patience`.
    #[must_use]
    pub fn flush(&self, patience: Duration) -> bool {
        let asked = self.backlog.lock().asked;
        self.backlog.wait_for(patience, |backlog| backlog.done >= asked)
    }

    fn ask(&self, add: impl FnOnce(&mut Backlog)) {
        self.backlog.tell(|backlog| {
            add(backlog);
            backlog.asked += 1;
        });
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.backlog.tell(|backlog| backlog.stopping = true);
        if let Some(thread) = self.thread.take() {
            // It only panics where fsync does not; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

fn run(inbox: &Inbox<Backlog>) {
    while let Some(Batch { files, manifest, whole, asked }) = inbox.wait(next) {
        let durable = sync(&files, manifest.as_ref(), whole);
        inbox.tell(|backlog| {
            backlog.done = asked;
            if let Some((_, number)) = manifest.filter(|_| durable) {
                backlog.manifest_done = backlog.manifest_done.max(Some(number));
            }
        });
    }
}

/// What waits, or `None` when nothing does and nothing more will come.
fn next(backlog: &mut Backlog) -> ControlFlow<Option<Batch>, Option<Instant>> {
    if backlog.done < backlog.asked {
        ControlFlow::Break(Some(Batch {
            files: take(&mut backlog.files),
            manifest: backlog.manifest.take(),
            whole: take(&mut backlog.whole),
            asked: backlog.asked,
        }))
    } else if backlog.stopping {
        ControlFlow::Break(None)
    } else {
        ControlFlow::Continue(None)
    }
}

/// Files first, then the manifest that names them. False when the manifest is not on the disk.
fn sync(files: &BTreeSet<PathBuf>, manifest: Option<&(PathBuf, u64)>, whole: bool) -> bool {
    let manifest = manifest.map(|(path, _)| path.as_path());
    let mut folders = BTreeSet::new();
    for path in files {
        sync_one(path);
        folders.extend(path.parent());
    }
    for folder in folders {
        sync_one(folder);
    }
    if let (true, Some(path)) = (whole, manifest.or_else(|| files.first().map(PathBuf::as_path))) {
        sync_file_system(path);
    }
    let Some(path) = manifest else { return true };
    sync_one(path) && path.parent().is_none_or(sync_one)
}

/// False when the disk does not have it. What is gone meanwhile needs no disk.
fn sync_one(path: &Path) -> bool {
    match File::open(path).and_then(|file| file.sync_all()) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => {
            let hint = remedy(path, &error, "--state-dir");
            tracing::error!(
                path = %path.display(), %error, hint,
                "cannot bring a file to the disk"
            );
            false
        }
    }
}

fn sync_file_system(path: &Path) {
    let folder = path.parent().unwrap_or(path);
    let synced = File::open(folder).and_then(|file| Ok(rustix::fs::syncfs(&file)?));
    if let Err(error) = synced {
        tracing::error!(path = %folder.display(), %error, "cannot bring a file system to the disk");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_manifest_counts_once_the_disk_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest.json");
        let syncer = Syncer::start().unwrap();
        assert!(syncer.flush(Duration::ZERO), "nothing was asked for");
        assert!(!syncer.has_manifest(0));
        syncer.manifest(path.clone(), 1);
        assert!(syncer.flush(PATIENCE));
        assert!(!syncer.has_manifest(1), "there is no such file");
        File::create(&path).unwrap();
        syncer.manifest(path, 2);
        assert!(syncer.flush(PATIENCE));
        assert!(syncer.has_manifest(1) && syncer.has_manifest(2) && !syncer.has_manifest(3));
    }

    #[test]
    fn a_storm_is_bounded_and_ends() {
        let dir = tempfile::tempdir().unwrap();
        let syncer = Syncer::start().unwrap();
        for number in 0..10 * FILES_COUNT_MAX {
            let path = dir.path().join(number.to_string());
            File::create(&path).unwrap();
            syncer.file(path);
            assert!(syncer.backlog.lock().files.len() <= FILES_COUNT_MAX);
        }
        assert!(syncer.flush(PATIENCE));
        drop(syncer);
    }
}
