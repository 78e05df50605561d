//! Memory outside of its object that is a library's own and goes with it: chunks of its heap.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::plugin::hooks::LibraryId;

/// By their first address.
static CHUNKS: Mutex<BTreeMap<usize, (usize, LibraryId)>> = Mutex::new(BTreeMap::new());

fn chunks() -> MutexGuard<'static, BTreeMap<usize, (usize, LibraryId)>> {
    CHUNKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on `range` is the library's own, until [`give_back`] or [`forget`]. It must be freed only
/// after that, and not before its library is unmapped.
pub fn own(library: LibraryId, range: Range<usize>) {
    chunks().insert(range.start, (range.end, library));
}

/// What began at `start` is the library's no more.
pub fn give_back(start: usize) {
    chunks().remove(&start);
}

/// Nothing is the library's any more.
pub fn forget(library: LibraryId) {
    chunks().retain(|_, (_, owner)| *owner != library);
}

/// What is the library's.
pub(super) fn of(library: LibraryId) -> Vec<Range<usize>> {
    let own = chunks();
    let own = own.iter().filter(|(_, (_, owner))| *owner == library);
    own.map(|(start, (end, _))| *start..*end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_belong_to_one_library() {
        // Far from the numbers that real libraries get in this process.
        let [one, two] = [3_200_000, 3_200_001].map(LibraryId);
        for (library, start) in [(one, 10), (one, 30), (two, 20), (two, 40), (one, 50)] {
            own(library, start..start + 10);
        }
        assert_eq!((of(one), of(two)), (vec![10..20, 30..40, 50..60], vec![20..30, 40..50]));
        give_back(30);
        assert_eq!(of(one), [10..20, 50..60]);
        forget(two);
        assert_eq!((of(one), of(two)), (vec![10..20, 50..60], vec![]));
        forget(one);
        assert!(of(one).is_empty());
    }
}
