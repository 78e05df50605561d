//! The chunks, and the runs of pages that everything up to 256 KiB is made of.
//!
//! Invariants: a chunk is in the list of its bucket, by its longest free run; one chunk that is
//! free as a whole is kept, another one goes back at once.

use std::{cell::Cell, ptr};

use super::{
    cache,
    chunk::{BUCKETS, Chunk, Link, PAGE, Span, bucket_for, chunk_of, span_of},
    lock::{Held, Lock},
    source,
};
use crate::abi::heap::CHUNK;

pub(super) struct Pages {
    pub(super) lock: Lock,
    /// Chunks with a free page, by their bucket.
    lists: [Cell<Link<Chunk>>; BUCKETS],
    /// Chunks that are free as a whole.
    free: Cell<u32>,
}

// SAFETY: lists and chunks are touched under the lock alone.
unsafe impl Sync for Pages {}

pub(super) static PAGES: Pages =
    Pages { lock: Lock::new(), lists: [const { Cell::new(None) }; BUCKETS], free: Cell::new(0) };

impl Pages {
    /// A row of `count` pages, at most 32.
    pub(super) fn take(&self, count: u32) -> Link<Span> {
        let held = self.lock.hold();
        let lists = self.lists.iter().skip(bucket_for(count));
        let chunk = lists.filter_map(Cell::get).next().or_else(|| self.add())?;
        if chunk.is_free() {
            self.free.set(self.free.get().wrapping_sub(1));
        }
        let before = chunk.bucket();
        let span = chunk.take(count);
        self.relist(chunk, before);
        drop(held);
        span
    }

    fn add(&self) -> Link<Chunk> {
        let base = source::take(CHUNK);
        if base.is_null() {
            return None;
        }
        // SAFETY: fresh, of that size, aligned to it, and given back only when nothing of it is used.
        let chunk = unsafe { Chunk::begin(base) };
        self.free.set(self.free.get() + 1);
        self.enlist(chunk, chunk.bucket());
        Some(chunk)
    }

    /// Takes the pages of a span back.
    pub(super) fn give(&self, span: &'static Span) {
        let held = self.lock.hold();
        // SAFETY: the span lies in a chunk.
        let (chunk, base) = unsafe { chunk_of(span.base()) };
        let before = chunk.bucket();
        chunk.give(span);
        if !chunk.is_free() {
            self.relist(chunk, before);
        } else if self.free.get() == 0 {
            self.free.set(1);
            self.relist(chunk, before);
        } else {
            self.strike(chunk, before);
            give_back(held, base);
        }
    }

    fn relist(&self, chunk: &'static Chunk, before: usize) {
        let bucket = chunk.bucket();
        if bucket != before {
            self.strike(chunk, before);
            self.enlist(chunk, bucket);
        }
    }

    fn enlist(&self, chunk: &'static Chunk, bucket: usize) {
        // Without a free page it is found by its blocks only.
        let Some(list) = self.lists.get(bucket).filter(|_| bucket > 0) else { return };
        let next = list.replace(Some(chunk));
        chunk.prev.set(None);
        chunk.next.set(next);
        if let Some(next) = next {
            next.prev.set(Some(chunk));
        }
    }

    fn strike(&self, chunk: &'static Chunk, bucket: usize) {
        let Some(list) = self.lists.get(bucket).filter(|_| bucket > 0) else { return };
        let (prev, next) = (chunk.prev.take(), chunk.next.take());
        match prev {
            Some(prev) => prev.next.set(next),
            None => list.set(next),
        }
        if let Some(next) = next {
            next.prev.set(prev);
        }
    }
}

/// Nobody knows the chunk any more: others need not wait for its end.
fn give_back(held: Held<'_>, base: *mut u8) {
    drop(held);
    // SAFETY: a chunk, in no list, of which nothing is used.
    unsafe { source::give(base, CHUNK) };
}

/// A run of pages as one block; null: there is no memory.
pub(super) fn take_run(count: u32) -> *mut u8 {
    let Some(span) = PAGES.take(count) else { return ptr::null_mut() };
    cache::count(bytes(count), 0);
    span.base()
}

/// # Safety
/// [`take_run`] has handed it out, and nobody uses it any more.
pub(super) unsafe fn give_run(block: *mut u8) {
    // SAFETY: the start of a span.
    let span = unsafe { span_of(block) };
    cache::count(0, bytes(span.pages()));
    PAGES.give(span);
}

fn bytes(count: u32) -> u64 {
    u64::from(count) * PAGE as u64
}
