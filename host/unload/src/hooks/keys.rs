//! Keys of threads' values: which library made which, and that they go with it.
//!
//! A key belongs to its destructor's library, else to the library that holds the key variable,
//! else to nobody; never to the library that merely runs, or OpenSSL's keys would be deleted.

use std::{
    ffi::{CStr, c_int, c_void},
    sync::Arc,
};

use super::{
    current, needed,
    real::{self, Dtor},
    registry::{self, Key, Owner, Record},
};

/// C11's name for a failure. Source: `<threads.h>`.
pub(super) const THRD_ERROR: c_int = 2;

/// Interposes the creation of a key: a plugin's are noted, so that they can be deleted.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_key_create(
    key: *mut libc::pthread_key_t,
    dtor: Option<Dtor>,
) -> c_int {
    let Some(real) = real::key_create() else { return libc::EAGAIN };
    // SAFETY: the caller's arguments, unchanged.
    let rc = unsafe { real(key, dtor) };
    if rc == 0 {
        // SAFETY: the real function has just written it.
        unsafe { note(key, dtor) };
    }
    rc
}

/// Interposes C11's creation of a key, whose type is that of POSIX's.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tss_create(
    key: *mut libc::pthread_key_t,
    dtor: Option<Dtor>,
) -> c_int {
    let Some(real) = real::tss_create() else { return THRD_ERROR };
    // SAFETY: the caller's arguments, unchanged.
    let rc = unsafe { real(key, dtor) };
    if rc == 0 {
        // SAFETY: the real function has just written it.
        unsafe { note(key, dtor) };
    }
    rc
}

/// # Safety
/// `key` must hold a key that was made just now.
unsafe fn note(key: *const libc::pthread_key_t, dtor: Option<Dtor>) {
    if registry::is_empty() {
        return;
    }
    let owner = match dtor.map(|dtor| registry::owner(dtor as *const c_void)) {
        Some(Owner::Plugin(record)) => Some(record),
        Some(Owner::Host) => None,
        // `free` and the like: the C library's, for a plugin's own key.
        Some(Owner::Other(object)) => variable_owner(key).or_else(|| {
            if current().is_some() && !needed::is_permanent(object.id()) {
                // Its library may go with the plugin that needs it, and the key would stay. What cannot
                // go is not asked for: that would wait for the loader.
                pin(object.name());
            }
            None
        }),
        Some(Owner::Nobody) | None => variable_owner(key),
    };
    if let Some(record) = owner {
        // SAFETY: as the caller says.
        let key = unsafe { *key };
        record.note_key(Key { key, dtor });
    }
}

fn variable_owner(key: *const libc::pthread_key_t) -> Option<Arc<Record>> {
    match registry::owner(key.cast()) {
        Owner::Plugin(record) => Some(record),
        Owner::Host | Owner::Other(_) | Owner::Nobody => None,
    }
}

/// Makes a library that is no plugin stay loaded: a thread's end may still call into it.
fn pin(name: &CStr) {
    let flags = libc::RTLD_NOW | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
    // SAFETY: it is loaded (its code is being registered), so this only marks it; the loader's
    // lock is recursive, so a constructor may be the caller.
    unsafe { libc::dlopen(name.as_ptr(), flags) };
}

/// Interposes the deletion of a key.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_key_delete(key: libc::pthread_key_t) -> c_int {
    if forget(key) {
        return 0;
    }
    let Some(real) = real::key_delete() else { return libc::EINVAL };
    // SAFETY: the caller's argument, unchanged.
    unsafe { real(key) }
}

/// Interposes C11's deletion of a key.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn tss_delete(key: libc::pthread_key_t) {
    if forget(key) {
        return;
    }
    if let Some(real) = real::tss_delete() {
        // SAFETY: the caller's argument, unchanged.
        unsafe { real(key) };
    }
}

/// Takes a key off the books; whether the host has deleted it already, on behalf of the library
/// that is being closed: the number may be somebody else's by now.
fn forget(key: libc::pthread_key_t) -> bool {
    if registry::is_empty() {
        return false;
    }
    let running = current().and_then(registry::by_id);
    if running.is_some_and(|record| record.take_deleted(key)) {
        return true;
    }
    // Before the real deletion, after which the number may be somebody else's.
    for record in registry::all() {
        record.forget_key(key);
    }
    false
}

/// Deletes the keys of a library that is about to be closed. They stay on its list of deleted
/// ones, because its own static destructors may delete them once more.
pub(crate) fn delete_all(record: &Record) {
    for key in record.take_keys() {
        let Some(real) = real::key_delete() else { return };
        // SAFETY: the library made it and did not delete it, or it would not be in the list.
        unsafe { real(key.key) };
    }
}
