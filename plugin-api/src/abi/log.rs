//! One line of the log, with all that a plugin knows of it.

use super::Str;

/// Log levels of [`HostVt::log`](super::HostVt::log).
pub mod level {
    /// The operator must act.
    pub const ERROR: u32 = 1;
    /// Something went wrong and was recovered.
    pub const WARN: u32 = 2;
    /// Something asked for happened.
    pub const INFO: u32 = 3;
    /// For whoever debugs the plugin.
    pub const DEBUG: u32 = 4;
    /// Everything.
    pub const TRACE: u32 = 5;
}

/// All that is known of one line of the log. Growing.
#[repr(C)]
#[derive(Debug)]
pub struct LogRecord {
    /// Units: bytes of this struct in the plugin's build.
    pub size: u32,
    /// One of [`level`]'s.
    pub level: u32,
    /// The request that it belongs to, [`RequestHead::id`](super::RequestHead::id); 0: none.
    pub request: u64,
    /// The module.
    pub target: Str,
    /// The text.
    pub message: Str,
    /// `fields_count` fields.
    pub fields: *const Field,
    /// See `fields`.
    pub fields_count: usize,
    /// `spans_count` spans that it happened in, the outermost first.
    pub spans: *const LogSpan,
    /// See `spans`.
    pub spans_count: usize,
}

/// A span around a line of the log. Fixed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct LogSpan {
    /// Its name.
    pub name: Str,
    /// `fields_count` fields.
    pub fields: *const Field,
    /// See `fields`.
    pub fields_count: usize,
}

/// A named value of the log. Fixed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: Str,
    /// One of [`field`]'s.
    pub kind: u64,
    /// The bits of a number.
    pub bits: u64,
    /// With [`field::TEXT`].
    pub text: Str,
}

/// Kinds of [`Field`].
pub mod field {
    /// `text`.
    pub const TEXT: u64 = 0;
    /// `bits` of a signed number.
    pub const I64: u64 = 1;
    /// `bits` of a number without sign.
    pub const U64: u64 = 2;
    /// `bits` of a floating-point number.
    pub const F64: u64 = 3;
    /// `bits` is 0 or 1.
    pub const BOOL: u64 = 4;
}
