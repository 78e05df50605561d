//! Tells plugins that they are going, on threads that may hang in them.
//!
//! Owns one thread that is there from the start, because a new one may have to wait for the
//! loader, and behind it one thread a notice. Invariant: a thread that hangs holds its
//! generation, so nothing is unloaded beneath it, and the next notice goes out without it.

use std::{collections::VecDeque, io, ops::ControlFlow, sync::Arc, time::Duration};

use hotseat_unload::purge_thread;

use super::super::Loaded;
use crate::{
    ids::Generation,
    thread::{Inbox, NoResult, Side},
};

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

/// The handle of the thread; it ends once this is dropped and nobody is being told.
pub(super) struct Notices(Arc<Inbox<Queue>>);

impl Notices {
    pub(super) fn start() -> io::Result<Self> {
        let inbox = Arc::new(Inbox::default());
        let theirs = inbox.clone();
        let thread = std::thread::Builder::new().name("notices".to_owned());
        thread.spawn(move || {
            while let Some(notice) = next(&theirs) {
                tell(notice);
            }
        })?;
        Ok(Self(inbox))
    }

    /// Has `loaded` told of `phase`, one of `abi::drain`'s constants. Never waits.
    pub(super) fn give(&self, loaded: Arc<Loaded>, phase: u32) {
        let about = loaded.version.generation;
        self.put(about, move || {
            let instance = loaded.instance();
            instance.drain_notice(phase);
            // No registry knows this thread, and it ends here.
            purge_thread(instance.library());
        });
    }

    fn put(&self, about: Generation, notice: impl FnOnce() + Send + 'static) {
        self.0.tell(|queue| queue.waiting.push_back((about, Box::new(notice))));
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        self.0.tell(|queue| queue.ended = true);
    }
}

/// The next notice; `None` when the thread is to end.
fn next(inbox: &Inbox<Queue>) -> Option<Notice> {
    inbox.wait(|queue| match queue.waiting.pop_front() {
        _ if queue.ended => ControlFlow::Break(None),
        None => ControlFlow::Continue(None),
        next => ControlFlow::Break(next),
    })
}

fn tell((generation, notice): Notice) {
    match Side::start("notice", notice, drop) {
        Err(error) => {
            tracing::error!(generation = generation.0, %error, "no thread for a drain notice")
        }
        Ok(side) if side.wait(NOTICE_TIME) == Err(NoResult::TimedOut) => {
            tracing::warn!(
                generation = generation.0,
                "its drain notice has not returned: it stays loaded until that returns"
            );
        }
        Ok(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

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
