//! One chunk: its head, its pages, and the spans that they are made into.
//!
//! A span is a row of pages that is cut into blocks of one class, or is one block as a whole. Its
//! description lies in the chunk's head, in the place of its first page, so that any block leads to
//! it. Knows no lists and no locks.
//!
//! # Invariants
//! - A chunk that is all zero is a valid one, without a free page.
//! - What a block needs to find its span (`first`, `shard`) is not written while it is somebody's;
//!   everything else of a span belongs to whoever has the lock of its shard, a chunk's own fields
//!   to whoever has that of the pages.

use std::{cell::Cell, ptr};

use super::class;
use crate::abi::heap::CHUNK;

/// Units: bytes. Large enough for sixteen of the largest blocks that threads have at hand.
pub(super) const PAGE: usize = 16 << 10;
/// In a chunk; the first one is its head.
pub(super) const PAGES: usize = CHUNK / PAGE;
/// The largest run of pages that is served as one block. Units: bytes.
pub(super) const RUN_MAX: usize = 256 << 10;

/// Every page but the head.
const ALL: u64 = !1;
/// Runs of 1, 2, 4, 8, 16 and 32 pages, and none.
pub(super) const BUCKETS: usize = 7;

/// Somebody in a list. None is a null pointer, as it is in fresh memory.
pub(super) type Link<T> = Option<&'static T>;

/// The head of a chunk, at its start.
pub(super) struct Chunk {
    pub(super) next: Cell<Link<Self>>,
    pub(super) prev: Cell<Link<Self>>,
    /// A bit for each page that is in no span.
    free: Cell<u64>,
    /// Where the span of a page begins.
    first: [Cell<u8>; PAGES],
    spans: [Span; PAGES],
}

/// A row of pages in use.
pub(super) struct Span {
    pub(super) next: Cell<Link<Self>>,
    pub(super) prev: Cell<Link<Self>>,
    base: Cell<*mut u8>,
    /// Blocks that came back.
    free: Cell<*mut Block>,
    /// Units: bytes of a block.
    size: Cell<u32>,
    count: Cell<u32>,
    /// Blocks that were handed out at least once: the others were never touched.
    made: Cell<u32>,
    used: Cell<u32>,
    class: Cell<u8>,
    shard: Cell<u8>,
    pages: Cell<u8>,
}

/// What lies in a block that is nobody's.
pub(super) struct Block {
    pub(super) next: *mut Self,
}

const _: () = assert!(size_of::<Chunk>() <= 4096, "the head is one page of the system");
const _: () = assert!(PAGES <= u64::BITS as usize, "a bit a page");

/// Pages from which so many in a row are free.
const fn starts(free: u64, count: u32) -> u64 {
    let (mut starts, mut have) = (free, 1);
    while have < count {
        let step = if have < count - have { have } else { count - have };
        starts &= starts >> step;
        have += step;
    }
    starts
}

/// The bucket of a chunk by its longest run: 0 without a free page, `n` from 2^(n-1) pages on.
const fn bucket(free: u64) -> usize {
    let mut bucket = 0;
    while bucket < BUCKETS - 1 && starts(free, 1 << bucket) != 0 {
        bucket += 1;
    }
    bucket
}

/// The first bucket all of whose chunks have a run of `count` pages.
pub(super) const fn bucket_for(count: u32) -> usize {
    count.next_power_of_two().trailing_zeros() as usize + 1
}

impl Chunk {
    /// Makes fresh memory a chunk.
    ///
    /// # Safety
    /// `base` has [`CHUNK`] zero bytes, is aligned to them, and is the caller's for as long as the
    /// chunk is used.
    pub(super) unsafe fn begin(base: *mut u8) -> &'static Self {
        // SAFETY: aligned and large enough; zero is valid for every field.
        let chunk = unsafe { &*base.cast::<Self>() };
        chunk.free.set(ALL);
        chunk
    }

    pub(super) fn bucket(&self) -> usize {
        bucket(self.free.get())
    }

    /// Nothing of it is used.
    pub(super) fn is_free(&self) -> bool {
        self.free.get() == ALL
    }

    /// Makes a row of `count` pages a span without blocks.
    pub(super) fn take(&'static self, count: u32) -> Link<Span> {
        let starts = starts(self.free.get(), count);
        if starts == 0 {
            return None;
        }
        let first = starts.trailing_zeros();
        self.free.set(self.free.get() & !mask(first, count));
        #[expect(clippy::cast_possible_truncation, reason = "at most `PAGES`")]
        let (first_page, pages) = (first as u8, count as u8);
        for page in first..first + count {
            self.first.get(page as usize)?.set(first_page);
        }
        let span = self.spans.get(first as usize)?;
        span.pages.set(pages);
        span.base.set(exposed(ptr::from_ref(self).addr() + first as usize * PAGE));
        Some(span)
    }

    /// Takes the pages of a span back.
    pub(super) fn give(&self, span: &Span) {
        let first = page_of(span.base.get());
        #[expect(clippy::cast_possible_truncation, reason = "below `PAGES`")]
        let taken = mask(first as u32, u32::from(span.pages.get()));
        self.free.set(self.free.get() | taken);
    }
}

const fn mask(first: u32, count: u32) -> u64 {
    (u64::MAX >> (u64::BITS - count)) << first
}

fn page_of(address: *const u8) -> usize {
    (address.addr() & (CHUNK - 1)) / PAGE
}

/// An address in a chunk, with the right to all of it that `source` has left: a reference to the
/// head, or the pointer that an owner of a block gives back, has less.
#[inline]
pub(super) fn exposed(address: usize) -> *mut u8 {
    ptr::with_exposed_provenance_mut(address)
}

/// The chunk that `block` lies in, and where it begins.
///
/// # Safety
/// `block` lies in a chunk.
pub(super) unsafe fn chunk_of(block: *mut u8) -> (&'static Chunk, *mut u8) {
    let base = exposed(block.addr() & !(CHUNK - 1));
    // SAFETY: a chunk begins there, as the caller says.
    (unsafe { &*base.cast::<Chunk>() }, base)
}

/// The span that `block` lies in.
///
/// # Safety
/// `block` lies in a span of a chunk.
pub(super) unsafe fn span_of(block: *mut u8) -> &'static Span {
    // SAFETY: as the caller says.
    let (chunk, _) = unsafe { chunk_of(block) };
    // The masks keep both in their bounds, so that nothing here can panic.
    let first = chunk.first[page_of(block) % PAGES].get();
    &chunk.spans[usize::from(first) % PAGES]
}

impl Span {
    /// How many pages a span of a class has: enough for few bytes to be left over at its end.
    pub(super) const fn pages_for(class: usize) -> u32 {
        if class < class::CACHED { 1 } else { 4 }
    }

    /// Cuts the span into blocks of `class` for `shard`.
    pub(super) fn cut(&self, class: usize, shard: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "a few of each")]
        let (pages, number, place) = (usize::from(self.pages.get()), class as u8, shard as u8);
        let size = class::size(class);
        #[expect(clippy::cast_possible_truncation, reason = "a span is smaller than a chunk")]
        let count = (pages * PAGE) as u32 / size;
        self.size.set(size);
        self.count.set(count);
        self.made.set(0);
        self.used.set(0);
        self.free.set(ptr::null_mut());
        self.class.set(number);
        self.shard.set(place);
    }

    pub(super) fn base(&self) -> *mut u8 {
        self.base.get()
    }

    pub(super) fn pages(&self) -> u32 {
        u32::from(self.pages.get())
    }

    pub(super) fn class(&self) -> usize {
        usize::from(self.class.get())
    }

    /// Whose it is. Any owner of a block may ask.
    pub(super) fn shard(&self) -> usize {
        usize::from(self.shard.get())
    }

    pub(super) fn is_full(&self) -> bool {
        self.used.get() == self.count.get()
    }

    pub(super) fn is_free(&self) -> bool {
        self.used.get() == 0
    }

    /// A block, unless it is full. The memory of others is not touched.
    pub(super) fn take(&self) -> *mut Block {
        let block = self.free.get();
        if !block.is_null() {
            // SAFETY: a block that came back, so it holds what `give` wrote.
            self.free.set(unsafe { (*block).next });
        } else if self.made.get() < self.count.get() {
            let made = self.made.get();
            self.made.set(made + 1);
            self.used.set(self.used.get() + 1);
            // SAFETY: within the span, of which it is the next part.
            return unsafe { self.base.get().add((made * self.size.get()) as usize) }.cast();
        } else {
            return block;
        }
        self.used.set(self.used.get() + 1);
        block
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// [`take`](Self::take) has handed it out, and nobody uses it any more.
    pub(super) unsafe fn give(&self, block: *mut Block) {
        // SAFETY: ours again, and at least as large as a pointer.
        unsafe { block.write(Block { next: self.free.get() }) };
        self.free.set(block);
        self.used.set(self.used.get().wrapping_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Held against the simplest way to find out.
    #[test]
    fn runs_are_found() {
        let samples = [0, 1, ALL, 0b1100, 0xff00_ff00, u64::MAX << 60, 0x5555_5555_5555_5555];
        let mut mixed = 0x9e37_79b9_7f4a_7c15_u64;
        let mixed = std::iter::repeat_with(move || {
            mixed = mixed.wrapping_mul(6_364_136_223_846_793_005).rotate_left(17);
            mixed | (mixed << 3) | (mixed >> 7)
        });
        for free in samples.into_iter().chain(mixed.take(200)) {
            let run_at = |at: u32| (free >> at).trailing_ones();
            let longest = (0..64).map(run_at).max().unwrap_or(0);
            for count in 1..=32 {
                let expected = (0..64).filter(|at| run_at(*at) >= count);
                let expected = expected.fold(0_u64, |bits, at| bits | 1 << at);
                assert_eq!(starts(free, count), expected, "{count} in {free:#x}");
                assert!(bucket(free) < bucket_for(count) || longest >= count, "{free:#x}");
            }
            let expected = (0..6).filter(|exponent| longest >= 1 << exponent).count();
            assert_eq!(bucket(free), expected, "{free:#x}");
        }
    }

    #[test]
    fn masks_cover_their_pages() {
        assert_eq!((mask(1, 1), mask(1, 63), mask(3, 4)), (0b10, ALL, 0b111_1000));
        assert_eq!(bucket_for(1), 1);
        assert_eq!((bucket_for(3), bucket_for(4), bucket_for(16)), (3, 3, 5));
    }
}
