//! The kernel's events for one folder.
//!
//! Owns the inotify watch. Turns every event that can mean "a file arrived" into a ring, and notes
//! what was done to which file: that is no reason to deploy anything.
//! Invariant: a folder that is removed and made again is watched again at the next look.

use std::{
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use notify::{
    ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};

use super::{bell::Bell, heard::Heard};

pub(super) struct Kernel {
    watcher: RecommendedWatcher,
    /// Device and inode of the folder that is watched.
    watched: Option<(u64, u64)>,
    /// The folder was removed: its successor may have the same inode.
    lost: Arc<AtomicBool>,
    heard: Arc<Heard>,
    /// The folder is polled: nobody needs to know that there are no events.
    quiet: bool,
}

impl Kernel {
    /// `None`, with a warning, when the kernel gives no events. Without a bell nothing rings and
    /// nobody is warned: the folder is polled anyway.
    pub(super) fn start(dir: &Path, bell: Option<&Arc<Bell>>, heard: &Arc<Heard>) -> Option<Self> {
        let lost = Arc::new(AtomicBool::new(false));
        let quiet = bell.is_none();
        let (theirs, bell, folder) = (Arc::clone(&lost), bell.cloned(), dir.to_owned());
        let ours = Arc::clone(heard);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // An error, such as events that were dropped, is a reason to look as well.
            if let Ok(event) = &event {
                if !means_something(event.kind) {
                    return;
                }
                ours.note(event);
                if event.kind.is_remove() && event.paths.contains(&folder) {
                    theirs.store(true, Ordering::Relaxed);
                }
            } else {
                ours.gap();
            }
            if let Some(bell) = &bell {
                bell.ring();
            }
        });
        let warned = |error: &notify::Error| {
            if !quiet {
                warn(dir, error)
            }
        };
        let watcher = watcher.map_err(|error| warned(&error)).ok()?;
        let heard = Arc::clone(heard);
        let mut kernel = Self { watcher, watched: None, lost, heard, quiet };
        kernel.follow(dir).then_some(kernel)
    }

    /// Sees to it that the folder now at `dir` is the one that is watched. False, with a warning,
    /// when the kernel has no watch left.
    pub(super) fn follow(&mut self, dir: &Path) -> bool {
        let found = std::fs::metadata(dir).ok().map(|meta| (meta.dev(), meta.ino()));
        let lost = self.lost.swap(false, Ordering::Relaxed);
        if found == self.watched && !lost {
            return true;
        }
        if self.watched.is_some() {
            self.heard.gap();
        }
        // It fails when the folder, and the watch with it, is gone already.
        let _ = self.watcher.unwatch(dir);
        self.watched = None;
        if found.is_none() {
            return true;
        }
        match self.watcher.watch(dir, RecursiveMode::NonRecursive) {
            Ok(()) => self.watched = found,
            Err(error) if is_missing(&error) => {}
            Err(error) => {
                if !self.quiet {
                    warn(dir, &error);
                }
                return false;
            }
        }
        true
    }
}

fn is_missing(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

fn warn(dir: &Path, error: &notify::Error) {
    tracing::warn!(
        folder = %dir.display(),
        %error,
        "no file events for the plugins folder: it is polled instead \
         (see sysctl fs.inotify.max_user_watches and max_user_instances)"
    );
}

/// Our own looks open and close files for reading; those events would ring for ever.
fn means_something(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        io::Write as _,
        time::{Duration, Instant},
    };

    use super::*;
    use crate::watch::bell::Turn;

    /// Waits for a ring; true when there was one.
    fn rings(bell: &Bell, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        assert_eq!(bell.wait(end, Duration::ZERO), Turn::Look, "nobody stops it");
        Instant::now() < end
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn a_folder_that_is_made_again_is_watched_again() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = temporary.path().join("plugins");
        fs::create_dir(&dir).unwrap();
        let bell = Arc::new(Bell::default());
        let mut kernel =
            Kernel::start(&dir, Some(&bell), &Arc::default()).expect("this machine has inotify");
        File::create(dir.join("a.so")).unwrap().write_all(b"x").unwrap();
        assert!(rings(&bell, PATIENCE));
        fs::remove_dir_all(&dir).unwrap();
        // The removal itself rings, several times; the last ring marks the folder as lost.
        while !kernel.lost.load(Ordering::Relaxed) {
            assert!(rings(&bell, PATIENCE));
        }
        assert!(kernel.follow(&dir), "a missing folder is no reason to give up");
        assert_eq!(kernel.watched, None);
        fs::create_dir(&dir).unwrap();
        assert!(kernel.follow(&dir));
        assert!(kernel.watched.is_some());
        while rings(&bell, Duration::from_millis(50)) {}
        File::create(dir.join("b.so")).unwrap();
        assert!(rings(&bell, PATIENCE));
    }

    #[test]
    fn reading_a_file_does_not_ring() {
        assert!(!means_something(EventKind::Access(AccessKind::Close(AccessMode::Read))));
        assert!(!means_something(EventKind::Access(AccessKind::Open(AccessMode::Any))));
        assert!(means_something(EventKind::Access(AccessKind::Close(AccessMode::Write))));
    }
}
