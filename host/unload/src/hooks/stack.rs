//! The second stack of a thread, on which a signal handler can note that the first one is used up.
//!
//! Threads of the host's standard library have one already; a plugin's copy of it makes none,
//! because only a program's own start does. Without one the kernel ends the process without a word.
//! So threads that plugins start are lent one. And a library may give a thread of the host another
//! one (runtimes of WebAssembly do) and unmap it in a thread-local's destructor: the kernel would go
//! on using it, so the thread's own comes back with the library's purge, and a thread that was not
//! purged keeps the library.

use std::{
    cell::Cell,
    ffi::{c_int, c_void},
    mem::MaybeUninit,
    ptr,
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::{LibraryId, blame::PLACES, current, ledger, real, registry};

thread_local! {
    // The library whose stack this thread has (0: none's), and the one it had before.
    static SET_BY: Cell<u32> = const { Cell::new(0) };
    static BEFORE: Cell<libc::stack_t> = const {
        Cell::new(libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 })
    };
    // The library whose stack the kernel would use; 0: none's.
    static COUNTED: Cell<u32> = const { Cell::new(0) };
    // What `lend` has mapped for this thread. Plain data: no destructor.
    static LENT: Cell<*mut c_void> = const { Cell::new(ptr::null_mut()) };
}

/// On top of what the kernel itself puts onto it. Units: bytes.
const ROOM: usize = 16 << 10;

/// How many threads have a stack of each library, by the places of `blame`.
static GIVEN: [AtomicU32; PLACES as usize] = [const { AtomicU32::new(0) }; PLACES as usize];

fn given(library: u32) -> &'static AtomicU32 {
    &GIVEN[(library % PLACES) as usize]
}

/// How many threads the kernel would have use a second stack that `library` has given them.
pub(super) fn threads_with(library: LibraryId) -> u32 {
    given(library.0).load(Ordering::SeqCst)
}

/// The stack of this thread is that library's from here on; 0: none's.
fn count(library: u32) {
    let before = COUNTED.replace(library);
    if before == library {
        return;
    }
    if library != 0 {
        given(library).fetch_add(1, Ordering::SeqCst);
    }
    if before != 0 {
        given(before).fetch_sub(1, Ordering::SeqCst);
    }
}

fn is_none(stack: &libc::stack_t) -> bool {
    stack.ss_flags & libc::SS_DISABLE != 0
}

fn is_same(one: &libc::stack_t, other: &libc::stack_t) -> bool {
    let either_is_none = is_none(one) || is_none(other);
    !either_is_none && (one.ss_sp, one.ss_size) == (other.ss_sp, other.ss_size)
}

/// Interposes the choice of a second stack: whose it is, is noted. A library sees its own, or the one
/// that the host has given, and never another library's, which may have gone when it puts that back.
/// Once it takes its own away, the host's is there again.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn sigaltstack(
    new: *const libc::stack_t,
    before: *mut libc::stack_t,
) -> c_int {
    let Some(real) = real::sigaltstack() else { return -1 };
    let (caller, set_by, own) = (current().map_or(0, |it| it.0), SET_BY.get(), BEFORE.get());
    // SAFETY: null, or the caller's whole stack.
    let wanted = unsafe { new.as_ref() }.copied();
    let gives_back = caller != 0
        && set_by != 0
        && wanted.is_some_and(|wanted| is_none(&wanted) || is_same(&wanted, &own));
    let mut known = MaybeUninit::<libc::stack_t>::uninit();
    let new = if gives_back { &raw const own } else { new };
    // SAFETY: a stack that the caller has, or the thread had, and room for the one before.
    let rc = unsafe { real(new, known.as_mut_ptr()) };
    if rc != 0 {
        return rc;
    }
    // SAFETY: 0 means that it was written.
    let known = unsafe { known.assume_init() };
    if !before.is_null() {
        let shown = if set_by != 0 && set_by != caller { own } else { known };
        // SAFETY: the caller's room for it.
        unsafe { before.write(shown) };
    }
    let Some(wanted) = wanted else { return 0 };
    if gives_back || caller == 0 {
        SET_BY.set(0);
        count(0);
        return 0;
    }
    if let Some(record) = registry::by_id(LibraryId(caller)) {
        record.note_stack();
    }
    // A thread that nobody purges gives it back at its end.
    ledger::arm();
    if SET_BY.replace(caller) == 0 {
        BEFORE.set(libc::stack_t { ss_flags: known.ss_flags & libc::SS_DISABLE, ..known });
    }
    count(if is_none(&wanted) { 0 } else { caller });
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
    if SET_BY.get() == 0 {
        return;
    }
    let own = BEFORE.get();
    let Some(real) = real::sigaltstack() else { return };
    // SAFETY: it was this thread's, and whoever gave it takes it away only when it ends.
    if unsafe { real(&raw const own, ptr::null_mut()) } == 0 {
        SET_BY.set(0);
        count(0);
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
