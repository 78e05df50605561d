//! What a record begins with: the folder, or what was handed on where that knows more.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use super::{Book, Changes, Numbering, OnRenewed, Record, withdrawals};
use crate::{
    config::Limits,
    error::Coded as _,
    ids::Generation,
    state::{History, Manifest, ManifestError, ManifestFile, Numbers, StateDir, Syncer},
    sys::marks::Marks,
};

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
            tracing::error!(%error, hint = error.hint(), "the history could not be read");
            History::unread(dir.path(), disk, memory)
        });
        let written = Numbers::read(dir.path()).unwrap_or_else(|error| {
            tracing::error!(
                %error, hint = error.hint(),
                "the numbers that were given before cannot be read"
            );
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
            witness: file.witness(),
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
            tracing::error!(%error, hint = error.hint(), "going on with what was handed on");
            Ok((handed, true))
        }
        (Err(error), None) => Err(error),
    }
}
