//! A library that is no plugin: nothing that a host looks for is in it.
#![expect(unsafe_code, reason = "exports a symbol of its own")]

/// Something to export.
#[unsafe(no_mangle)]
pub extern "C" fn nothing_of_interest() -> u32 {
    7
}
