//! Ranges of memory from the system, for a library without a host, and for the host.

use std::ptr;

use crate::abi::heap::CHUNK;

/// A new range of zero bytes; one of [`CHUNK`] bytes is aligned to itself. Null: there is none.
#[cfg(not(miri))]
#[must_use]
pub fn map(size: usize) -> *mut u8 {
    if size != CHUNK {
        return plain(size);
    }
    let room = plain(2 * CHUNK);
    if room.is_null() {
        return room;
    }
    let base = room.map_addr(|at| at.next_multiple_of(CHUNK));
    let before = base.addr() - room.addr();
    let after = CHUNK - before;
    if before > 0 {
        // SAFETY: the part of the new range that lies before the chunk.
        unsafe { unmap(room, before) };
    }
    if after > 0 {
        // SAFETY: the part that lies behind it.
        unsafe { unmap(base.add(CHUNK), after) };
    }
    base
}

#[cfg(not(miri))]
fn plain(size: usize) -> *mut u8 {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new range, wherever there is room.
    let base = unsafe { libc::mmap(ptr::null_mut(), size, access, kind, -1, 0) };
    if base == libc::MAP_FAILED { ptr::null_mut() } else { base.cast() }
}

/// Gives a range back.
///
/// # Safety
/// The range is whole pages of [`map`]'s, and nobody uses it any more.
#[cfg(not(miri))]
pub unsafe fn unmap(base: *mut u8, size: usize) {
    // SAFETY: as the caller says.
    unsafe { libc::munmap(base.cast(), size) };
}

/// Makes a range longer or shorter, wherever it lies then. Null: it could not be done.
///
/// # Safety
/// As for [`unmap`], of the bytes that go, and of all of them if it moves.
#[cfg(not(miri))]
#[must_use]
pub unsafe fn remap(base: *mut u8, from: usize, to: usize) -> *mut u8 {
    // SAFETY: as the caller says.
    let base = unsafe { libc::mremap(base.cast(), from, to, libc::MREMAP_MAYMOVE) };
    if base == libc::MAP_FAILED { ptr::null_mut() } else { base.cast() }
}

/// What stands for the system where there is none to ask.
#[cfg(miri)]
mod without_a_system {
    use std::{
        alloc::{GlobalAlloc as _, Layout, System},
        ptr,
    };

    use super::CHUNK;

    fn layout(size: usize) -> Layout {
        let align = if size == CHUNK { CHUNK } else { 4096 };
        Layout::from_size_align(size, align).expect("sizes of tests")
    }

    pub fn map(size: usize) -> *mut u8 {
        // SAFETY: never of no bytes.
        unsafe { System.alloc_zeroed(layout(size)) }
    }

    pub unsafe fn unmap(base: *mut u8, size: usize) {
        // SAFETY: `map` has made it.
        unsafe { System.dealloc(base, layout(size)) };
    }

    pub unsafe fn remap(_: *mut u8, _: usize, _: usize) -> *mut u8 {
        ptr::null_mut()
    }
}

#[cfg(miri)]
pub use without_a_system::{map, remap, unmap};
