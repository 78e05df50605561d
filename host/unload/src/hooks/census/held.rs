//! What was found to keep a library: while it is still there nobody looks again.
//!
//! A library that is held is asked about every second, and there may be hundreds: each look goes
//! through the data of all objects, and whoever wants to open or close one waits for it. Whether the
//! words that were found are still the same is told without.
//!
//! Invariant: a cause is believed for a while only, which is doubled each time that a look agrees.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    goes::Goes,
    heaps::{self, Kept, Roots, Trail},
    scan::Hit,
};
use crate::hooks::{LibraryId, memory};

/// For how long a cause is believed at first, and at most.
const BELIEVED: Duration = Duration::from_secs(2);
const BELIEVED_MAX: Duration = Duration::from_secs(16);

/// What keeps a library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cause {
    text: String,
    /// As they were.
    words: Trail,
    in_block: bool,
}

impl Cause {
    /// One that cannot be told without a look.
    pub(super) fn told(text: String) -> Self {
        Self { text, words: Trail::new(), in_block: false }
    }

    /// `hits` in the data of others.
    pub(super) fn in_data(text: String, hits: &[Hit]) -> Self {
        let words = hits.iter().map(|it| (it.address, it.word)).collect();
        Self { text, words, in_block: false }
    }

    /// A block of memory.
    pub(super) fn in_block(text: String, kept: Kept) -> Self {
        Self { text, words: kept.trail, in_block: true }
    }

    fn is_unchanged(&self) -> bool {
        let is_there = |(at, was): &(usize, usize)| memory::word(*at) == Some(*was);
        !self.words.is_empty() && self.words.iter().all(is_there)
    }

    /// Whether it is a block to which words lead from where `roots` say that they may, as they did.
    pub(super) fn is_still_in_block(&self, roots: &Roots, goes: &Goes) -> bool {
        let begins = self.words.first().is_some_and(|(at, _)| roots.hold(*at));
        let ends = self.words.last().is_some_and(|(_, word)| goes.holds(*word));
        self.in_block && begins && ends && self.is_unchanged() && heaps::leads_on(&self.words)
    }
}

struct Noted {
    cause: Cause,
    found: Instant,
    believed: Duration,
}

static ALL: Mutex<BTreeMap<u32, Noted>> = Mutex::new(BTreeMap::new());

fn all() -> MutexGuard<'static, BTreeMap<u32, Noted>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes what a look has found to keep `library`; the words for it.
pub(super) fn note(library: LibraryId, cause: Cause) -> String {
    let text = cause.text.clone();
    let mut all = all();
    let before = all.get(&library.0).filter(|it| it.cause == cause).map(|it| it.believed);
    let believed = before.map_or(BELIEVED, |it| (it * 2).min(BELIEVED_MAX));
    all.insert(library.0, Noted { cause, found: Instant::now(), believed });
    text
}

/// What was found last.
pub(super) fn last(library: LibraryId) -> Option<Cause> {
    all().get(&library.0).map(|it| it.cause.clone())
}

/// A look has found nothing.
pub(super) fn forget(library: LibraryId) {
    all().remove(&library.0);
}

/// What keeps `library`, in words, if it was found not long ago and is still there.
pub(crate) fn still(library: LibraryId) -> Option<String> {
    let all = all();
    let noted = all.get(&library.0)?;
    let is_there = noted.found.elapsed() < noted.believed && noted.cause.is_unchanged();
    is_there.then(|| noted.cause.text.clone())
}

#[cfg(test)]
mod tests {
    use std::{
        ffi::CString,
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use super::*;

    /// Read by the kernel, which the compiler does not know of.
    type Place = AtomicUsize;

    fn hits(places: &[Place]) -> Vec<Hit> {
        let hit = |place: &Place| Hit {
            address: place.as_ptr().addr(),
            word: place.load(Relaxed),
            target: 0,
            holder: CString::default(),
            offset: 0,
        };
        places.iter().map(hit).collect()
    }

    #[test]
    fn a_cause_holds_until_one_of_its_words_changes() {
        let library = LibraryId(u32::MAX);
        let places = [Place::new(1), Place::new(2)];
        let cause = Cause::in_data("held by two".to_owned(), &hits(&places));
        assert_eq!(note(library, cause), "held by two");
        assert_eq!(still(library).as_deref(), Some("held by two"));
        places[1].store(3, Relaxed);
        assert_eq!(still(library), None);
        places[1].store(2, Relaxed);
        assert_eq!(still(library).as_deref(), Some("held by two"));
        forget(library);
        assert_eq!(still(library), None);
    }

    #[test]
    fn a_cause_without_words_is_looked_for_each_time() {
        let library = LibraryId(u32::MAX - 1);
        note(library, Cause::told("held by the environment".to_owned()));
        assert_eq!(still(library), None);
        forget(library);
    }

    #[test]
    fn a_cause_is_believed_for_longer_each_time_it_is_found() {
        let library = LibraryId(u32::MAX - 2);
        let places = [Place::new(1), Place::new(2)];
        let cause = |count: usize| Cause::in_data(String::new(), &hits(&places[..count]));
        let believed = |count| {
            note(library, cause(count));
            all().get(&library.0).map(|it| it.believed.as_secs())
        };
        let found = [1; 8].map(believed).map(Option::unwrap_or_default);
        assert_eq!(found, [2, 4, 8, 16, 16, 16, 16, 16]);
        assert_eq!(believed(2), Some(2), "it is another one");
        forget(library);
    }
}
