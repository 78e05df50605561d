//! What the kernel has said of each file since the last look.
//!
//! Owns the marks. They are no reason to deploy anything: they tell apart what a look at the file
//! alone cannot, namely the same content written again from a file that was merely touched.
//! Source: inotify(7), which may make one event of several alike; `fsnotify_change` in the kernel:
//! the modification time alone, when it is set, is an `IN_MODIFY`, both times are an `IN_ATTRIB`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use notify::{
    Event, EventKind,
    event::{ModifyKind, RenameMode},
};

/// Files with a mark. As many as a folder may have; beyond, nothing is known for certain.
const MARKS_COUNT_MAX: usize = 4096;

/// What was heard of one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// It was made, linked or renamed to this path.
    pub(super) made: bool,
    /// It was written, cut, or given another modification time.
    pub(super) modified: bool,
    /// It was given times, a mode, an owner or another name.
    pub(super) attributes: bool,
}

impl Mark {
    fn add(&mut self, more: Self) {
        self.made |= more.made;
        self.modified |= more.modified;
        self.attributes |= more.attributes;
    }
}

/// Everything that was heard since the last look.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) marks: BTreeMap<PathBuf, Mark>,
    /// Something may have been missed.
    pub(super) gap: bool,
}

#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<News>);

impl Heard {
    fn lock(&self) -> MutexGuard<'_, News> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something may have been missed.
    pub(super) fn gap(&self) {
        self.lock().gap = true;
    }

    pub(super) fn take(&self) -> News {
        std::mem::take(&mut *self.lock())
    }

    /// What was heard before and is of no use yet.
    pub(super) fn put_back(&self, path: &Path, before: Mark) {
        self.add(path, before);
    }

    /// Everything that was taken, by a look that came to nothing.
    pub(super) fn put_all_back(&self, before: News) {
        if before.gap {
            self.gap();
        }
        before.marks.into_iter().for_each(|(path, mark)| self.add(&path, mark));
    }

    pub(super) fn note(&self, event: &Event) {
        if event.need_rescan() {
            self.gap();
        }
        // Of a rename within the folder, the last path is where it went.
        let Some(path) = event.paths.last() else { return };
        let mut mark = Mark::default();
        match event.kind {
            EventKind::Create(_)
            | EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both)) => {
                mark.made = true;
            }
            EventKind::Modify(ModifyKind::Data(_)) => mark.modified = true,
            EventKind::Modify(ModifyKind::Metadata(_)) => mark.attributes = true,
            EventKind::Any
            | EventKind::Access(_)
            | EventKind::Modify(_)
            | EventKind::Remove(_)
            | EventKind::Other => {}
        }
        self.add(path, mark);
    }

    fn add(&self, path: &Path, mark: Mark) {
        let mut news = self.lock();
        if !news.marks.contains_key(path) && news.marks.len() == MARKS_COUNT_MAX {
            news.gap = true;
            return;
        }
        news.marks.entry(path.to_owned()).or_default().add(mark);
    }
}
