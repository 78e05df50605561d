//! Where libraries lay that are unmapped: whose fault it is when somebody still goes there.
//!
//! Owns a ring of the last ranges, as plain numbers: a handler of a fault may take no lock. Invariants: a
//! place where something is mapped again is nobody's who has gone; no number here is an address (all
//! bits are turned), so that a census does not take this for somebody who keeps one.

use std::{
    ops::Range,
    ptr,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use super::object;

/// Ranges that are remembered. A crash comes soon after its cause, or never.
const PLACES: usize = 512;

struct Place {
    start: AtomicUsize,
    end: AtomicUsize,
    tag: AtomicU64,
}

static RING: [Place; PLACES] = [const {
    Place { start: AtomicUsize::new(!0), end: AtomicUsize::new(!0), tag: AtomicU64::new(0) }
}; PLACES];
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Notes that the library with this tag lay there.
pub(super) fn note(range: &Range<usize>, tag: u64) {
    let place = &RING[NEXT.fetch_add(1, Ordering::Relaxed) % PLACES];
    // Nothing lies in an empty range, whoever looks meanwhile.
    place.end.store(!0, Ordering::SeqCst);
    place.start.store(!range.start, Ordering::SeqCst);
    place.tag.store(tag, Ordering::SeqCst);
    place.end.store(!range.end, Ordering::SeqCst);
}

/// The tag of the library that lay at this address and is unmapped; 0: none. Only loads, and asks the
/// loader for nothing that takes a lock: for signal handlers.
#[must_use]
pub fn tag_of_gone(address: usize) -> u64 {
    // A plain loop, the newest first: a handler's stack is small, whatever the build.
    let last = NEXT.load(Ordering::Relaxed);
    let mut back = 0;
    while back < PLACES.min(last) {
        back += 1;
        let place = &RING[(last - back) % PLACES];
        if !place.start.load(Ordering::SeqCst) <= address
            && address < !place.end.load(Ordering::SeqCst)
        {
            let is_free = object::find(ptr::without_provenance(address)).is_none();
            return if is_free { place.tag.load(Ordering::SeqCst) } else { 0 };
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_that_lay_there_is_told() {
        // Where nobody maps anything.
        let range = 0x1000..0x3000;
        assert_eq!(tag_of_gone(0x2000), 0);
        note(&range, 7);
        note(&(0x2000..0x4000), 8);
        assert_eq!([0x1000, 0x1fff, 0x2000, 0x3fff, 0x4000].map(tag_of_gone), [7, 7, 8, 8, 0]);
        let here = the_last_that_lay_there_is_told as *const () as usize;
        note(&(here..here + 16), 9);
        assert_eq!(tag_of_gone(here), 0, "something is there");
        for _ in 0..PLACES {
            note(&(0x9000..0xa000), 1);
        }
        assert_eq!(tag_of_gone(0x2000), 0, "forgotten");
    }
}
