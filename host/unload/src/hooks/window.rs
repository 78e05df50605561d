//! Whose code another thread runs.
//!
//! Owns the way from outside to a thread's own note of the library that it runs. The thread pays
//! nothing for it: the note is there for unloading anyway. What a thread was last polled for would
//! name a request, and not the library whose destructor runs.

use std::{
    ptr::NonNull,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use super::{CURRENT, blame};

/// Looks into one thread, while that thread allows it.
#[derive(Debug, Default)]
pub struct Window(Mutex<Option<Note>>);

/// Where a thread notes the library that it runs.
#[derive(Debug)]
struct Note(NonNull<AtomicU32>);

// SAFETY: an atomic may be read from everywhere; `Window::open` sees to it that it is there.
unsafe impl Send for Note {}

impl Window {
    fn lock(&self) -> MutexGuard<'_, Option<Note>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work`, and lets others see meanwhile whose code the calling thread runs.
    pub fn open<T>(&self, work: impl FnOnce() -> T) -> T {
        /// Shuts the window also when `work` panics.
        struct Open<'a>(&'a Window);
        impl Drop for Open<'_> {
            fn drop(&mut self) {
                *self.0.lock() = None;
            }
        }
        let _open = Open(self);
        *self.lock() = Some(Note(CURRENT.with(|current| NonNull::from(current))));
        work()
    }

    /// The tag of the library whose code runs behind it. `None`: the host's own, or nobody has
    /// opened it.
    #[must_use]
    pub fn tag(&self) -> Option<u64> {
        let note = self.lock();
        // SAFETY: a note is here only while `open` is on the stack of its thread, which therefore
        // has not ended; the lock is held, so `open` does not return meanwhile.
        let library = note.as_ref().map(|note| unsafe { note.0.as_ref() }.load(Ordering::Relaxed));
        drop(note);
        let tag = blame::tag_of(library?);
        (tag != 0).then_some(tag)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};

    use super::*;
    use crate::hooks::{LibraryId, enter};

    #[test]
    fn what_a_thread_runs_is_seen_from_outside() {
        // Far from the numbers that real libraries get in this process.
        let library = LibraryId(3_100_000);
        blame::assign(library, 5);
        let (window, step) = (Arc::new(Window::default()), Arc::new(Barrier::new(2)));
        let (theirs, steps) = (window.clone(), step.clone());
        let thread = std::thread::spawn(move || {
            let _early = enter(library);
            steps.wait();
            steps.wait();
            theirs.open(|| {
                steps.wait();
                steps.wait();
            });
            steps.wait();
            steps.wait();
        });
        let mut seen = Vec::new();
        for _ in 0..3 {
            step.wait();
            seen.push(window.tag());
            step.wait();
        }
        thread.join().unwrap();
        assert_eq!(seen, [None, Some(5), None]);
    }

    #[test]
    fn a_panic_shuts_it() {
        let window = Window::default();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            window.open(|| panic!("on purpose"));
        }));
        assert!(panicked.is_err());
        assert!(window.lock().is_none());
    }
}
