//! Blocks of `malloc` begin with zeros for whoever is not the program itself.
//!
//! What a library keeps in blocks of memory is followed from one to the next
//! ([`census`](super::census)). In a block that was used before stand the words of its last owner, and
//! of a structure that is not filled whole they stay: they would lead from any library into the
//! memory of the program, which has the addresses of everything. The program's own calls go to the C
//! library after two comparisons; what is freed is freed by the C library.
//! Where blocks are another allocator's, everything goes on to that.
//!
//! A program calls these before its `main`: nothing here allocates or locks but what it stands for.

use std::{
    arch::naked_asm,
    ffi::{c_int, c_void},
    ptr,
    sync::atomic::{AtomicPtr, AtomicU8, Ordering::Relaxed},
};

use rustix::mm::{Advice, madvise};

use super::{
    object,
    real::{self, Malloc2},
};

/// Where the program's own calls go; null until the first call.
static MALLOC: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static REALLOC: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static ALIGNED_ALLOC: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static MEMALIGN: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static POSIX_MEMALIGN: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// A function whose calls from the program itself go on to `$real`, once that is there, and all
/// others to `$zeroed`.
macro_rules! stub {
    ($name:ident($($argument:ident: $type:ty),*) -> $out:ty, $real:ident, $zeroed:path) => {
        /// Interposes the function of that name.
        ///
        /// # Safety
        /// As for the function of that name.
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub(super) unsafe extern "C" fn $name($($argument: $type),*) -> $out {
            #[cfg(target_arch = "x86_64")]
            naked_asm!(
                ".hidden __ehdr_start",
                ".hidden _end",
                "endbr64",
                "mov rax, [rsp]",
                "lea rcx, [rip + __ehdr_start]",
                "cmp rax, rcx",
                "jb 2f",
                "lea rcx, [rip + _end]",
                "cmp rax, rcx",
                "jae 2f",
                "mov rax, [rip + {real}]",
                "test rax, rax",
                "je 2f",
                "jmp rax",
                "2:",
                "jmp {zeroed}",
                real = sym $real,
                zeroed = sym $zeroed
            );
            #[cfg(target_arch = "aarch64")]
            naked_asm!(
                ".hidden __ehdr_start",
                ".hidden _end",
                "hint #34",
                "adrp x9, __ehdr_start",
                "add x9, x9, :lo12:__ehdr_start",
                "cmp x30, x9",
                "b.lo 2f",
                "adrp x9, _end",
                "add x9, x9, :lo12:_end",
                "cmp x30, x9",
                "b.hs 2f",
                "adrp x9, {real}",
                "ldr x16, [x9, :lo12:{real}]",
                "cbz x16, 2f",
                "br x16",
                "2:",
                "b {zeroed}",
                real = sym $real,
                zeroed = sym $zeroed
            );
        }
    };
}

stub!(malloc(size: usize) -> *mut c_void, MALLOC, zeroed_malloc);
stub!(realloc(block: *mut c_void, size: usize) -> *mut c_void, REALLOC, zeroed_realloc);
stub!(aligned_alloc(align: usize, size: usize) -> *mut c_void, ALIGNED_ALLOC, zeroed_aligned_alloc);
stub!(memalign(align: usize, size: usize) -> *mut c_void, MEMALIGN, zeroed_memalign);
// Rust's own allocator takes from it what is aligned widely, such as each task of tokio.
stub!(
    posix_memalign(block: *mut *mut c_void, align: usize, size: usize) -> c_int,
    POSIX_MEMALIGN,
    zeroed_posix_memalign
);

/// Units: bytes from which on `calloc` is asked: it knows which pages are fresh. Smaller blocks it does
/// not take from those at hand for each thread, as `malloc` does; larger ones it writes whole.
const LARGE: usize = 64 << 10;

unsafe extern "C" fn zeroed_malloc(size: usize) -> *mut c_void {
    note(&MALLOC, real::malloc);
    if (LARGE..LARGEST_WRITTEN).contains(&size) {
        let Some(real) = real::calloc() else { return ptr::null_mut() };
        // SAFETY: any size may be asked for.
        return unsafe { real(1, size) };
    }
    let Some(real) = real::malloc() else { return ptr::null_mut() };
    // SAFETY: any size may be asked for.
    let block = unsafe { real(size) };
    // SAFETY: it has just been given.
    unsafe { clear(block, 0) }
    block
}

unsafe extern "C" fn zeroed_realloc(block: *mut c_void, size: usize) -> *mut c_void {
    note(&REALLOC, real::realloc);
    let Some(real) = real::realloc() else { return ptr::null_mut() };
    // SAFETY: the caller's own block, or null.
    let before = unsafe { usable(block) };
    // SAFETY: the caller's arguments, unchanged.
    let block = unsafe { real(block, size) };
    // SAFETY: it has just been given, and what it is larger by has no content yet.
    unsafe { clear(block, before) }
    block
}

unsafe extern "C" fn zeroed_aligned_alloc(align: usize, size: usize) -> *mut c_void {
    note(&ALIGNED_ALLOC, real::aligned_alloc);
    // SAFETY: the caller's arguments, unchanged.
    unsafe { aligned(real::aligned_alloc(), align, size) }
}

unsafe extern "C" fn zeroed_memalign(align: usize, size: usize) -> *mut c_void {
    note(&MEMALIGN, real::memalign);
    // SAFETY: the caller's arguments, unchanged.
    unsafe { aligned(real::memalign(), align, size) }
}

unsafe extern "C" fn zeroed_posix_memalign(
    block: *mut *mut c_void,
    align: usize,
    size: usize,
) -> c_int {
    note(&POSIX_MEMALIGN, real::posix_memalign);
    let Some(real) = real::posix_memalign() else { return libc::ENOMEM };
    // SAFETY: the caller's arguments, unchanged.
    let code = unsafe { real(block, align, size) };
    if code == 0 {
        // SAFETY: 0 means that a block was written there, which has just been given.
        unsafe { clear(*block, 0) }
    }
    code
}

/// # Safety
/// As for `real`.
unsafe fn aligned(real: Option<Malloc2>, align: usize, size: usize) -> *mut c_void {
    let Some(real) = real else { return ptr::null_mut() };
    // SAFETY: the caller's arguments, unchanged.
    let block = unsafe { real(align, size) };
    // SAFETY: it has just been given.
    unsafe { clear(block, 0) }
    block
}

fn note<T: Copy>(place: &AtomicPtr<c_void>, real: fn() -> Option<T>) {
    const { assert!(size_of::<Option<T>>() == size_of::<*mut c_void>()) }
    if place.load(Relaxed).is_null() {
        // SAFETY: a function, or null for none, as the assertion and whoever calls this say.
        place.store(unsafe { std::mem::transmute_copy(&real()) }, Relaxed);
    }
}

/// Writes zeros from byte `from` of a block on, or of none. One with a mapping of its own has them.
///
/// # Safety
/// `block` must be null or the caller's, and nobody may need what stands there.
unsafe fn clear(block: *mut c_void, from: usize) {
    // SAFETY: as the caller says.
    let size = unsafe { usable(block) };
    if from >= size {
        return;
    }
    // SAFETY: the C library has a word before each of its blocks, with the size and three flags. Source:
    // glibc, `malloc/malloc.c`.
    let header = unsafe { block.cast::<usize>().sub(1).read() };
    if header & MAPPED == 0 {
        // SAFETY: that many bytes are the block's owner's.
        unsafe { zero(block.cast::<u8>().add(from), size - from) };
    }
}

/// Units: bytes. A multiple of every size of a page.
const PAGES: usize = 64 << 10;

/// Units: bytes from which on pages go back to the system, which gives fresh ones when they are touched:
/// a large block is often not used whole.
const LARGEST_WRITTEN: usize = 256 << 10;

/// # Safety
/// `size` bytes from `start` on must be a part of a block, and nobody may need what stands there.
unsafe fn zero(start: *mut u8, size: usize) {
    if size >= LARGEST_WRITTEN {
        let before = start.align_offset(PAGES);
        let whole = (size - before) / PAGES * PAGES;
        // SAFETY: before the block's end, because it is larger than two of `PAGES`.
        let (pages, after) = unsafe { (start.add(before), start.add(before + whole)) };
        // SAFETY: whole pages of a block, whose memory is the process's own: they read as zeros then.
        if unsafe { madvise(pages.cast(), whole, Advice::LinuxDontNeed) }.is_ok() {
            // SAFETY: what is left of the block before and behind them.
            unsafe {
                start.write_bytes(0, before);
                after.write_bytes(0, size - before - whole);
            }
            return;
        }
        // Locked in memory, or larger pages.
    }
    // SAFETY: as the caller says.
    unsafe { start.write_bytes(0, size) };
}

/// Of a block's header: it has a mapping of its own.
const MAPPED: usize = 2;

/// Units: bytes of a block. 0: it is none, or another allocator's, whose blocks nobody follows.
///
/// # Safety
/// `block` must be null or the caller's.
unsafe fn usable(block: *mut c_void) -> usize {
    if block.is_null() || !is_glibcs() {
        return 0;
    }
    // SAFETY: a block, as the caller says, of the C library.
    unsafe { libc::malloc_usable_size(block) }
}

/// Whether blocks are the C library's: another allocator may have been preloaded, or a part of one.
fn is_glibcs() -> bool {
    const UNKNOWN: u8 = 0;
    const YES: u8 = 1;
    const NO: u8 = 2;
    static KNOWN: AtomicU8 = AtomicU8::new(UNKNOWN);
    let known = KNOWN.load(Relaxed);
    if known != UNKNOWN {
        return known == YES;
    }
    let object = |address: *const c_void| object::find(address).map(|it| it.id());
    let malloc = real::malloc().and_then(|it| object(it as *const c_void));
    let usable = object(real::malloc_usable_size());
    let libc = object(object::in_libc());
    let is = libc.is_some() && malloc == libc && usable == libc;
    KNOWN.store(if is { YES } else { NO }, Relaxed);
    is
}
