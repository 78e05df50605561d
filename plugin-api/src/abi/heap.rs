//! Where a library's heap comes from: chunks that the host lends and takes back with the library.
//!
//! Owns the symbol that a library looks for at its first allocation and the figures that it keeps
//! for the host. Knows nothing of how a heap is divided.
//!
//! # Versions
//! A host without the symbol lends nothing: the library asks the system itself. A library without
//! an arena never asks.

use std::{
    ffi::{CStr, c_void},
    sync::atomic::AtomicU64,
};

/// The executable's function of type [`HeapFn`].
pub const SYMBOL: &CStr = c"hotseat_heap_v1";

/// A range of exactly this size is aligned to it, every other one to a page. Units: bytes.
pub const CHUNK: usize = 1 << 20;

/// Lends, resizes and takes back one range of memory. `of` is the asking library's [`Figures`],
/// `size` a multiple of a page.
///
/// - `old` null: a new range of `size` bytes, zeroed. Null: there is none, or whoever asks is not
///   known to the host.
/// - `old` a range of this library: it is made `size` bytes long, and may move. Null: it could not,
///   and is as it was.
/// - `old` a range and `size` 0: it is taken back. Returns null.
///
/// # Ownership
/// What is not given back goes when the library is unmapped.
///
/// # Threads
/// From any thread, also under locks of the library: it calls nothing of a plugin.
pub type HeapFn =
    unsafe extern "C" fn(of: *const Figures, size: usize, old: *mut c_void) -> *mut c_void;

/// What a library has taken from its heap since it was loaded; read by the host at any time.
/// Growing.
///
/// A thread's destructor that is registered for these figures only gives blocks back that the thread
/// has at hand.
///
/// # Lifetime
/// A static of the library.
#[repr(C)]
#[derive(Debug)]
pub struct Figures {
    /// Units: bytes of this struct in the library's build.
    pub size: u32,
    /// How many of `cells` count: the sum of all of them is meant.
    pub count: u32,
    /// Each for some threads, so that they do not wait for each other.
    pub cells: [Cell; CELLS],
}

/// How many there are in this build.
pub const CELLS: usize = 16;

/// What some threads have taken and given back. Fixed.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Cell {
    /// Bytes taken since the library was loaded.
    pub taken: AtomicU64,
    /// Those of them that were given back.
    pub given: AtomicU64,
}
