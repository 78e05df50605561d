//! The allocator of a library: an arena whose memory goes back when the library does.
//!
//! Owns every block that the library has on its heap, in chunks that the host lends
//! ([`abi::heap`](crate::abi::heap)) and frees once the library is unmapped: what is left in
//! statics, lazy tables and caches needs no destructor. Without a host, as in `cargo test`, the
//! chunks are the system's.
//!
//! # How it is divided
//! - up to 1 KiB: classes of blocks, some of each at hand for every thread (`cache`);
//! - up to 16 KiB: classes of blocks in up to 16 shards, of which a thread takes a free one
//!   (`shard`);
//! - up to 256 KiB: runs of pages (`pages`) of the chunks that the classes are cut from, too;
//! - above, or aligned to more than a page of those: ranges of their own (`large`).
//!
//! # Invariants
//! - Nothing here allocates, panics, or calls the library.
//! - Locks are taken in the order shard, pages or large ones; never two shards at once but by a
//!   fork (`fork`), which takes them all.
//! - Nothing that needs a destructor is in a thread-local: a thread's cache is plain data, and the
//!   destructor that empties it is the hooks' to run before the library goes.
#![expect(unsafe_code, reason = "an allocator")]

use std::{
    alloc::{GlobalAlloc, Layout},
    ptr,
};

mod cache;
mod chunk;
mod class;
mod figures;
mod fork;
mod large;
mod lock;
mod pages;
pub mod range;
mod shard;
mod source;

pub use figures::live_bytes;

#[cfg(test)]
mod tests;

/// The allocator that [`export_handler!`](crate::export_handler) installs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arena;

/// How a layout is served. A function of the layout alone, so that a block is given back to where
/// it was taken from.
enum Place {
    /// A block of a class.
    Block(usize),
    /// A run of so many pages.
    Run(u32),
    /// A range of its own.
    Large,
}

impl Place {
    #[inline]
    fn of(layout: Layout) -> Self {
        let (size, align) = (layout.size(), layout.align());
        // A block that is a multiple of its alignment lies well: spans begin at a page. No layout
        // is so large that rounding it up would overflow.
        let size = if align > class::STEP { (size + align - 1) & !(align - 1) } else { size };
        if align > chunk::PAGE || size > chunk::RUN_MAX {
            Self::Large
        } else if size <= class::SIZE_MAX {
            Self::Block(class::of(size))
        } else {
            #[expect(clippy::cast_possible_truncation, reason = "at most `RUN_MAX` / `PAGE`")]
            Self::Run(size.div_ceil(chunk::PAGE) as u32)
        }
    }

    /// Whether what is served for the other layout is as large.
    fn is_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Block(one), Self::Block(other)) => one == other,
            (Self::Run(one), Self::Run(other)) => one == other,
            (Self::Block(_) | Self::Run(_) | Self::Large, _) => false,
        }
    }
}

impl Arena {
    #[cold]
    #[inline(never)]
    fn take(layout: Layout) -> *mut u8 {
        match Place::of(layout) {
            Place::Block(class) if class < class::CACHED => cache::take(class),
            Place::Block(class) => cache::take_aside(class),
            Place::Run(count) => pages::take_run(count),
            Place::Large => large::take(layout).0,
        }
    }

    /// # Safety
    /// `block` was served for `layout` and is not used any more.
    #[cold]
    #[inline(never)]
    unsafe fn give(block: *mut u8, layout: Layout) {
        match Place::of(layout) {
            // SAFETY: of this class, as the layout says.
            Place::Block(class) if class < class::CACHED => unsafe { cache::give(class, block) },
            // SAFETY: as above.
            Place::Block(class) => unsafe { cache::give_aside(class, block) },
            // SAFETY: a run of so many pages.
            Place::Run(_) => unsafe { pages::give_run(block) },
            // SAFETY: a range for this layout.
            Place::Large => unsafe { large::give(block, layout) },
        }
    }
}

// SAFETY: each block is given to one owner at a time and is as large and as aligned as its layout
// asks (`class`, `chunk`, `large`); nothing here unwinds.
unsafe impl GlobalAlloc for Arena {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() <= class::CACHED_MAX && layout.align() <= class::STEP {
            return cache::take(class::of(layout.size()));
        }
        Self::take(layout)
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if layout.size() <= class::CACHED_MAX && layout.align() <= class::STEP {
            // SAFETY: `alloc` took it from this class.
            unsafe { cache::give(class::of(layout.size()), block) };
            return;
        }
        // SAFETY: the caller's promise.
        unsafe { Self::give(block, layout) };
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if matches!(Place::of(layout), Place::Large) {
            let (block, is_zero) = large::take(layout);
            if !block.is_null() && !is_zero {
                // SAFETY: of that size, and ours.
                unsafe { block.write_bytes(0, layout.size()) };
            }
            return block;
        }
        // SAFETY: the caller's promise.
        let block = unsafe { self.alloc(layout) };
        if !block.is_null() {
            // SAFETY: of that size, and ours.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller says that it is a layout.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        let (from, to) = (Place::of(layout), Place::of(wanted));
        if from.is_as(&to) {
            return block;
        }
        if matches!((from, to), (Place::Large, Place::Large)) {
            // SAFETY: a range for this layout, which the caller gives up if it moves.
            if let Some(resized) = unsafe { large::resize(block, layout, wanted) } {
                return resized;
            }
        }
        // SAFETY: a layout of more than no bytes, as the caller says.
        let moved = unsafe { self.alloc(wanted) };
        if !moved.is_null() {
            // SAFETY: both are at least so long; a new block overlaps no other.
            unsafe { ptr::copy_nonoverlapping(block, moved, layout.size().min(size)) };
            // SAFETY: the caller's block, which nobody uses any more.
            unsafe { self.dealloc(block, layout) };
        }
        moved
    }
}
