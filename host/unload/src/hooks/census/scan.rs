//! The look itself: every word of data that stays, against the addresses that go.

use std::{
    ffi::{CStr, CString},
    io,
};

use super::{cache, goes::Goes, heaps::Roots, known};
use crate::hooks::{
    LibraryId, heap,
    memory::{self, WORD, Words, word},
    needed,
    objects::{self, Loaded},
};

/// Places that are told apart; one is enough to keep a library.
const HITS_MAX: usize = 32;

/// A word that looks like an address of what goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    /// Where it stands.
    pub(super) address: usize,
    /// What it is.
    pub(super) word: usize,
    /// The same, or what that hides.
    pub(super) target: usize,
    /// Whose data that is: the path it was opened with; empty for the executable.
    pub(super) holder: CString,
    /// The same by the addresses of that file.
    pub(super) offset: usize,
}

/// What one look found.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Whether the loader knows the object that was asked for.
    pub(super) is_listed: bool,
    /// What goes.
    pub(super) goes: Goes,
    /// Who holds an address of it.
    pub(super) hits: Vec<Hit>,
    /// How many words were looked at.
    pub(super) words: usize,
    /// Whose blocks of memory are to be looked at as well.
    pub(super) roots: Roots,
}

/// Looks for addresses of the object at `path`, and of what goes with it.
///
/// # Errors
/// The system's own, when this process may not read itself.
pub(super) fn survey(path: &CStr, library: LibraryId) -> io::Result<Survey> {
    let chunks = heap::ranges(library);
    under_the_lock(|all| {
        let going = needed::with(all, path);
        let spans = all.iter().zip(&going).filter(|(_, goes)| **goes);
        let spans = spans.map(|(it, _)| it.span.clone());
        let goes = Goes::new(spans.chain(chunks.iter().cloned()));
        let stays = all.iter().zip(&going).filter(|(_, goes)| !**goes).map(|(it, _)| it);
        let survey = compare(stays, goes)?;
        let roots = Roots::of(all, |at| !going[at]);
        Ok(Survey { is_listed: going.contains(&true), roots, ..survey })
    })
}

/// What [`survey`] says goes if the object at `path` goes alone, and whose blocks to look at then. No
/// words are looked at.
pub(super) fn alone(path: &CStr, library: LibraryId) -> Option<(Goes, Roots)> {
    let chunks = heap::ranges(library);
    objects::with_all(|all| {
        let own = all.iter().filter(|it| it.name.as_c_str() == path).map(|it| it.span.clone());
        (Goes::new(own.chain(chunks)), Roots::of(all, |_| true))
    })
}

/// Looks for addresses of `goes` in the data of all objects.
///
/// # Errors
/// As for [`survey`].
pub(super) fn seek(goes: &Goes) -> io::Result<Survey> {
    under_the_lock(|all| compare(all.iter(), goes.clone()))
}

/// Looks under the loader's lock; once more behind it, where a word of the loader's own is in doubt.
fn under_the_lock(look: impl Fn(&[Loaded]) -> io::Result<Survey>) -> io::Result<Survey> {
    let silent = || io::Error::other("the loader does not tell what it has mapped");
    let seen = || objects::with_all(&look).unwrap_or_else(|| Err(silent()));
    let survey = seen()?;
    if !survey.hits.iter().any(|hit| cache::is_doubtful(hit.address)) {
        return Ok(survey);
    }
    cache::learn();
    seen()
}

fn compare<'a>(stays: impl Iterator<Item = &'a Loaded>, goes: Goes) -> io::Result<Survey> {
    let mut survey = Survey { goes, ..Survey::default() };
    let mut words = Words::new();
    let guard = known().tables.guard;
    for holder in stays {
        for range in holder.writable.iter().flat_map(memory::touched) {
            let (goes, hits) = (&survey.goes, &mut survey.hits);
            let near = |word: usize| match guard {
                Some(guard) => goes.is_near(word) | goes.is_near(guard.open(word)),
                None => goes.is_near(word),
            };
            survey.words += words.each_near(&range, near, |address, word| {
                let hidden = || guard.map(|guard| guard.open(word)).filter(|it| goes.holds(*it));
                let plain = goes.holds(word).then_some(word);
                let Some(target) = plain.or_else(hidden) else { return };
                if hits.len() < HITS_MAX && !is_forgiven(address, goes) {
                    let offset = address.wrapping_sub(holder.base);
                    let holder = holder.name.clone();
                    hits.push(Hit { address, word, target, holder, offset });
                }
            })?;
        }
    }
    Ok(survey)
}

fn is_forgiven(address: usize, goes: &Goes) -> bool {
    if let Some(forgiven) = known().tables.forgives(address, goes) {
        return forgiven;
    }
    cache::is_forgotten(address)
        || is_frame_cache(address, goes)
        // Where it could stand in a table that was not found: one with a handle of the library, a
        // word that holds its own address, is taken out when that goes.
        || known().tables.is_blind()
            && (0..4).any(|after| {
                word(address + after * WORD)
                    .is_some_and(|it| goes.holds(it) && word(it) == Some(it))
            })
}

/// Whether the word stands in an entry of the cache of an older unwinder, linked statically into
/// some libraries, which believes none of it once the loader has unmapped anything: from where to
/// where a segment reaches, its object's base, frames, and dynamic entries. Source: GCC 11,
/// `libgcc/unwind-dw2-fde-dip.c`.
fn is_frame_cache(address: usize, goes: &Goes) -> bool {
    (0..5).any(|before: usize| {
        let Some(entry) = address.checked_sub(before * WORD) else { return false };
        let field = |number: usize| word(entry + number * WORD).unwrap_or_default();
        let [low, high, base, frames, dynamic] = [0, 1, 2, 3, 4].map(field);
        let whole = goes.find(base).is_some_and(|rest| rest.contains(&low) && high <= rest.end);
        whole && base <= low && low < high && goes.holds(frames) && goes.holds(dynamic)
    })
}
