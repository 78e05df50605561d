//! A library in a child: first as it can be unloaded, then as its author made it.
//!
//! Owns which of the two is loaded. Invariant: what the child has run and unloaded is, byte for byte,
//! what is loaded; whatever that is, its identity is the digest of what its author made.

use std::path::Path;

use crate::{
    artifact::{
        StoreError,
        elf::{self, marks, places},
    },
    ids::{Label, PluginName},
    plugin::preflight::{self, Given, PreflightError, PreflightRequest, Verdict, Waiting},
    sys::{private::PrivateFile, start::start},
};

use super::{candidate::CandidateError, companions, room::BUILD_WITHOUT};

/// The file that is mapped; removed again unless a loaded generation takes it over.
#[derive(Debug)]
pub struct PrivateCopy(Option<PrivateFile>);

impl PrivateCopy {
    /// The copy in `file`.
    #[must_use]
    pub fn new(file: PrivateFile) -> Self {
        Self(Some(file))
    }

    /// Hands the file over, once.
    pub fn take(&mut self) -> Option<PrivateFile> {
        self.0.take()
    }
}

impl Drop for PrivateCopy {
    fn drop(&mut self) {
        if let Some(file) = self.0.take() {
            // What cannot be removed now is swept at the next start.
            let _ = file.remove();
        }
    }
}

/// A library that a child has accepted.
#[derive(Debug)]
pub struct Tried {
    /// What the child says of it.
    pub verdict: Verdict,
    /// How the copy differs from what its author made, and what it was given, for people.
    pub notes: Vec<String>,
    /// The file that the child has run.
    pub file: PrivateCopy,
}

/// Tries bytes, of which `copy` makes private files, as that version of a plugin; they are those of the
/// file that its author gave, if it is known. `given` are its own settings and those of the host.
///
/// A library that is marked to stay loaded is tried without its marks; if it does not end cleanly
/// so, they may be there for a reason, and it is tried as it is.
///
/// `waiting` is the child of the first try.
///
/// # Errors
/// [`CandidateError::Store`], [`CandidateError::Preflight`], [`CandidateError::Companion`].
pub fn try_library(
    waiting: Waiting,
    (bytes, author): (&[u8], Option<&Path>),
    copy: impl Fn(&[u8]) -> Result<PrivateFile, StoreError>,
    version: (PluginName, Label),
    given: &Given<'_>,
) -> Result<Tried, CandidateError> {
    let mut waiting = Some(waiting);
    let mut run = |copied: &[u8], note: Option<String>| -> Result<Tried, CandidateError> {
        let file = copy(copied)?;
        let request = PreflightRequest::new(file.path().to_owned(), version.clone(), given);
        let file = PrivateCopy::new(file);
        let tried = match waiting.take() {
            Some(waiting) => waiting.run(&request),
            None => preflight::run(&request),
        };
        let verdict = tried.map_err(|error| explained(error, bytes, author))?;
        let mut notes: Vec<_> = note.into_iter().collect();
        notes.extend(elf::executable_stack(bytes).map(str::to_owned));
        if let Some(author) = author {
            notes.extend(companions::compare(bytes, author, &verdict.resolved)?);
        }
        Ok(Tried { verdict, notes, file })
    };
    if let Some(unmarked) = marks::without(bytes) {
        match run(&unmarked.bytes, Some(unmarked.note())) {
            Ok(tried) if !tried.verdict.unmapped => {}
            Err(CandidateError::Preflight(error)) if error.is_of_its_end() => {}
            done => return done,
        }
    }
    run(bytes, None)
}

/// What the loader says where its fixed area for thread-locals is used up. Source: elf/dl-reloc.c in
/// glibc.
pub(super) const NO_ROOM: &str = "static TLS block";

/// With the places where a library was looked for that was not found, and with what it wants that no
/// process of this host has.
fn explained(error: PreflightError, bytes: &[u8], author: Option<&Path>) -> PreflightError {
    let list = start().variable("LD_LIBRARY_PATH").filter(|it| !it.is_empty());
    let list = list.map(|it| it.to_string_lossy());
    error.explained(|text| {
        if text.contains(NO_ROOM)
            && let Some(wanted) = elf::static_tls(bytes)
        {
            return Some(format!(
                "it keeps {wanted} bytes of every thread at a fixed place, and a fresh process has \
                 less room: raise `static_tls`, or {BUILD_WITHOUT}"
            ));
        }
        let folder = author.and_then(companions::folder_of);
        places::explain(bytes, text, folder.as_deref(), list.as_deref())
    })
}
