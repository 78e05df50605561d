//! A thread for one piece of work that may hang.
//!
//! Whoever waits can stop waiting; the work's result then goes to `late` on the side thread, so
//! that nothing half done is left to nobody.

use std::{
    io,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::Duration,
};

/// Work on a thread of its own.
#[derive(Debug)]
pub(super) struct Side<T> {
    result: Receiver<T>,
}

/// How a wait ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoResult {
    /// Not yet.
    TimedOut,
    /// Never: the work panicked, which is a bug of the host.
    Died,
}

impl<T: Send + 'static> Side<T> {
    /// Starts `work`. When nobody waits any more, `late` gets its result.
    pub(super) fn start(
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
        late: impl FnOnce(T) + Send + 'static,
    ) -> io::Result<Self> {
        // No buffer: a result is either taken by the one who waits or comes back to this side.
        let (sender, result): (SyncSender<T>, _) = sync_channel(0);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            if let Err(unwanted) = sender.send(work()) {
                late(unwanted.0);
            }
        })?;
        Ok(Self { result })
    }

    /// Waits for the result.
    pub(super) fn wait(&self, time: Duration) -> Result<T, NoResult> {
        self.result.recv_timeout(time).map_err(|error| match error {
            RecvTimeoutError::Timeout => NoResult::TimedOut,
            RecvTimeoutError::Disconnected => NoResult::Died,
        })
    }
}
