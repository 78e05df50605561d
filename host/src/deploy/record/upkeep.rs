//! The record while its folder cannot be written, or is not there: what is known about that, and
//! how it is made good.
//!
//! Owns the one place that says whether something can be written down. It is asked before each
//! order and at a calm pace; nobody has to ask the host to take up writing again.
//! Invariants: what was acknowledged is never forgotten because the folder was; a manifest that
//! somebody else has put there is moved aside, not lost.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, PoisonError},
    time::SystemTime,
};

use super::Record;
use crate::{
    artifact::{Store, StoreError},
    error::{Coded, Kind},
    state::{ManifestError, ManifestFile, Numbers, StateError},
    status::Unwritable,
    sys::disk,
};

/// Hears of a lock that had to be taken anew.
pub type OnRenewed = Arc<dyn Fn(OwnedFd) + Send + Sync>;

/// With less room than this the next write is tried before it is needed. Units: bytes.
const ROOM_MIN: u64 = 64 << 10;

/// A change is refused because it could not be written down.
#[derive(Clone, Debug, thiserror::Error)]
#[error("nothing can be changed now, because it could not be written down: {text}")]
pub struct Unkept {
    code: &'static str,
    text: String,
    hint: Option<String>,
}

impl Coded for Unkept {
    fn code(&self) -> &'static str {
        self.code
    }

    fn kind(&self) -> Kind {
        Kind::Host
    }

    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

impl Unkept {
    fn of(error: &(impl Coded + ?Sized)) -> Self {
        Self { code: error.code(), text: error.to_string(), hint: error.hint() }
    }
}

/// Why a look found that nothing can be written.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl From<Trouble> for Unkept {
    fn from(trouble: Trouble) -> Self {
        match &trouble {
            Trouble::State(error) => Self::of(error),
            Trouble::Store(error) => Self::of(error),
            Trouble::Manifest(error) => Self::of(error),
        }
    }
}

impl Record {
    /// Sees to it that the next change can be written down: makes a folder that was lost again,
    /// with what is known, and writes what only memory has.
    ///
    /// # Errors
    /// It cannot. What serves is as it was.
    pub fn look(&self, store: &Store) -> Result<(), Unkept> {
        // Nothing is held while the folder is only looked at: it may not answer for a long time.
        if self.is_sealed() || self.is_well(store) {
            return Ok(());
        }
        let mut file = self.pen();
        if self.is_sealed() {
            // Another worker of the host writes, and looks.
            return Ok(());
        }
        let looked = self.mend(&mut file, store).map_err(Unkept::from);
        drop(file);
        self.note_trouble(looked.as_ref().err());
        looked
    }

    /// Whether the disk has everything, and takes more.
    fn is_well(&self, store: &Store) -> bool {
        let (behind, digests) = {
            let book = self.book();
            (book.behind, book.manifest.in_traffic())
        };
        let well = !behind && self.unwritable().is_none();
        well && self.dir.inspect().is_ok()
            && !self.is_short()
            && self.witness.is_untouched()
            && self.history.is_there()
            && digests.into_iter().all(|digest| store.artifact_path(digest).exists())
    }

    fn is_short(&self) -> bool {
        disk::free(self.dir.path()).is_some_and(|free| free < ROOM_MIN)
    }

    fn mend(&self, file: &mut ManifestFile, store: &Store) -> Result<(), Trouble> {
        match self.dir.inspect() {
            Err(StateError::Lost { .. }) => {
                let path = self.dir.path().display();
                match self.dir.renew()? {
                    Some(lock) => {
                        (self.renewed)(lock);
                        tracing::warn!(
                            folder = %path,
                            "the state folder was lost: it is made again"
                        );
                        self.take_place(file);
                    }
                    // By another worker of this host: what it has committed there was acknowledged.
                    None => {
                        let found = file.load()?;
                        self.take_newer(file, found);
                    }
                }
            }
            other => other?,
        }
        if !self.witness.is_untouched() {
            let path = self.dir.path().display();
            tracing::warn!(
                folder = %path,
                "somebody has changed the state folder's manifest: it is written again, as this \
                 host knows it"
            );
            self.take_place(file);
        }
        let (manifest, behind) = {
            let book = self.book();
            (book.manifest.clone(), book.behind)
        };
        for digest in manifest.in_traffic() {
            store.put_back(digest)?;
        }
        if let Err(error) = self.history.write_again() {
            tracing::error!(%error, hint = error.hint(), "the history could not be written again");
        }
        if !behind && !self.is_short() && self.unwritable().is_none() {
            return Ok(());
        }
        file.save(&manifest)?;
        self.book().behind = false;
        Ok(())
    }

    /// The folder is another one than before, or its manifest is.
    fn take_place(&self, file: &mut ManifestFile) {
        self.book().behind = true;
        // Whatever is reserved there, it is not what this host has given.
        self.numbering().written = Numbers::default();
        file.move_in();
    }

    /// Remembers whether something can be written, and says so when that has changed.
    pub(super) fn note_trouble(&self, trouble: Option<&Unkept>) {
        let mut known = self.unwritable.lock().unwrap_or_else(PoisonError::into_inner);
        match (trouble, &mut *known) {
            (Some(Unkept { code, text, hint }), known) => {
                let since = known.as_ref().map(|it| it.since);
                if known.as_ref().is_none_or(|it| it.code != *code) {
                    tracing::error!(
                        code,
                        hint,
                        "nothing can be written down: what serves serves on, changes are refused: \
                         {text}"
                    );
                }
                *known = Some(Unwritable {
                    code,
                    text: text.clone(),
                    hint: hint.clone(),
                    since: since.unwrap_or_else(SystemTime::now),
                });
            }
            (None, known @ Some(_)) => {
                *known = None;
                tracing::info!("the state can be written again: changes are taken");
            }
            (None, None) => {}
        }
    }

    /// Why nothing can be written down, as far as known. Waits for nothing.
    #[must_use]
    pub fn unwritable(&self) -> Option<Unwritable> {
        self.unwritable.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A write has failed.
    pub(super) fn not_written(&self, error: &ManifestError) {
        if !matches!(error, ManifestError::Sealed) {
            self.note_trouble(Some(&Unkept::of(error)));
        }
    }
}
