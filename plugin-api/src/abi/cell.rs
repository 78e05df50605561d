//! Cells: operations and answers of [`HostVt::cell`](super::HostVt::cell), and what crosses with them.

use abi_stable::StableAbi;

use super::Bytes;

/// Reads; `out` is the value.
pub const GET: u32 = 0;
/// Writes `value` if the version is `expected`; `out.version` is that of the value then.
pub const SET_IF: u32 = 1;
/// Removes the value if the version is `expected`.
pub const REMOVE_IF: u32 = 2;
/// As [`SET_IF`], whatever is there.
pub const SET: u32 = 3;
/// As [`REMOVE_IF`], whatever is there.
pub const REMOVE: u32 = 4;
/// Lists all keys, in order; in `out.bytes`, a line feed behind each.
pub const LIST: u32 = 5;

/// The answer: done; `out` is what the operation says.
pub const DONE: u32 = 0;
/// The answer: another version is there; `out` is the value as it is.
pub const CONFLICT: u32 = 1;
/// The answer: there is no room for it; `out.bytes` says of what.
pub const FULL: u32 = 2;
/// The answer: it cannot be done; `out.bytes` is the reason's text.
pub const FAILED: u32 = 3;
/// The answer: the value is longer than one may be; `out.bytes` says how long.
pub const TOO_LONG: u32 = 4;
/// The answer: the key is none; `out.bytes` says what one is.
pub const BAD_KEY: u32 = 5;

/// A value of the host's, as a plugin gets it.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct CellValue {
    /// Counts up with each change of any value of the plugin; 0: there is no value.
    pub version: u64,
    /// The value, or what the answer says; empty when there is none.
    pub bytes: Bytes,
}
