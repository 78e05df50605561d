//! What the kernel offers and no safe crate wraps, one file a mechanism.
//!
//! Knows nothing of plugins or requests.

pub mod byte_lock;
pub mod clock;
pub mod disk;
pub mod fault;
pub mod filter;
pub mod inherited;
pub mod keep;
pub mod lease;
pub mod marks;
pub mod memory;
pub mod mount;
pub mod occupant;
pub mod passing;
pub mod path;
pub mod private;
pub mod process;
pub mod program;
pub mod readiness;
pub mod signals;
pub mod start;
pub mod upbringing;
