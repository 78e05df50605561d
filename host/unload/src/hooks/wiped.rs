//! What code has left on a stack that it no longer uses.
//!
//! A value that is moved takes its padding along, and bytes that were never written: whatever the stack
//! held there before. Where a library makes a static of it, addresses of the one that ran on that stack
//! before it lie in its data, and the census cannot tell them from such as are kept. So a stack is wiped
//! before a library runs there that has not run on this thread before, or after one that is on its way
//! out; and where a thread begins, because the C library gives it the stack of one that has ended.
//! `malloc`'s memory is zeroed for libraries for the same reason ([`super::zeroed`]).
//!
//! Two libraries that both serve on one thread may take along addresses of each other: what is wiped for
//! each change between them would be paid by every request, and each static takes so only once.

use std::{
    arch::asm,
    cell::Cell,
    mem::MaybeUninit,
    ptr,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use super::{LibraryId, blame::PLACES};

/// How far down: deeper than calls usually go. Units: bytes.
const DEPTH: usize = 64 << 10;
/// What the C library keeps of the stack of a thread that has ended (16 KiB), and a page. Units: bytes.
const CACHED: usize = 20 << 10;
/// So many times as much must be there. Units: none.
const ROOM: usize = 4;

thread_local! {
    // The library that ran here last, and the newest one that ever has; 0: none.
    static LAST: Cell<u32> = const { Cell::new(0) };
    static NEWEST: Cell<u32> = const { Cell::new(0) };
    // Where this thread's stack lies, once that was asked for.
    static STACK: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
}

/// The library on its way out, by the places of `blame`; 0: none.
static RETIRED: [AtomicU32; PLACES as usize] = [const { AtomicU32::new(0) }; PLACES as usize];

fn retired(library: u32) -> &'static AtomicU32 {
    &RETIRED[(library % PLACES) as usize]
}

/// Says that `library` is on its way out: what serves now is another one, and is not to take along what
/// this one leaves on the stacks where it still runs. Each change from it to another library costs 1 to
/// 2 us from here on.
pub fn retire(library: LibraryId) {
    retired(library.0).store(library.0, Relaxed);
}

/// `id` is about to run here: how much of the stack is to be [`clear`]ed before. Units: bytes.
#[inline]
pub(super) fn before(id: LibraryId, is_nested: bool) -> usize {
    if LAST.get() == id.0 { 0 } else { follow(id.0, is_nested) }
}

#[cold]
#[inline(never)]
fn follow(library: u32, is_nested: bool) -> usize {
    let last = LAST.replace(library);
    // Within another library's call the stack is that one's, and may be a small one that it has made.
    if is_nested {
        return 0;
    }
    let newest = NEWEST.get();
    let is_new = newest < library;
    if is_new {
        NEWEST.set(library);
    }
    // The program's first thread has a stack that was nobody's before.
    let is_clean = newest == 0 && is_first_thread();
    let is_left = last != 0 && retired(last).load(Relaxed) == last;
    if (is_new && !is_clean) || is_left { deep() } else { 0 }
}

/// How much is to be [`clear`]ed before another library than the last one runs here. Units: bytes.
pub(crate) fn deep() -> usize {
    match room() {
        room if room >= DEPTH * ROOM => DEPTH,
        room if room >= CACHED * ROOM => CACHED,
        _ => 0,
    }
}

/// How much is to be [`clear`]ed where a thread begins. Units: bytes.
pub(super) fn cached() -> usize {
    if room() >= CACHED * ROOM { CACHED } else { 0 }
}

/// Clears so much below the frame that this is inlined into, from where the functions that it calls next
/// have theirs. `size`: of [`before`], [`deep`] or [`cached`], and of this moment; units: bytes.
#[expect(clippy::inline_always, reason = "what a frame of its own would cover stays as it is")]
#[inline(always)]
pub(crate) fn clear(size: usize) {
    if size == 0 {
        return;
    }
    // SAFETY: there is room for four times as much below this frame, which nobody uses: what may be in a
    // red zone is safe from assembly that may push. A signal's frame may lie there while its handler
    // runs, and is not needed after it.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "mov rdi, rsp",
            "sub rdi, rcx",
            "shr rcx, 3",
            "rep stosq",
            inout("rcx") size => _,
            in("rax") 0,
            out("rdi") _,
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "mov {at}, sp",
            "sub {end}, {at}, {size}",
            "2: stp xzr, xzr, [{at}, #-16]!",
            "cmp {at}, {end}",
            "b.hi 2b",
            size = in(reg) size,
            at = out(reg) _,
            end = out(reg) _,
        );
    }
}

/// How much of this thread's stack lies below the caller. 0: not known, or it runs on another one. Units:
/// bytes.
fn room() -> usize {
    let local = 0_u8;
    let here = (&raw const local).addr();
    let (low, high) = STACK.get().unwrap_or_else(|| {
        let stack = find();
        STACK.set(Some(stack));
        stack
    });
    if (low..high).contains(&here) { here - low } else { 0 }
}

fn is_first_thread() -> bool {
    rustix::thread::gettid() == rustix::process::getpid()
}

/// Where this thread's own stack lies; empty if the C library cannot tell.
fn find() -> (usize, usize) {
    let mut attributes = MaybeUninit::uninit();
    // SAFETY: a running thread asks for its own attributes, which are written here.
    if unsafe { libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) } != 0 {
        return (0, 0);
    }
    let (mut low, mut size) = (ptr::null_mut(), 0);
    // SAFETY: they were filled in above, and are let go of once.
    unsafe {
        libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut low, &raw mut size);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
    }
    (low.addr(), low.addr() + size)
}
