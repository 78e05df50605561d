//! A library for `console`: counts whom it has greeted in a thread-local with a destructor, and has a
//! thread of its own, which glibc alone would never let go of.
#![expect(unsafe_code, reason = "has a C interface")]

use std::{
    cell::RefCell,
    slice,
    sync::{Mutex, OnceLock, PoisonError, mpsc},
    thread,
};

thread_local! {
    static GREETED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Asks the thread that writes greetings, which ends some time after its last question.
fn written(name: &str, number: usize) -> String {
    type Question = (String, usize, mpsc::Sender<String>);
    static WRITER: OnceLock<Mutex<Option<mpsc::Sender<Question>>>> = OnceLock::new();
    let writer = WRITER.get_or_init(Mutex::default);
    let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
    let (answer, answered) = mpsc::channel();
    let question = (name.to_owned(), number, answer);
    let unasked = match writer.as_ref() {
        Some(asks) => asks.send(question).err().map(|unsent| unsent.0),
        None => Some(question),
    };
    if let Some(question) = unasked {
        let (asks, asked) = mpsc::channel::<Question>();
        thread::spawn(move || {
            let patience = std::time::Duration::from_millis(50);
            while let Ok((name, number, answer)) = asked.recv_timeout(patience) {
                // Whoever asked waits.
                let _ = answer.send(format!("Hello, {name}! You are number {number}."));
            }
        });
        let _ = asks.send(question);
        *writer = Some(asks);
    }
    answered.recv().unwrap_or_default()
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
    let text = written(&name, number);
    let len = text.len().min(room);
    out[..len].copy_from_slice(&text.as_bytes()[..len]);
    len
}
