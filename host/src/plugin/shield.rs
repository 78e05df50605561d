//! Keeps panics of the host's own code out of plugins.
//!
//! Owns the one crossing guard of the host's functions that plugins call. Knows nothing of what
//! they do. Invariant: nothing unwinds past [`shield`], neither the drop of a panic's payload nor
//! the telling of it: a panic in an `extern "C"` function would end the process.

use std::{
    any::Any,
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind},
};

use hotseat_unload::is_ending;

/// Runs `work`; `None` when it panicked.
///
/// Unwind safety is not asked for: what a panic leaves is the plugin's request, which the caller
/// answers with an error.
#[inline]
pub(super) fn shield<T>(work: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(value) => Some(value),
        Err(payload) => {
            tell(payload);
            None
        }
    }
}

#[cold]
fn tell(payload: Box<dyn Any + Send>) {
    let told = catch_unwind(AssertUnwindSafe(|| {
        drop(payload);
        // The panic hook has printed the text; the log's own thread-locals may be gone by now.
        if !is_ending() {
            tracing::error!("a function of the host panicked under a plugin");
        }
    }));
    if let Err(second) = told {
        // A payload whose drop panics is dropped no further: it could go on for ever.
        let _leaked = ManuallyDrop::new(second);
    }
}

#[cfg(test)]
mod tests;
