//! What code has left on a stack that it no longer uses.
//!
//! A value that is moved takes its padding along, and bytes that were never written: whatever the stack
//! held there before. Where a library makes a static of it, addresses of the one that ran on that stack
//! before it lie in its data, and the census cannot tell them from such as are kept. So the stack is
//! wiped before another library runs on it. `malloc`'s memory is zeroed for libraries for the same
//! reason (`hooks/zeroed`).

use std::hint::black_box;

/// How far down. Deeper than calls usually go, and a small part of a thread's stack. Units: bytes.
const DEPTH: usize = 64 << 10;

/// Wipes what lies below the caller on its stack: call it before another library than the one before
/// runs on this thread, no deeper than that will. Costs 1 to 2 us.
#[inline(never)]
pub fn wipe_stack() {
    let mut below = [0_u8; DEPTH];
    // Written, though nobody reads it.
    black_box(&mut below);
}
