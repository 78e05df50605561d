//! The second stack of a thread, on which a signal handler can note that the first one is used up.
//!
//! Threads of the host's standard library have one already; a plugin's copy of it makes none,
//! because only a program's own start does. Without one the kernel ends the process without a word.
//! So threads that plugins start are lent one. And a library may give a thread of the host another
//! one (runtimes of WebAssembly do) and unmap it in a thread-local's destructor: the kernel would go
//! on using it, so the thread's own comes back with the library's purge.

use std::{
    cell::Cell,
    ffi::{c_int, c_void},
    mem::MaybeUninit,
    ptr,
};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::{LibraryId, current, real, registry};

thread_local! {
    // The library whose stack this thread has (0: none's), and the one it had before.
    static SET_BY: Cell<u32> = const { Cell::new(0) };
    static BEFORE: Cell<libc::stack_t> = const {
        Cell::new(libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 })
    };
    // What `lend` has mapped for this thread. Plain data: no destructor.
    static LENT: Cell<*mut c_void> = const { Cell::new(ptr::null_mut()) };
}

/// On top of what the kernel itself puts onto it. Units: bytes.
const ROOM: usize = 16 << 10;

/// Interposes the choice of a second stack: whose it is, is noted.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn sigaltstack(
    new: *const libc::stack_t,
    before: *mut libc::stack_t,
) -> c_int {
    let Some(real) = real::sigaltstack() else { return -1 };
    let mut known = MaybeUninit::<libc::stack_t>::uninit();
    // SAFETY: the caller's stack, and room for the one before.
    let rc = unsafe { real(new, known.as_mut_ptr()) };
    if rc != 0 {
        return rc;
    }
    // SAFETY: 0 means that it was written.
    let known = unsafe { known.assume_init() };
    if !before.is_null() {
        // SAFETY: the caller's room for it.
        unsafe { before.write(known) };
    }
    if !new.is_null() {
        let library = current();
        if let Some(record) = library.and_then(registry::by_id) {
            record.note_stack();
        }
        if SET_BY.replace(library.map_or(0, |it| it.0)) == 0 {
            BEFORE.set(libc::stack_t { ss_flags: known.ss_flags & libc::SS_DISABLE, ..known });
        }
    }
    0
}

/// Gives this thread the stack back that it had before `library` gave it one.
pub(super) fn restore(library: LibraryId) {
    if SET_BY.get() == library.0 {
        restore_any();
    }
}

/// The same, whichever library has done so.
pub(super) fn restore_any() {
    if SET_BY.replace(0) == 0 {
        return;
    }
    let own = BEFORE.get();
    if let Some(real) = real::sigaltstack() {
        // SAFETY: it was this thread's, and whoever gave it takes it away only when it ends.
        unsafe { real(&raw const own, ptr::null_mut()) };
    }
}

fn size() -> usize {
    // SAFETY: only reads what the kernel has told; 0 when it has not.
    let least = usize::try_from(unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) });
    let page = rustix::param::page_size();
    (least.unwrap_or_default().max(libc::MINSIGSTKSZ) + ROOM).next_multiple_of(page)
}

/// Gives the calling thread a second stack, until its end. Without memory for it there is none.
pub(super) fn lend() {
    if !LENT.get().is_null() {
        return;
    }
    let size = size();
    let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: a new mapping where the kernel likes; nothing that is there is replaced.
    let Ok(mapped) = (unsafe { mmap_anonymous(ptr::null_mut(), size, access, flags) }) else {
        return;
    };
    let stack = libc::stack_t { ss_sp: mapped, ss_flags: 0, ss_size: size };
    // Not by the function above: it is the host's, also on a thread of a library.
    // SAFETY: memory that stays until `take_back`, which takes the stack away first.
    let given = real::sigaltstack().map(|real| unsafe { real(&raw const stack, ptr::null_mut()) });
    if given == Some(0) {
        LENT.set(mapped);
    } else {
        // SAFETY: mapped above, and nobody has it.
        let _ = unsafe { munmap(mapped, size) };
    }
}

/// Takes it away again; the thread runs nothing of a plugin any more.
pub(super) fn take_back() {
    let mapped = LENT.replace(ptr::null_mut());
    if mapped.is_null() {
        return;
    }
    let Some(real) = real::sigaltstack() else { return };
    let mut now = MaybeUninit::<libc::stack_t>::uninit();
    // SAFETY: only asks; `now` has room for the answer.
    if unsafe { real(ptr::null(), now.as_mut_ptr()) } != 0 {
        return;
    }
    // SAFETY: 0 means that the answer was written.
    let now = unsafe { now.assume_init() };
    if now.ss_sp == mapped {
        let none = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
        // SAFETY: takes away what `lend` has given.
        if unsafe { real(&raw const none, ptr::null_mut()) } != 0 {
            // This very thread runs on it.
            return;
        }
    }
    // SAFETY: mapped by `lend`, and no thread's second stack any more.
    let _ = unsafe { munmap(mapped, size()) };
}
