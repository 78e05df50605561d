//! Blocks of the C library's `malloc`, told by what it writes before each of them.
//!
//! An address is held to be one of a block if a header stands before it, the next block's header
//! stands where that says, and that one calls the first in use. Source: glibc, `malloc/malloc.c`.
//! Nothing is read by a pointer: the kernel copies whole pages (`memory`), once for one look.
#![expect(unsafe_code, reason = "allocates blocks to see whether they are known")]

use std::{collections::HashMap, hint::black_box, ops::Range};

use crate::hooks::memory::{self, WORD};

/// Units: bytes of memory that one look may copy.
const BYTES_MAX: usize = 256 << 20;
/// Units: bytes from which on a block always has a mapping of its own. Source: glibc,
/// `DEFAULT_MMAP_THRESHOLD_MAX`.
const MAPPED_ALWAYS: usize = 33 << 20;
/// Units: bytes of a block's header, and of the steps in which blocks lie.
const HEADER: usize = 2 * WORD;
/// Units: bytes of the smallest block.
const BLOCK_MIN: usize = 4 * WORD;
/// Units: bytes behind a block's start in which an address of it is looked for: allocators that have
/// a word of their own before each block, and members of a structure, are not at its start.
const INSIDE: usize = 256;

// What a header's size holds in its lowest bits.
const PREVIOUS_IN_USE: usize = 1;
const MAPPED: usize = 2;
const OTHER_ARENA: usize = 4;
const FLAGS: usize = 7;

/// More memory than one look may copy.
#[derive(Debug)]
pub(super) struct TooMuch;

/// Pages as they were when they were first asked for.
///
/// The copies are in a mapping of their own, which is given back: left in blocks of `malloc`, they would
/// be full of addresses that the next owner seems to keep.
pub(super) struct Pages {
    /// Where the copy of a page begins; `None`: it cannot be read.
    known: HashMap<usize, Option<usize>>,
    copies: Vec<u8>,
    /// Asked for last.
    last: (usize, Option<usize>),
    size: usize,
}

impl Pages {
    pub(super) fn new() -> Self {
        let size = rustix::param::page_size();
        let copies = Vec::with_capacity(MAPPED_ALWAYS);
        Self { known: HashMap::new(), copies, last: (usize::MAX, None), size }
    }

    /// Where the copy of the page at `start` begins.
    fn page(&mut self, start: usize) -> Result<Option<usize>, TooMuch> {
        if self.last.0 == start {
            return Ok(self.last.1);
        }
        let at = match self.known.get(&start) {
            Some(at) => *at,
            None => {
                let at = self.copy(start)?;
                self.known.insert(start, at);
                at
            }
        };
        self.last = (start, at);
        Ok(at)
    }

    fn copy(&mut self, start: usize) -> Result<Option<usize>, TooMuch> {
        let at = self.copies.len();
        if at + self.size > BYTES_MAX {
            return Err(TooMuch);
        }
        self.copies.resize(at + self.size, 0);
        if memory::fill(start, &mut self.copies[at..]) {
            return Ok(Some(at));
        }
        self.copies.truncate(at);
        Ok(None)
    }

    /// The aligned word at `address`; `None`: it cannot be read.
    fn word(&mut self, address: usize) -> Result<Option<usize>, TooMuch> {
        let offset = address % self.size;
        let Some(page) = self.page(address - offset)? else { return Ok(None) };
        let bytes = self.copies[page + offset..].first_chunk();
        Ok(bytes.map(|bytes| usize::from_ne_bytes(*bytes)))
    }

    /// Shows each word of `range`, as far as that can be read, with its address.
    pub(super) fn each(
        &mut self,
        range: &Range<usize>,
        mut look: impl FnMut(usize, usize),
    ) -> Result<(), TooMuch> {
        let mut at = range.start.next_multiple_of(WORD);
        while at < range.end {
            let offset = at % self.size;
            let count = (self.size - offset).min(range.end - at);
            if let Some(page) = self.page(at - offset)? {
                let (words, _) = self.copies[page + offset..][..count].as_chunks::<WORD>();
                for (number, word) in words.iter().enumerate() {
                    look(at + number * WORD, usize::from_ne_bytes(*word));
                }
            }
            at += count;
        }
        Ok(())
    }

    /// What the block that `address` lies in has for its owner. `None`: it is in none that is in use.
    pub(super) fn block(&mut self, address: usize) -> Result<Option<Range<usize>>, TooMuch> {
        let nearest = address / HEADER * HEADER;
        for before in (0..=INSIDE).step_by(HEADER) {
            let Some(start) = nearest.checked_sub(before).filter(|it| *it > self.size) else {
                return Ok(None);
            };
            match self.block_at(start)? {
                Some(block) if block.contains(&address) => return Ok(Some(block)),
                _ => {}
            }
        }
        Ok(None)
    }

    /// The block whose owner has it from `start` on, by its header and the next one's.
    fn block_at(&mut self, start: usize) -> Result<Option<Range<usize>>, TooMuch> {
        let header = start - HEADER;
        let Some(word) = self.word(header + WORD)? else { return Ok(None) };
        let size = word & !FLAGS;
        if size < BLOCK_MIN || !size.is_multiple_of(HEADER) {
            return Ok(None);
        }
        let Some(next) = header.checked_add(size) else { return Ok(None) };
        if word & MAPPED != 0 {
            // A mapping of its own, in which it may lie behind a gap.
            let Some(gap) = self.word(header)? else { return Ok(None) };
            let whole = word & FLAGS == MAPPED && gap <= header;
            let is_mapping =
                whole && (header - gap).is_multiple_of(self.size) && next.is_multiple_of(self.size);
            return Ok(is_mapping.then_some(start..next));
        }
        let Some(after) = self.word(next.wrapping_add(WORD))? else { return Ok(None) };
        let in_use = after & (PREVIOUS_IN_USE | MAPPED) == PREVIOUS_IN_USE;
        let is_sound = after & !FLAGS >= HEADER && (after & !FLAGS).is_multiple_of(HEADER);
        // One that is free does not say whose it is.
        let same_arena = after & !word & OTHER_ARENA == 0;
        // Its last word is where the next one's header begins.
        Ok((in_use && is_sound && same_arena).then_some(start..next + WORD))
    }
}

/// Whether blocks are found in this process: another allocator may have taken the place of the C
/// library's.
pub(super) fn are_known() -> bool {
    [3 * WORD, 1000, 1 << 20].into_iter().all(|size| {
        // SAFETY: any size may be asked for.
        let at = black_box(unsafe { libc::malloc(size) });
        let found = Pages::new().block(at.addr() + WORD);
        // SAFETY: allocated above, and nobody else has it.
        unsafe { libc::free(at) };
        matches!(found, Ok(Some(block)) if block.start == at.addr() && block.len() >= size)
    })
}

#[cfg(test)]
mod tests {
    use std::{ffi::c_void, thread};

    use super::*;

    fn block(address: usize) -> Option<Range<usize>> {
        Pages::new().block(address).unwrap()
    }

    /// Units: bytes. Larger ones have mappings of their own, which begin with zeros.
    const LARGEST_WRITTEN: usize = 1 << 20;

    /// A block that nobody knows the library's optimiser to be done with.
    struct Allocated {
        at: *mut c_void,
        size: usize,
        align: usize,
    }

    impl Allocated {
        fn new(align: usize, size: usize) -> Self {
            let mut at = std::ptr::null_mut();
            // SAFETY: room for an address.
            let code = unsafe { libc::posix_memalign(&raw mut at, align, size) };
            assert_eq!(code, 0);
            if size <= LARGEST_WRITTEN {
                // As a library's: what another test has left there may look like a header.
                // SAFETY: a block of at least that many bytes, whose owner writes them.
                unsafe { at.cast::<u8>().write_bytes(0, libc::malloc_usable_size(at)) };
            }
            Self { at: black_box(at), size, align }
        }

        #[track_caller]
        fn assert_found(&self) {
            let Self { at, size, align } = *self;
            let most = size + align + 2 * rustix::param::page_size();
            for offset in [0, 1, WORD, size / 2, size - 1].map(|it| it.min(INSIDE)) {
                let found = block(at.addr() + offset).unwrap_or_default();
                assert_eq!(found.start, at.addr(), "{size} bytes, at {offset}");
                assert!((size..most).contains(&found.len()), "{size} bytes: {found:?}");
            }
        }
    }

    impl Drop for Allocated {
        fn drop(&mut self) {
            // SAFETY: allocated above.
            unsafe { libc::free(self.at) };
        }
    }

    /// Small and large, aligned and not, on this thread and on others, whose blocks come from elsewhere.
    #[test]
    fn blocks_are_found_with_their_sizes() {
        let look = || {
            let aligned = [(16, 24), (64, 100), (4096, 4096), (1 << 16, 1 << 20)];
            let plain = [24, 40, 100, 1000, 5000, 60_000, 200_000, 40 << 20].map(|size| (16, size));
            let all: Vec<_> = aligned
                .into_iter()
                .chain(plain)
                .map(|(to, size)| Allocated::new(to, size))
                .collect();
            all.iter().for_each(Allocated::assert_found);
        };
        look();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(look);
            }
        });
        assert!(are_known());
    }

    /// A small one is kept for the next who asks for one of its size, and looks as if it were in use:
    /// by its neighbours it is, and what it says of itself stays behind in blocks that are.
    #[test]
    fn freed_blocks_are_none() {
        for size in [5000, 200_000, 40 << 20] {
            let allocated = Allocated::new(16, size);
            let _behind = Allocated::new(16, size);
            let at = allocated.at.addr();
            assert!(block(at).is_some(), "{size}");
            drop(allocated);
            assert_eq!(block(at), None, "{size}");
        }
    }

    #[test]
    fn other_memory_is_none() {
        static DATA: [usize; 99] = [1 << 40; 99];
        let stack = black_box([7_usize; 99]);
        for at in [DATA[50..].as_ptr().addr(), stack[50..].as_ptr().addr(), 0, 1 << 20, 1 << 46] {
            assert_eq!(block(at), None, "{at:#x}");
        }
    }
}
