//! Whose code a thread runs, and whose a path is, for a signal handler.
//!
//! Owns a fixed table of libraries, their tags and what their paths come to: a handler may take no
//! lock and reach no memory that moves. Invariants: an entry is its place's one live library, so a tag
//! is blamed for nothing but its own library; a number whose place is taken is given to no library
//! as long as there is a free one (`registry`), so every live library is known, however many were
//! loaded before it.

use std::{
    ffi::CStr,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use super::{CURRENT, LibraryId};

/// Libraries that are told apart; a host has far fewer at one time.
pub(super) const PLACES: u32 = 4096;

struct Entry {
    library: AtomicU32,
    tag: AtomicU64,
    /// Of its path, which is never used again: [`digest`].
    path: AtomicU64,
}

static ENTRIES: [Entry; PLACES as usize] = [const {
    Entry { library: AtomicU32::new(0), tag: AtomicU64::new(0), path: AtomicU64::new(0) }
}; PLACES as usize];

fn entry(library: u32) -> &'static Entry {
    &ENTRIES[(library % PLACES) as usize]
}

/// Whether no live library has the place of `library`.
pub(super) fn is_free(library: u32) -> bool {
    entry(library).library.load(Ordering::SeqCst) == 0
}

/// From now on the place of `library`, which is opened as `path`, is its own; it has no tag
/// yet.
pub(super) fn reserve(library: LibraryId, path: &CStr) {
    entry(library.0).path.store(digest(path), Ordering::SeqCst);
    assign(library, 0);
}

/// FNV-1a: tells apart what nobody makes up on purpose. 0 is nobody's.
fn digest(path: &CStr) -> u64 {
    let mix = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    path.to_bytes().iter().fold(0xcbf2_9ce4_8422_2325, mix) | 1
}

/// The library that was opened as `path`. Only loads: for signal handlers.
pub(super) fn library_at(path: &CStr) -> Option<LibraryId> {
    let wanted = digest(path);
    ENTRIES.iter().find_map(|entry| {
        let library = entry.library.load(Ordering::SeqCst);
        let its = library != 0 && entry.path.load(Ordering::SeqCst) == wanted;
        // It may have become another's in between.
        (its && entry.library.load(Ordering::SeqCst) == library).then_some(LibraryId(library))
    })
}

/// From now on `library` has this tag.
pub(crate) fn assign(library: LibraryId, tag: u64) {
    let entry = entry(library.0);
    entry.library.store(0, Ordering::SeqCst);
    entry.tag.store(tag, Ordering::SeqCst);
    entry.library.store(library.0, Ordering::SeqCst);
}

/// `library` is gone.
pub(super) fn release(library: LibraryId) {
    let (taken, free) = (library.0, 0);
    // Its place may be another's, when there were too many.
    let _ = entry(taken).library.compare_exchange(taken, free, Ordering::SeqCst, Ordering::SeqCst);
}

/// The tag of the library whose code runs on the calling thread; 0 for the host's own. Only loads: for
/// signal handlers.
#[must_use]
pub fn running_tag() -> u64 {
    tag_of(CURRENT.with(|current| current.load(Ordering::Relaxed)))
}

/// The tag of a library.
pub(crate) fn tag(library: LibraryId) -> u64 {
    tag_of(library.0)
}

/// The tag of a library; 0 for none, or for one whose place is another's by now.
pub(super) fn tag_of(library: u32) -> u64 {
    let entry = entry(library);
    if library == 0 || entry.library.load(Ordering::SeqCst) != library {
        return 0;
    }
    let tag = entry.tag.load(Ordering::SeqCst);
    // It may have become another's in between.
    if entry.library.load(Ordering::SeqCst) == library { tag } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks;

    #[test]
    fn the_library_that_runs_is_blamed_until_its_place_is_taken() {
        // Far from the numbers that real libraries get in this process.
        let [library, next] = [3_000_000, 3_000_000 + 4096].map(LibraryId);
        assign(library, 7);
        assert_eq!(running_tag(), 0, "the host itself");
        let entered = hooks::enter(library);
        assert_eq!(running_tag(), 7);
        let inner = hooks::enter(next);
        assert_eq!(running_tag(), 0, "not known");
        drop(inner);
        assign(next, 9);
        assert_eq!(running_tag(), 0, "its place is another's");
        drop(entered);
        release(library);
        assert!(!is_free(library.0), "not its own any more");
        release(next);
        assert!(is_free(library.0) && is_free(next.0));
    }
}
