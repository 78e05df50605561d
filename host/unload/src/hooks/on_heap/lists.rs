//! Lists of the C library's and the unwinder's that have a caller's own memory in them: tables to unwind
//! by, entries of hash tables, texts of severities.
//!
//! Source: libgcc, `unwind-dw2-fde.c`; hsearch(3); addseverity(3).

use std::{
    ffi::{c_char, c_int, c_void},
    ptr,
};

use super::{Place, forget, note, note_as_given};
use crate::hooks::real;

type Begin = *mut c_void;

/// Interposes a registration of tables to unwind by, and its end.
macro_rules! frames {
    ($($begins:ident($($more:ident),*), $ends:ident -> $answer:ty, $none:block;)+) => {$(
        /// Interposes the function of that name.
        ///
        /// # Safety
        /// As for the function of that name.
        #[unsafe(no_mangle)]
        pub(in crate::hooks) unsafe extern "C" fn $begins(begin: Begin $(, $more: *mut c_void)*) {
            let Some(real) = real::$begins() else { return };
            // SAFETY: the caller's arguments, unchanged.
            unsafe { real(begin $(, $more)*) };
            note(Place::Frames(begin.addr()), &[begin.cast_const() $(, $more.cast_const())*], false);
        }

        /// Interposes the function of that name.
        ///
        /// # Safety
        /// As for the function of that name.
        #[unsafe(no_mangle)]
        pub(in crate::hooks) unsafe extern "C" fn $ends(begin: Begin) -> $answer {
            let Some(real) = real::$ends() else { return $none };
            // SAFETY: the caller's argument, unchanged.
            let answer = unsafe { real(begin) };
            forget(|place| place == Place::Frames(begin.addr()));
            answer
        }
    )+};
}

frames! {
    __register_frame(), __deregister_frame -> (), {};
    __register_frame_info(object), __deregister_frame_info -> *mut c_void, { ptr::null_mut() };
}

/// An entry of a hash table: a key and what it stands for, passed by value. Source: `<search.h>`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(in crate::hooks) struct Entry {
    key: *mut c_char,
    data: *mut c_void,
}

/// Enter it where it is not there. Source: `<search.h>`, `ACTION`.
const ENTER: c_int = 1;

/// Interposes a search in the process's own table, which may enter what is not found.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(in crate::hooks) unsafe extern "C" fn hsearch(item: Entry, action: c_int) -> *mut Entry {
    let Some(real) = real::hsearch() else { return ptr::null_mut() };
    // SAFETY: the caller's arguments, unchanged.
    let found = unsafe { real(item, action) };
    if action == ENTER && !found.is_null() {
        // SAFETY: not null: the table's own entry.
        let Entry { key, data } = unsafe { found.read() };
        // Of what stands there already nothing is changed, whatever data was given.
        if key == item.key {
            note(Place::Entry(key.addr()), &[key.cast(), data], false);
        }
    }
    found
}

/// Interposes the end of the process's own table.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(in crate::hooks) unsafe extern "C" fn hdestroy() {
    let Some(real) = real::hdestroy() else { return };
    // SAFETY: nobody may be in the table, as the caller knows.
    unsafe { real() };
    forget(|place| matches!(place, Place::Entry(_)));
}

/// Interposes the naming of a severity, whose text is kept.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(in crate::hooks) unsafe extern "C" fn addseverity(level: c_int, text: *const c_char) -> c_int {
    let Some(real) = real::addseverity() else { return -1 };
    // Null takes it away.
    note_as_given(Place::Severity(level), &[text.cast()], false, || {
        // SAFETY: the caller's arguments, unchanged.
        unsafe { real(level, text) }
    })
}
