//! Blocks that are ranges of their own: above 256 KiB, or aligned to more than the pages of a chunk.
//!
//! Owns a few that came back, because making one costs some microseconds and touching it anew much
//! more. Invariant: the size of a range follows from its layout alone.

use std::{alloc::Layout, cell::Cell, ptr};

use super::{cache, lock::Lock, source};

/// What a range is aligned to without more ado. Units: bytes; the smallest page of a system.
const PAGE: usize = 4096;
/// Ranges up to here are kept, and have eight sizes a doubling so that they are found again.
/// Units: bytes.
const KEPT_MAX: usize = 4 << 20;
/// How many are kept.
const KEPT: usize = 8;
/// What larger ones are a multiple of: the largest page of a system. Units: bytes.
const STEP: usize = 64 << 10;

pub(super) struct Reserve {
    pub(super) lock: Lock,
    kept: [Cell<(*mut u8, usize)>; KEPT],
    /// The place of the oldest.
    oldest: Cell<usize>,
}

// SAFETY: the ranges are touched under the lock alone.
unsafe impl Sync for Reserve {}

pub(super) static RESERVE: Reserve = Reserve {
    lock: Lock::new(),
    kept: [const { Cell::new((ptr::null_mut(), 0)) }; KEPT],
    oldest: Cell::new(0),
};

impl Reserve {
    fn take(&self, size: usize) -> Option<*mut u8> {
        let _held = self.lock.hold();
        let found = self.kept.iter().find(|kept| kept.get().1 == size)?;
        Some(found.replace((ptr::null_mut(), 0)).0)
    }

    /// Keeps a range in the place of the oldest one, which it returns.
    fn keep(&self, base: *mut u8, size: usize) -> (*mut u8, usize) {
        let _held = self.lock.hold();
        let oldest = self.oldest.get();
        let free = self.kept.iter().position(|kept| kept.get().1 == 0);
        let at = free.unwrap_or(oldest) % KEPT;
        if free.is_none() {
            self.oldest.set((oldest + 1) % KEPT);
        }
        self.kept[at].replace((base, size))
    }
}

/// How large the range for a block of `size` bytes is.
fn range(size: usize) -> usize {
    let step = if size > KEPT_MAX { STEP } else { (1 << size.ilog2()) / 8 };
    size.next_multiple_of(step)
}

/// Whether a range begins where a block of this layout may begin.
fn is_plain(layout: Layout) -> bool {
    layout.align() <= PAGE
}

/// A block, and whether it is zero; null: there is no memory.
pub(super) fn take(layout: Layout) -> (*mut u8, bool) {
    if !is_plain(layout) {
        return (take_aligned(layout), true);
    }
    let size = range(layout.size());
    let kept = if size <= KEPT_MAX { RESERVE.take(size) } else { None };
    let base = kept.unwrap_or_else(|| source::take(size));
    if !base.is_null() {
        cache::count(size as u64, 0);
    }
    (base, kept.is_none())
}

/// # Safety
/// `block` was served for `layout`, and nobody uses it any more.
pub(super) unsafe fn give(block: *mut u8, layout: Layout) {
    let (mut base, mut size) = if is_plain(layout) {
        (block, range(layout.size()))
    } else {
        // SAFETY: `take_aligned` has written where the range begins before the block.
        (unsafe { block.cast::<*mut u8>().sub(1).read() }, aligned_range(layout))
    };
    cache::count(0, size as u64);
    if is_plain(layout) && size <= KEPT_MAX {
        (base, size) = RESERVE.keep(base, size);
    }
    if size > 0 {
        // SAFETY: a range that nobody knows any more.
        unsafe { source::give(base, size) };
    }
}

/// The same bytes in a range for another size; `None`: it has to be copied.
///
/// # Safety
/// As for [`give`], if it moves.
pub(super) unsafe fn resize(block: *mut u8, from: Layout, to: Layout) -> Option<*mut u8> {
    if !is_plain(from) {
        return None;
    }
    let (before, after) = (range(from.size()), range(to.size()));
    if before == after {
        return Some(block);
    }
    // SAFETY: a range of that size.
    let moved = unsafe { source::resize(block, before, after) };
    if moved.is_null() {
        return None;
    }
    cache::count(after as u64, before as u64);
    Some(moved)
}

/// Room for the block wherever the range begins, and for a pointer before it.
fn aligned_range(layout: Layout) -> usize {
    // Neither is above `isize::MAX`.
    let size = layout.size() + layout.align();
    size.checked_next_multiple_of(STEP).unwrap_or(usize::MAX)
}

fn take_aligned(layout: Layout) -> *mut u8 {
    let size = aligned_range(layout);
    let base = source::take(size);
    if base.is_null() {
        return base;
    }
    cache::count(size as u64, 0);
    let word = size_of::<*mut u8>();
    let block = base.map_addr(|at| (at + word).next_multiple_of(layout.align()));
    // SAFETY: `block` is at least a word and at most the alignment behind the start of the range.
    unsafe { block.cast::<*mut u8>().sub(1).write(base) };
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::chunk::RUN_MAX;

    #[test]
    fn ranges_waste_an_eighth_at_most() {
        for size in (RUN_MAX + 1..6 << 20).step_by(997) {
            let range = range(size);
            assert!(range >= size && range.is_multiple_of(PAGE), "{size}: {range}");
            assert!(range - size <= size / 8, "{size}: {range}");
        }
        assert_eq!(range(1 << 20), 1 << 20);
        assert_eq!(range(KEPT_MAX), KEPT_MAX);
        assert_eq!(range(KEPT_MAX + 1), KEPT_MAX + STEP);
    }
}
