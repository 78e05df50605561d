//! The blocks that a thread has at hand, so that most of them come and go without a lock.
//!
//! Owns a thread-local without a destructor of its own. What empties it is registered like one
//! (`__cxa_thread_atexit_impl`) when the thread first takes a block: a host that keeps books of
//! those runs it before the library goes, and glibc at the thread's end. From then on the thread
//! keeps nothing at hand.
//!
//! # Invariants
//! - At most `LIMIT_BYTES` of a class, or the blocks that `LIMIT_MIN` says, are at hand.
//! - Counted bytes wait here until a list is filled or emptied, or `TOLD_BYTES` are together.

use std::{
    cell::Cell,
    ffi::{c_int, c_void},
    ptr,
};

use super::{
    chunk::{Block, exposed},
    class, figures, fork, shard,
};

/// Units: bytes of one class.
const LIMIT_BYTES: u32 = 8 << 10;
const LIMIT_MIN: u32 = 8;
const LIMIT_MAX: u32 = 64;
/// See the module. Units: bytes.
const TOLD_BYTES: u64 = 64 << 10;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The thread has taken nothing yet.
    Fresh,
    /// Blocks may be at hand.
    Open,
    /// None are, and none will be.
    Over,
}

struct List {
    first: Cell<*mut Block>,
    count: Cell<u32>,
    /// How many there may be; 0 unless the cache is open.
    limit: Cell<u32>,
}

struct Cache {
    lists: [List; class::CACHED],
    stage: Cell<Stage>,
    taken: Cell<u64>,
    given: Cell<u64>,
}

thread_local! {
    static CACHE: Cache = const {
        Cache {
            lists: [const {
                List { first: Cell::new(ptr::null_mut()), count: Cell::new(0), limit: Cell::new(0) }
            }; class::CACHED],
            stage: Cell::new(Stage::Fresh),
            taken: Cell::new(0),
            given: Cell::new(0),
        }
    };
}

const fn limit(class: usize) -> u32 {
    let count = LIMIT_BYTES / class::size(class);
    if count < LIMIT_MIN {
        LIMIT_MIN
    } else if count > LIMIT_MAX {
        LIMIT_MAX
    } else {
        count
    }
}

/// An address that no other live thread has.
#[inline]
pub(super) fn address() -> usize {
    CACHE.with(|cache| ptr::from_ref(cache).addr())
}

/// A block of one of the first [`class::CACHED`] classes; null: there is no memory.
#[inline]
pub(super) fn take(class: usize) -> *mut u8 {
    CACHE.with(|cache| {
        // Always in its bounds, which the compiler cannot see.
        let list = &cache.lists[class % class::CACHED];
        let first = list.first.get();
        if first.is_null() {
            return cache.fill(class);
        }
        // SAFETY: a block at hand, which `give` or the shard has written.
        list.first.set(unsafe { (*first).next });
        list.count.set(list.count.get() - 1);
        cache.took(class);
        first.cast()
    })
}

/// Takes a block back.
///
/// # Safety
/// [`take`] has handed it out for the same class, and nobody uses it any more.
#[inline]
pub(super) unsafe fn give(class: usize, block: *mut u8) {
    let block = exposed(block.addr()).cast::<Block>();
    CACHE.with(|cache| {
        let list = &cache.lists[class % class::CACHED];
        if list.count.get() >= list.limit.get() {
            // SAFETY: as the caller says.
            return unsafe { cache.make_room(class, block) };
        }
        // SAFETY: ours again, and at least as large as a pointer.
        unsafe { block.write(Block { next: list.first.get() }) };
        list.first.set(block);
        list.count.set(list.count.get() + 1);
        cache.given.set(cache.given.get() + u64::from(class::size(class)));
    });
}

/// Counts what was taken and given back past the blocks at hand. Units: bytes.
pub(super) fn count(taken: u64, given: u64) {
    CACHE.with(|cache| {
        let taken = cache.taken.get() + taken;
        let given = cache.given.get() + given;
        cache.taken.set(taken);
        cache.given.set(given);
        // Nobody tells it at the end of a thread whose cache is not open.
        if taken.max(given) >= TOLD_BYTES || cache.stage.get() != Stage::Open {
            cache.tell();
        }
    });
}

/// A block of a class that is not kept at hand.
pub(super) fn take_aside(class: usize) -> *mut u8 {
    let block = shard::take(class, 1).first;
    if !block.is_null() {
        count(class::size(class).into(), 0);
    }
    block.cast()
}

/// Takes a block back that is not kept at hand.
///
/// # Safety
/// As for [`give`].
pub(super) unsafe fn give_aside(class: usize, block: *mut u8) {
    count(0, class::size(class).into());
    let block = exposed(block.addr()).cast::<Block>();
    // SAFETY: ours again, and at least as large as a pointer.
    unsafe { block.write(Block { next: ptr::null_mut() }) };
    // SAFETY: a row of one block of a shard.
    unsafe { shard::give(block) };
}

impl Cache {
    #[inline]
    fn took(&self, class: usize) {
        let taken = self.taken.get() + u64::from(class::size(class));
        self.taken.set(taken);
        if taken >= TOLD_BYTES {
            self.tell();
        }
    }

    #[cold]
    #[inline(never)]
    fn tell(&self) {
        figures::add(self.taken.take(), self.given.take());
    }

    /// Fills the list of a class by half, and takes a block of them.
    #[cold]
    #[inline(never)]
    fn fill(&self, class: usize) -> *mut u8 {
        if self.stage.get() == Stage::Fresh {
            // Before whoever registers the destructor: by then the host knows whose it is.
            let block = take_aside(class);
            self.is_open();
            return block;
        }
        if !self.is_open() {
            return take_aside(class);
        }
        let row = shard::take(class, limit(class) / 2);
        if row.first.is_null() {
            return ptr::null_mut();
        }
        let list = &self.lists[class % class::CACHED];
        // SAFETY: the row's first block, which its next one follows.
        list.first.set(unsafe { (*row.first).next });
        list.count.set(row.count - 1);
        self.took(class);
        self.tell();
        row.first.cast()
    }

    /// Takes a block back where as many are at hand as may be.
    ///
    /// # Safety
    /// As for [`give`].
    #[cold]
    #[inline(never)]
    unsafe fn make_room(&self, class: usize, block: *mut Block) {
        if !self.is_open() {
            // SAFETY: as the caller says.
            return unsafe { give_aside(class, block.cast()) };
        }
        let list = &self.lists[class % class::CACHED];
        if list.count.get() >= list.limit.get() {
            self.thin_out(list, limit(class) / 2);
            self.tell();
        }
        // SAFETY: ours again, and at least as large as a pointer.
        unsafe { block.write(Block { next: list.first.get() }) };
        list.first.set(block);
        list.count.set(list.count.get() + 1);
        self.given.set(self.given.get() + u64::from(class::size(class)));
    }

    /// Gives all but the `left` last ones of a list back: those are still in the processor's caches.
    #[expect(clippy::unused_self, reason = "the list is the cache's")]
    fn thin_out(&self, list: &List, left: u32) {
        let (mut last, mut kept) = (ptr::null_mut::<Block>(), 0);
        let mut rest = list.first.get();
        while kept < left && !rest.is_null() {
            last = rest;
            // SAFETY: a block at hand.
            rest = unsafe { (*rest).next };
            kept += 1;
        }
        if last.is_null() {
            list.first.set(ptr::null_mut());
        } else {
            // SAFETY: as above.
            unsafe { (*last).next = ptr::null_mut() };
        }
        list.count.set(kept);
        // SAFETY: a row of blocks of shards that nobody uses.
        unsafe { shard::give(rest) };
    }

    /// Opens a fresh cache, if somebody will empty it.
    fn is_open(&self) -> bool {
        match self.stage.get() {
            Stage::Open => true,
            Stage::Over => false,
            Stage::Fresh => {
                // A child of a fork has one thread, and a table of destructors that another one may
                // have locked.
                if fork::is_child() {
                    return false;
                }
                // Whoever registers it may take blocks itself.
                self.stage.set(Stage::Over);
                if !register() {
                    return false;
                }
                for (class, list) in self.lists.iter().enumerate() {
                    list.limit.set(limit(class));
                }
                self.stage.set(Stage::Open);
                true
            }
        }
    }
}

unsafe extern "C" {
    // Of this library: from the compiler's crtbeginS.o.
    static __dso_handle: c_void;

    fn __cxa_thread_atexit_impl(
        dtor: unsafe extern "C" fn(*mut c_void),
        object: *mut c_void,
        dso: *const c_void,
    ) -> c_int;
}

fn register() -> bool {
    if cfg!(miri) {
        // It runs no destructors but Rust's own: what is at hand at a thread's end is lost there.
        return true;
    }
    // What tells this destructor from the library's own.
    let object = (&raw const figures::FIGURES).cast_mut().cast();
    // SAFETY: the function takes any object, and lives in the library that the handle names.
    unsafe { __cxa_thread_atexit_impl(empty, object, &raw const __dso_handle) == 0 }
}

/// Gives everything back that the calling thread has at hand, for good.
unsafe extern "C" fn empty(_: *mut c_void) {
    CACHE.with(|cache| {
        cache.stage.set(Stage::Over);
        for list in &cache.lists {
            list.limit.set(0);
            cache.thin_out(list, 0);
        }
        cache.tell();
    });
}

#[cfg(test)]
pub(super) fn at_hand() -> u32 {
    CACHE.with(|cache| cache.lists.iter().map(|list| list.count.get()).sum())
}
