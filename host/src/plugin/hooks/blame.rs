//! Whose code a thread runs, for a signal handler.
//!
//! Owns a fixed table from libraries to generations: a handler may take no lock and reach no
//! memory that moves. Invariant: an entry is the newest library of its place or says that it is
//! another's, so a generation is blamed for nothing but its own library.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::{CURRENT, LibraryId};
use crate::ids::Generation;

/// Libraries that are told apart; a host has far fewer at one time.
const PLACES: usize = 4096;

struct Entry {
    library: AtomicU32,
    generation: AtomicU64,
}

static ENTRIES: [Entry; PLACES] =
    [const { Entry { library: AtomicU32::new(0), generation: AtomicU64::new(0) } }; PLACES];

fn entry(library: u32) -> &'static Entry {
    &ENTRIES[library as usize % PLACES]
}

/// From now on `library` is `generation`'s.
pub(in crate::plugin) fn assign(library: LibraryId, generation: Generation) {
    let entry = entry(library.0);
    entry.library.store(0, Ordering::SeqCst);
    entry.generation.store(generation.0, Ordering::SeqCst);
    entry.library.store(library.0, Ordering::SeqCst);
}

/// The generation whose code runs on the calling thread; 0 for the host's own. Only loads: for
/// signal handlers.
#[must_use]
pub fn running_generation() -> u64 {
    generation_of(CURRENT.with(|current| current.load(Ordering::Relaxed)))
}

/// The generation that a library is; 0 for none, or for one whose place is another's by now.
pub(super) fn generation_of(library: u32) -> u64 {
    let entry = entry(library);
    if library == 0 || entry.library.load(Ordering::SeqCst) != library {
        return 0;
    }
    let generation = entry.generation.load(Ordering::SeqCst);
    // It may have become another's in between.
    if entry.library.load(Ordering::SeqCst) == library { generation } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::hooks;

    #[test]
    fn the_library_that_runs_is_blamed_until_its_place_is_taken() {
        // Far from the numbers that real libraries get in this process.
        let [library, next] = [3_000_000, 3_000_000 + 4096].map(LibraryId);
        assign(library, Generation(7));
        assert_eq!(running_generation(), 0, "the host itself");
        let entered = hooks::enter(library);
        assert_eq!(running_generation(), 7);
        let inner = hooks::enter(next);
        assert_eq!(running_generation(), 0, "not known");
        drop(inner);
        assign(next, Generation(9));
        assert_eq!(running_generation(), 0, "its place is another's");
        drop(entered);
    }
}
