//! Tells plugins that they are going, on threads that may hang in them.
//!
//! Owns one thread that is there from the start, because a new one may have to wait for the
//! loader, and behind it one thread a notice. Invariant: a thread that hangs holds its
//! generation, so nothing is unloaded beneath it, and the next notice goes out without it.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{RecvTimeoutError, sync_channel},
    },
    time::Duration,
};

use super::super::Loaded;
use crate::{ids::Generation, plugin::hooks};

/// How long a notice may take before the next one no longer waits for it.
const NOTICE_TIME: Duration = Duration::from_secs(1);

/// What is done on a thread of its own, and about whom it is.
type Notice = (Generation, Box<dyn FnOnce() + Send>);

#[derive(Default)]
struct Queue {
    /// At most two for each generation that is leaving.
    waiting: VecDeque<Notice>,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// The handle of the thread; it ends once this is dropped and nobody is being told.
pub(super) struct Notices {
    shared: Arc<Shared>,
}

impl Notices {
    pub(super) fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let thread = std::thread::Builder::new().name("notices".to_owned());
        thread.spawn(move || {
            while let Some(notice) = theirs.next() {
                tell(notice);
            }
        })?;
        Ok(Self { shared })
    }

    /// Has `loaded` told of `phase`, one of `abi::drain`'s constants. Never waits.
    pub(super) fn give(&self, loaded: Arc<Loaded>, phase: u32) {
        let about = loaded.version.generation;
        self.put(about, move || {
            let instance = loaded.instance();
            instance.drain_notice(phase);
            // No registry knows this thread, and it ends here.
            hooks::purge_thread(instance.library());
        });
    }

    fn put(&self, about: Generation, notice: impl FnOnce() + Send + 'static) {
        self.shared.queue().waiting.push_back((about, Box::new(notice)));
        self.shared.changed.notify_one();
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        self.shared.queue().ended = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next notice; `None` when the thread is to end.
    fn next(&self) -> Option<Notice> {
        let mut queue = self.queue();
        loop {
            if queue.ended {
                return None;
            }
            if let Some(next) = queue.waiting.pop_front() {
                return Some(next);
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn tell((generation, notice): Notice) {
    let (done, waited) = sync_channel::<()>(1);
    let thread = std::thread::Builder::new().name("notice".to_owned()).spawn(move || {
        notice();
        drop(done);
    });
    match thread {
        Err(error) => tracing::error!(%generation, %error, "no thread for a drain notice"),
        // Nothing is ever sent: the end of the sender is the news.
        Ok(_) if waited.recv_timeout(NOTICE_TIME) == Err(RecvTimeoutError::Timeout) => {
            tracing::warn!(
                %generation,
                "its drain notice has not returned: it stays loaded until that returns"
            );
        }
        Ok(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_hangs_delays_the_next_but_does_not_stop_it() {
        let notices = Notices::start().unwrap();
        let (release, held) = sync_channel::<()>(1);
        let (told, heard) = sync_channel(1);
        notices.put(Generation(1), move || assert!(held.recv().is_err()));
        notices.put(Generation(2), move || told.send(()).unwrap());
        heard.recv_timeout(NOTICE_TIME * 20).unwrap();
        drop(release);
    }
}
