//! A library for `console`: counts whom it has greeted in a thread-local with a destructor, and starts
//! threads, which glibc alone would never let go of.
#![expect(unsafe_code, reason = "has a C interface")]

use std::{cell::RefCell, slice, sync::mpsc, thread, time::Duration};

thread_local! {
    static GREETED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// How long a thread stays when its work is done.
const STAYS: Duration = Duration::from_millis(20);

/// Has a greeting written by a thread, which ends some time later.
fn written(name: String, number: usize) -> String {
    let (says, said) = mpsc::channel();
    thread::spawn(move || {
        // Whoever asked waits.
        let _ = says.send(format!("Hello, {name}! You are number {number}."));
        thread::park_timeout(STAYS);
    });
    said.recv().unwrap_or_default()
}

/// See `console`.
///
/// # Safety
/// `name` has `len` bytes, `out` has `room`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn greet(name: *const u8, len: usize, out: *mut u8, room: usize) -> usize {
    // SAFETY: as the caller says.
    let (name, out) =
        unsafe { (slice::from_raw_parts(name, len), slice::from_raw_parts_mut(out, room)) };
    let name = String::from_utf8_lossy(name);
    let number = GREETED.with_borrow_mut(|greeted| {
        greeted.push(name.clone().into_owned());
        greeted.len()
    });
    let text = written(name.into_owned(), number);
    let len = text.len().min(room);
    out[..len].copy_from_slice(&text.as_bytes()[..len]);
    len
}
