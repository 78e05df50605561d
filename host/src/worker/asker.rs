//! A thread for answers that may take a while: who is in flight, old history, a path that is named.
//!
//! Owns the thread, so that the control plane's own never waits for a data thread or a disk; there
//! is one for each of what may hang. It runs no code of a plugin. Made at the start, because a new
//! thread has to wait for a library that hangs in the loader.

use std::io;

use crate::{admin::Later, thread::Jobs};

/// Questions that may wait; more of them are not asked.
const JOBS_COUNT: usize = 32;

/// The handle of the thread, which ends when the last clone is dropped.
#[derive(Clone, Debug)]
pub(super) struct Asker(Jobs);

impl Asker {
    pub(super) fn start(name: &str) -> io::Result<Self> {
        Ok(Self(Jobs::start(name, JOBS_COUNT)?))
    }

    /// Has `question` answered over there. `None`: too many wait already.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce() -> T + Send + 'static,
    ) -> Later<Option<T>> {
        let answered = self.0.run(question);
        Box::pin(async move { answered?.await.ok() })
    }
}
