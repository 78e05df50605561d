//! Up to sixteen parts of the heap, so that threads seldom meet: each has spans of every class.
//!
//! There are two for each processor that the library may use: more would only hold more memory.
//! A thread begins with a shard that follows from its own address and takes the next one where that
//! is busy. Invariants: a span with a free block is in its shard's list of its class, any other in
//! none; the last span of a list is kept when all of it is free, others go back.

use std::{
    cell::Cell,
    mem::zeroed,
    ptr,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use super::{
    chunk::{Block, Link, Span, span_of},
    class,
    lock::{Held, Lock, here},
    pages::PAGES,
};

const SHARDS: usize = 16;
#[expect(clippy::cast_possible_truncation, reason = "a few")]
const SHARDS_U32: u32 = SHARDS as u32;

// A line of its own, and the one that is fetched beside it.
#[repr(align(128))]
pub(super) struct Shard {
    pub(super) lock: Lock,
    /// By class: spans with a free block.
    open: [Cell<Link<Span>>; class::COUNT],
}

// SAFETY: lists and spans are touched under the lock alone.
unsafe impl Sync for Shard {}

pub(super) static ALL: [Shard; SHARDS] =
    [const { Shard { lock: Lock::new(), open: [const { Cell::new(None) }; class::COUNT] } };
        SHARDS];

/// Blocks in a row: the first, and how many.
pub(super) struct Row {
    pub(super) first: *mut Block,
    pub(super) count: u32,
}

/// How many are used, a power of two; 0: nobody has counted.
static USED: AtomicU32 = AtomicU32::new(0);

fn used() -> u32 {
    match USED.load(Relaxed) {
        0 => count(),
        used => used,
    }
}

#[cold]
fn count() -> u32 {
    // SAFETY: zero is an empty set.
    let mut set = unsafe { zeroed::<libc::cpu_set_t>() };
    // SAFETY: of the calling thread, into a set of that size.
    let known = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) } == 0;
    let used = if known {
        // SAFETY: only counts.
        let processors = unsafe { libc::CPU_COUNT(&set) }.unsigned_abs();
        (2 * processors).next_power_of_two().clamp(2, SHARDS_U32)
    } else {
        SHARDS_U32
    };
    USED.store(used, Relaxed);
    used
}

/// Where the calling thread begins.
pub(super) fn own() -> usize {
    // A multiplication spreads addresses that differ by the size of a stack: 2^64 divided by the
    // golden ratio. Source: Knuth, TAOCP 3, 6.4.
    here().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (usize::BITS - used().trailing_zeros())
}

fn hold_any() -> (usize, &'static Shard, Held<'static>) {
    let (own, used) = (own(), used() as usize);
    for step in 0..used {
        let at = (own + step) % used % SHARDS;
        if let Some(held) = ALL[at].lock.try_hold() {
            return (at, &ALL[at], held);
        }
    }
    let own = own % SHARDS;
    (own, &ALL[own], ALL[own].lock.hold())
}

/// From one to `wanted` blocks of `class`; none: there is no memory.
pub(super) fn take(class: usize, wanted: u32) -> Row {
    let (at, shard, _held) = hold_any();
    let mut row = Row { first: ptr::null_mut(), count: 0 };
    let Some(list) = shard.open.get(class) else { return row };
    while row.count < wanted {
        let span = match list.get() {
            Some(span) => span,
            // Nobody needs more pages for blocks that only might be wanted.
            None if row.count > 0 => break,
            None => match PAGES.take(Span::pages_for(class)) {
                Some(span) => {
                    span.cut(class, at);
                    enlist(list, span);
                    span
                }
                None => break,
            },
        };
        let block = span.take();
        if block.is_null() {
            break;
        }
        // SAFETY: a block of at least a pointer's size, which is nobody's yet.
        unsafe { block.write(Block { next: row.first }) };
        row = Row { first: block, count: row.count + 1 };
        if span.is_full() {
            strike(list, span);
        }
    }
    row
}

/// Takes blocks back, of whichever spans they are.
///
/// # Safety
/// `first` begins a row of blocks, ending with null, that [`take`] has handed out; nobody uses them.
pub(super) unsafe fn give(mut first: *mut Block) {
    while !first.is_null() {
        // SAFETY: a block of a span.
        let at = unsafe { span_of(first.cast()) }.shard();
        let Some(shard) = ALL.get(at) else { return };
        // SAFETY: as the caller says.
        first = unsafe { shard.give_own(at, first) };
    }
}

impl Shard {
    /// Takes those of a row back that are this shard's; returns a row of the others.
    ///
    /// # Safety
    /// As for [`give`].
    unsafe fn give_own(&self, at: usize, mut first: *mut Block) -> *mut Block {
        let (mut others, mut free): (*mut Block, Link<Span>) = (ptr::null_mut(), None);
        let held = self.lock.hold();
        while !first.is_null() {
            let block = first;
            // SAFETY: a block of the row, which its next one follows.
            first = unsafe { (*block).next };
            // SAFETY: a block of a span.
            let span = unsafe { span_of(block.cast()) };
            if span.shard() != at {
                // SAFETY: nobody's, so this may be written.
                unsafe { (*block).next = others };
                others = block;
                continue;
            }
            let Some(list) = self.open.get(span.class()) else { continue };
            if span.is_full() {
                enlist(list, span);
            }
            // SAFETY: the span's own block, which nobody uses.
            unsafe { span.give(block) };
            if span.is_free() && (span.prev.get().is_some() || span.next.get().is_some()) {
                strike(list, span);
                span.next.set(free);
                free = Some(span);
            }
        }
        drop(held);
        while let Some(span) = free {
            free = span.next.take();
            PAGES.give(span);
        }
        others
    }
}

fn enlist(list: &Cell<Link<Span>>, span: &'static Span) {
    let next = list.replace(Some(span));
    span.prev.set(None);
    span.next.set(next);
    if let Some(next) = next {
        next.prev.set(Some(span));
    }
}

fn strike(list: &Cell<Link<Span>>, span: &'static Span) {
    let (prev, next) = (span.prev.take(), span.next.take());
    match prev {
        Some(prev) => prev.next.set(next),
        None => list.set(next),
    }
    if let Some(next) = next {
        next.prev.set(prev);
    }
}
