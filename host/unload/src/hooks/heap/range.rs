//! Ranges of memory from the kernel.

use std::ptr;

use rustix::mm::{MapFlags, MremapFlags, ProtFlags, mmap_anonymous, mremap, munmap};

/// A new range of zero bytes, aligned to `align`, a power of two. Null: there is none.
pub(super) fn map(size: usize, align: usize) -> *mut u8 {
    if align <= rustix::param::page_size() {
        return plain(size);
    }
    let Some(both) = size.checked_add(align) else { return ptr::null_mut() };
    let room = plain(both);
    if room.is_null() {
        return room;
    }
    let base = room.map_addr(|at| at.next_multiple_of(align));
    let before = base.addr() - room.addr();
    let after = align - before;
    if before > 0 {
        // SAFETY: the part of the new range that lies before the aligned one.
        unsafe { unmap(room, before) };
    }
    if after > 0 {
        // SAFETY: the part that lies behind it.
        unsafe { unmap(base.add(size), after) };
    }
    base
}

fn plain(size: usize) -> *mut u8 {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new range, wherever there is room.
    let base = unsafe { mmap_anonymous(ptr::null_mut(), size, access, MapFlags::PRIVATE) };
    base.map_or(ptr::null_mut(), <*mut _>::cast)
}

/// Gives a range back.
///
/// # Safety
/// The range is whole pages of [`map`]'s, and nobody uses it any more.
pub(super) unsafe fn unmap(base: *mut u8, size: usize) {
    // SAFETY: as the caller says. It fails only where that is not so.
    let _ = unsafe { munmap(base.cast(), size) };
}

/// Makes a range longer or shorter, wherever it lies then. Null: it could not be done.
///
/// # Safety
/// As for [`unmap`], of the bytes that go, and of all of them if it moves.
pub(super) unsafe fn remap(base: *mut u8, from: usize, to: usize) -> *mut u8 {
    // SAFETY: as the caller says.
    let base = unsafe { mremap(base.cast(), from, to, MremapFlags::MAYMOVE) };
    base.map_or(ptr::null_mut(), <*mut _>::cast)
}
