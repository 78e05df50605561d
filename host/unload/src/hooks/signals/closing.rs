//! Which library is being closed, and what goes with it: no action is set for them any more.
//!
//! A handler that runs while its library's actions are taken away may set itself again, as was the
//! custom of System V. It would be called once more, when nobody waits for it any more. So it is told
//! that it is done, and nothing is.
//!
//! Invariants: one library at a time, that of whoever has the turn; written and asked under the lock.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use super::{
    lock::{Locked, locked},
    slot::Key,
};
use crate::hooks::{LibraryId, census::Turn, needed::Going};

/// Objects that go with a library and are told from others; a library has a few.
const OBJECTS_MAX: usize = 256;

/// 0: none.
static LIBRARY: AtomicU32 = AtomicU32::new(0);
/// Their places in the loader's list, up to the first 0.
static OBJECTS: [AtomicUsize; OBJECTS_MAX] = [const { AtomicUsize::new(0) }; OBJECTS_MAX];
/// There are more: none is told from others.
static IS_ANY: AtomicBool = AtomicBool::new(false);

/// Until dropped, no action is set for a library, or for what goes with it.
#[derive(Debug)]
#[must_use = "it may set actions again when this is dropped"]
pub(crate) struct Closing(());

impl Closing {
    pub(crate) fn begin(library: LibraryId, going: &[Going], _: &Turn) -> Self {
        locked(|_| {
            let maps = going.iter().map(Going::map).chain([0]);
            for (place, map) in OBJECTS.iter().zip(maps) {
                place.store(map, Ordering::Relaxed);
            }
            IS_ANY.store(going.len() > OBJECTS_MAX, Ordering::Relaxed);
            LIBRARY.store(library.0, Ordering::Relaxed);
        });
        Self(())
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        locked(|_| {
            LIBRARY.store(0, Ordering::Relaxed);
            // All of them: a place may be a library's memory one day.
            OBJECTS.iter().for_each(|it| it.store(0, Ordering::Relaxed));
            IS_ANY.store(false, Ordering::Relaxed);
        });
    }
}

/// Whether `key`'s actions are being taken away.
pub(super) fn holds(key: Key, _: &Locked) -> bool {
    let library = LIBRARY.load(Ordering::Relaxed);
    if library == 0 {
        return false;
    }
    let Some(map) = key.map() else { return key == Key::library(library) };
    let mut known = OBJECTS.iter().map(|it| it.load(Ordering::Relaxed)).take_while(|it| *it != 0);
    IS_ANY.load(Ordering::Relaxed) || known.any(|it| it == map)
}

/// Under whose name a handler runs that `owner` sets now: nobody's, if that is being closed.
pub(super) fn name(owner: u32, _: &Locked) -> u32 {
    if owner == LIBRARY.load(Ordering::Relaxed) { 0 } else { owner }
}
