//! A second stack for threads that plugins start, on which a signal handler can note that the first
//! one is used up.
//!
//! Threads of the host's standard library have one already; a plugin's copy of it makes none,
//! because only a program's own start does. Without one the kernel ends the process without a word.

use std::{cell::Cell, ffi::c_void, mem::MaybeUninit, ptr};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

thread_local! {
    // What `lend` has mapped for this thread. Plain data: no destructor.
    static LENT: Cell<*mut c_void> = const { Cell::new(ptr::null_mut()) };
}

/// On top of what the kernel itself puts onto it. Units: bytes.
const ROOM: usize = 16 << 10;

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
    // SAFETY: memory that stays until `take_back`, which takes the stack away first.
    if unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) } == 0 {
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
    let mut now = MaybeUninit::<libc::stack_t>::uninit();
    // SAFETY: only asks; `now` has room for the answer.
    if unsafe { libc::sigaltstack(ptr::null(), now.as_mut_ptr()) } != 0 {
        return;
    }
    // SAFETY: 0 means that the answer was written.
    let now = unsafe { now.assume_init() };
    if now.ss_sp == mapped {
        let none = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
        // SAFETY: takes away what `lend` has given.
        if unsafe { libc::sigaltstack(&raw const none, ptr::null_mut()) } != 0 {
            // This very thread runs on it.
            return;
        }
    }
    // SAFETY: mapped by `lend`, and no thread's second stack any more.
    let _ = unsafe { munmap(mapped, size()) };
}
