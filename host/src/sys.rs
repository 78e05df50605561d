//! What the kernel offers and no safe crate wraps, one file a mechanism.
//!
//! Knows nothing of plugins or requests.

pub mod lease;
pub mod process;
pub mod readiness;
