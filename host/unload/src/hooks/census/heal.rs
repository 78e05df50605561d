//! Places that a library may leave its address in without harm: they get copies that stay.
//!
//! Invariant: whatever is changed here is changed as the C library itself would, by its own functions
//! where there are any, since other threads go on using it.
#![expect(unsafe_code, reason = "the C library's variables and the environment")]

use std::{
    collections::BTreeMap,
    ffi::{CString, c_char, c_int, c_void},
    ptr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicPtr, Ordering},
    },
};

use super::{goes::Goes, scan::Hit};
use crate::hooks::{
    interpose::lookup,
    memory::{self, WORD},
    texts,
};

unsafe extern "C" {
    static mut environ: *mut *mut c_char;
    static mut program_invocation_name: *mut c_char;
    static mut program_invocation_short_name: *mut c_char;
    static mut optarg: *mut c_char;
    static mut stdout: *mut libc::FILE;
    static mut stderr: *mut libc::FILE;
    fn __flbf(stream: *mut libc::FILE) -> c_int;
}

/// Entries of an environment that are looked at.
const ENTRIES_MAX: usize = 1 << 16;
/// Units: bytes of a stream of the C library, at least its pointers. Source: glibc,
/// `bits/types/struct_FILE.h`.
const STREAM_BYTES: usize = 18 * WORD;
/// Units: bytes. As the C library's own are.
const BUFFER_BYTES: usize = 4096;

fn variable(place: *mut *mut c_char) -> &'static AtomicPtr<c_char> {
    // SAFETY: a variable of the C library, aligned and there for as long as the process; others read
    // and write it whole.
    unsafe { AtomicPtr::from_ptr(place) }
}

fn environment() -> &'static AtomicPtr<c_char> {
    variable((&raw mut environ).cast())
}

/// What the environment holds of what goes, for people.
pub(super) fn environment_holds(goes: &Goes) -> Option<String> {
    let array = environment().load(Ordering::Acquire).addr();
    if goes.holds(array) {
        return Some("the environment's array".to_owned());
    }
    let held = entries(array).find(|entry| goes.holds(*entry))?;
    let name = text_in(goes, held).unwrap_or_default();
    let name = name.to_string_lossy();
    Some(format!("the environment ({})", name.split('=').next().unwrap_or_default()))
}

fn entries(array: usize) -> impl Iterator<Item = usize> {
    memory::words_from(array).take(ENTRIES_MAX).take_while(|entry| *entry != 0)
}

/// A text that lies whole in what goes.
fn text_in(goes: &Goes, at: usize) -> Option<CString> {
    let rest = goes.find(at)?;
    let mut text = memory::text(at, rest.len())?;
    text.retain(|byte| *byte != 0);
    CString::new(text).ok()
}

/// Gives copies to whoever may have one, of `hits` and of the environment.
pub(super) fn heal(goes: &Goes, hits: &[Hit]) {
    heal_environment(goes);
    let is_held = |at: *const c_void| hits.iter().any(|hit| hit.address == at.addr());
    let texts = [
        (&raw mut program_invocation_name),
        (&raw mut program_invocation_short_name),
        (&raw mut optarg),
    ];
    for place in texts {
        let held = variable(place).load(Ordering::Acquire);
        if is_held(place.cast())
            && let Some(text) = text_in(goes, held.addr())
        {
            let kept = texts::keep(&text).as_ptr().cast_mut();
            exchange(variable(place), held, kept);
        }
    }
    // A function that error(3) calls in the place of printing the program's name; null is none.
    let place = lookup(c"error_print_progname").cast::<*mut c_char>();
    if !place.is_null() && is_held(place.cast()) {
        variable(place).store(ptr::null_mut(), Ordering::Release);
    }
    for stream in [&raw const stdout, &raw const stderr] {
        // SAFETY: a variable of the C library that is set at its start.
        heal_stream(unsafe { stream.read() }, hits);
    }
}

/// Changes what is still as it was seen.
fn exchange(place: &AtomicPtr<c_char>, held: *mut c_char, kept: *mut c_char) {
    // Else somebody has just set it to something newer.
    let _ = place.compare_exchange(held, kept, Ordering::AcqRel, Ordering::Acquire);
}

fn heal_environment(goes: &Goes) {
    let array = environment().load(Ordering::Acquire);
    if goes.holds(array.addr()) {
        let copied = entries(array.addr()).map(|entry| match text_in(goes, entry) {
            Some(text) => texts::keep(&text).as_ptr().cast_mut(),
            None => ptr::without_provenance_mut(entry),
        });
        let copied: Vec<*mut c_char> = copied.chain([ptr::null_mut()]).collect();
        exchange(environment(), array, copied.leak().as_mut_ptr().cast());
    }
    let array = environment().load(Ordering::Acquire);
    for entry in entries(array.addr()).filter(|entry| goes.holds(*entry)) {
        // Without a sign in it putenv(3) takes the variable away.
        let Some(text) = text_in(goes, entry).filter(|it| it.to_bytes().contains(&b'=')) else {
            continue;
        };
        let kept = texts::keep(&text).as_ptr().cast_mut();
        // Another thread may have set the variable meanwhile, or taken it away.
        let array = environment().load(Ordering::Acquire);
        if !entries(array.addr()).any(|it| it == entry) {
            continue;
        }
        // Under its own lock; and it keeps the address, which is why a library's is there at all.
        // SAFETY: a text that stays.
        unsafe { libc::putenv(kept) };
    }
}

/// Gives a stream whose buffer goes one that stays. What is in the old one is written first.
fn heal_stream(stream: *mut libc::FILE, hits: &[Hit]) {
    let range = stream.addr()..stream.addr() + STREAM_BYTES;
    if stream.is_null() || !hits.iter().any(|hit| range.contains(&hit.address)) {
        return;
    }
    // SAFETY: a stream that is always open.
    let by_line = unsafe { __flbf(stream) } != 0;
    let mode = if by_line { libc::_IOLBF } else { libc::_IOFBF };
    // SAFETY: memory that stays, of that many bytes.
    unsafe { libc::setvbuf(stream, buffer_of(stream), mode, BUFFER_BYTES) };
}

/// One buffer for each stream, however often it is needed.
fn buffer_of(stream: *mut libc::FILE) -> *mut c_char {
    static BUFFERS: Mutex<BTreeMap<usize, AtomicPtr<c_char>>> = Mutex::new(BTreeMap::new());
    let mut buffers = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner);
    let make = || AtomicPtr::new(vec![0_u8; BUFFER_BYTES].leak().as_mut_ptr().cast());
    buffers.entry(stream.addr()).or_insert_with(make).load(Ordering::Relaxed)
}
