//! Where the arenas of plugins get their chunks: the function that they find in the executable.
//!
//! Owns the name and the layout by which a library of this ABI asks and says what it has
//! (`hotseat_plugin_api::abi::heap`); the books are [`hotseat_unload::heap`]'s.
#![expect(unsafe_code, reason = "called by arenas of libraries, and reads their figures")]

use std::{
    ffi::c_void,
    mem::offset_of,
    ptr,
    sync::atomic::{AtomicU64, Ordering},
};

use hotseat_plugin_api::abi::heap::{CELLS, CHUNK, Cell, Figures, SYMBOL};
use hotseat_unload::heap::{Flow, Want, request};

/// Lends, resizes and takes back, as [`HeapFn`](hotseat_plugin_api::abi::heap::HeapFn) says.
///
/// # Safety
/// `of` lies in the library that calls, and describes it; `old` is null, or a range of it whose bytes
/// that go nobody uses any more.
#[unsafe(no_mangle)]
unsafe extern "C" fn hotseat_heap_v1(
    of: *const Figures,
    size: usize,
    old: *mut c_void,
) -> *mut c_void {
    let align = if size == CHUNK { CHUNK } else { 1 };
    // SAFETY: as the caller says; figures can be read as long as their library is mapped.
    unsafe { request(of.cast(), read, Want { size, align, old }) }
}

/// # Safety
/// `of` are the figures of a library that is mapped.
unsafe fn read(of: *const c_void) -> Flow {
    let figures = of.cast::<Figures>();
    // SAFETY: as the caller says. Its size and count are of every version, and never change.
    let (bytes, count) = unsafe { ((&raw const (*figures).size).read(), (*figures).count) };
    // SAFETY: only an address.
    let cells = unsafe { &raw const (*figures).cells }.cast::<Cell>();
    let room = (bytes as usize).saturating_sub(offset_of!(Figures, cells)) / size_of::<Cell>();
    let (mut taken, mut given) = (0_u64, 0_u64);
    // Another build's may have more, which are counted too.
    for at in 0..room.min(count as usize).min(4 * CELLS) {
        let read = |of: *const AtomicU64| {
            // SAFETY: as many are there as the library says, atomics all of them.
            unsafe { &*of }.load(Ordering::Relaxed)
        };
        // SAFETY: only addresses, within the figures.
        let (of_taken, of_given) = unsafe {
            let cell = cells.add(at);
            (&raw const (*cell).taken, &raw const (*cell).given)
        };
        given = given.wrapping_add(read(of_given));
        taken = taken.wrapping_add(read(of_taken));
    }
    Flow { taken, given }
}

/// Checks that libraries find this executable's function, and no other.
///
/// # Errors
/// They do not: their arenas would ask the system, and what they take would never come back.
pub fn self_test() -> Result<(), String> {
    // SAFETY: the name is a C string.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, SYMBOL.as_ptr()) };
    if ptr::eq(found.cast_const(), hotseat_heap_v1 as *const c_void) {
        return Ok(());
    }
    let name = SYMBOL.to_string_lossy();
    Err(format!("plugins do not find the host's `{name}`: the executable does not export it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_find_it() {
        assert_eq!(self_test(), Ok(()));
    }

    #[test]
    fn all_cells_that_are_there_are_added_up() {
        let cell =
            |taken, given| Cell { taken: AtomicU64::new(taken), given: AtomicU64::new(given) };
        let cells = [const { Cell { taken: AtomicU64::new(0), given: AtomicU64::new(0) } }; CELLS];
        let size = u32::try_from(size_of::<Figures>()).unwrap();
        let mut figures = Figures { size, count: 3, cells };
        figures.cells[0] = cell(5, 1);
        figures.cells[2] = cell(7, 2);
        figures.cells[3] = cell(100, 100);
        // SAFETY: whole figures.
        let flow = unsafe { read((&raw const figures).cast()) };
        assert_eq!(flow, Flow { taken: 12, given: 3 }, "three of them count");
        figures.size = u32::try_from(offset_of!(Figures, cells) + size_of::<Cell>()).unwrap();
        // SAFETY: figures of a build that has one cell.
        let flow = unsafe { read((&raw const figures).cast()) };
        assert_eq!(flow, Flow { taken: 5, given: 1 }, "one is there");
    }
}
