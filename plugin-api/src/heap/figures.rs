//! What was taken and given back, for the host to read.
//!
//! Counts bytes of blocks as they are served, not as they were asked for.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::shard;
use crate::abi::{
    heap::{CELLS, Cell, Figures},
    size_of_u32,
};

#[expect(clippy::cast_possible_truncation, reason = "a few")]
const CELLS_U32: u32 = CELLS as u32;

/// The library's own. Its address tells the host whose heap it is.
pub(super) static FIGURES: Figures = Figures {
    size: size_of_u32::<Figures>(),
    count: CELLS_U32,
    cells: [const { Cell { taken: AtomicU64::new(0), given: AtomicU64::new(0) } }; CELLS],
};

fn own() -> &'static Cell {
    &FIGURES.cells[shard::own() % CELLS]
}

/// Adds what a thread has taken and given back. Units: bytes.
pub(super) fn add(taken: u64, given: u64) {
    let own = own();
    for (total, bytes) in [(&own.taken, taken), (&own.given, given)] {
        // Nothing is told for nothing: others may be at the same one.
        if bytes > 0 {
            total.fetch_add(bytes, Relaxed);
        }
    }
}

/// What is taken and was not given back. Others may allocate meanwhile. Units: bytes.
#[must_use]
pub fn live_bytes() -> i64 {
    let cells = FIGURES.cells.iter();
    cells.map(|cell| cell.taken.load(Relaxed).wrapping_sub(cell.given.load(Relaxed)) as i64).sum()
}
