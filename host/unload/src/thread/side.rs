//! A thread for one piece of work that may hang.
//!
//! Whoever waits can stop waiting; the work's result then goes to `late` on the side thread, so
//! that nothing half done is left to nobody.

use std::{
    io,
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use crate::hooks::wiped;

/// A wait is taken in pieces, each of which counts no more than its length: the time in which the
/// whole process stood still (a debugger, a frozen container) was nobody's to use.
const PIECE_TIME: Duration = Duration::from_millis(100);

/// Work on a thread of its own.
#[derive(Debug)]
pub struct Side<T> {
    /// Locked only so that the handle can be shared: one waits at a time.
    result: Mutex<Receiver<T>>,
}

/// How a wait ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoResult {
    /// Not yet.
    TimedOut,
    /// Never: the work panicked, which is a bug of the host.
    Died,
}

impl<T: Send + 'static> Side<T> {
    /// Starts `work`. When nobody waits any more, `late` gets its result.
    ///
    /// # Errors
    /// The system's own, when the thread cannot be started.
    pub fn start(
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
        late: impl FnOnce(T) + Send + 'static,
    ) -> io::Result<Self> {
        // No buffer: a result is either taken by the one who waits or comes back to this side.
        let (sender, result): (SyncSender<T>, _) = sync_channel(0);
        // The first wait of a thread makes thread-locals, which waits for the loader: that must not
        // be when the work holds it.
        let _ = Receiver::recv_timeout(&result, Duration::ZERO);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            // The C library gives it the stack of a thread that has ended.
            wiped::clear(wiped::deep());
            if let Err(unwanted) = sender.send(work()) {
                late(unwanted.0);
            }
        })?;
        Ok(Self { result: Mutex::new(result) })
    }

    /// Waits for the result, for `time` in which this process runs.
    ///
    /// # Errors
    /// [`NoResult`]: why there is none.
    pub fn wait(&self, time: Duration) -> Result<T, NoResult> {
        let result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = time;
        loop {
            let piece = left.min(PIECE_TIME);
            match result.recv_timeout(piece) {
                Ok(found) => return Ok(found),
                Err(RecvTimeoutError::Disconnected) => return Err(NoResult::Died),
                Err(RecvTimeoutError::Timeout) if piece < left => left -= piece,
                Err(RecvTimeoutError::Timeout) => return Err(NoResult::TimedOut),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_result_is_taken_or_goes_to_the_one_for_late_ones() {
        let (tell, heard) = channel();
        let late = move |number: u32| tell.send(number).unwrap();
        let side = Side::start("test", || 7, late.clone()).unwrap();
        assert_eq!(side.wait(LONG), Ok(7));
        let (release, held) = channel::<()>();
        let work = move || {
            assert!(held.recv().is_err());
            8
        };
        let side = Side::start("test", work, late).unwrap();
        assert_eq!(side.wait(Duration::from_millis(1)), Err(NoResult::TimedOut));
        drop(side);
        drop(release);
        assert_eq!(heard.recv_timeout(LONG), Ok(8), "and only that one");
    }

    #[test]
    fn a_panic_is_told_from_a_wait() {
        let side = Side::start("test", || panic!("asked to"), |()| ()).unwrap();
        assert_eq!(side.wait(LONG), Err(NoResult::Died));
    }
}
