//! The name under which a plugin writes to the system's log.
//!
//! openlog(3) keeps the address it is given and uses it at each line of anybody, so the name is
//! copied first.

use std::ffi::{CStr, c_char, c_int};

use super::{real, texts};

/// Interposes the opening of the system's log.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn openlog(name: *const c_char, options: c_int, facility: c_int) {
    let Some(real) = real::openlog() else { return };
    let kept = if name.is_null() {
        name
    } else {
        // SAFETY: the caller gives a C string or null.
        texts::keep(unsafe { CStr::from_ptr(name) }).as_ptr()
    };
    // SAFETY: the caller's arguments, with a name that stays.
    unsafe { real(kept, options, facility) };
}
