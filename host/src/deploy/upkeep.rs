//! Looks after the state folder while nobody orders anything.
//!
//! Owns one thread, which asks [`Record::look`] at a calm pace. Knows nothing of what is wrong.

use std::{
    io,
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use super::record::Record;
use crate::{artifact::Store, thread::Inbox};

/// The thread. Dropping it ends it, without waiting: it may hang in a file system that does not
/// answer.
#[derive(Debug)]
pub struct Upkeep {
    /// Whether it is to end.
    ending: Arc<Inbox<bool>>,
}

impl Upkeep {
    /// Looks now, and every `pace` from now on.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(record: &Arc<Record>, store: &Arc<Store>, pace: Duration) -> io::Result<Self> {
        let ending = Arc::new(Inbox::default());
        let theirs = Arc::clone(&ending);
        // What it looks at goes with the worker, not with this thread.
        let (record, store) = (Arc::downgrade(record), Arc::downgrade(store));
        std::thread::Builder::new().name("hotseat-state".to_owned()).spawn(move || {
            // At once, too: the worker before may have ended before it could.
            while let (Some(record), Some(store)) = (record.upgrade(), store.upgrade()) {
                // What it finds is said, and known, there.
                let _ = record.look(&store);
                drop((record, store));
                if !go_on(&theirs, pace) {
                    break;
                }
            }
        })?;
        Ok(Self { ending })
    }
}

/// Waits for the next look. False: it is the end.
fn go_on(ending: &Inbox<bool>, pace: Duration) -> bool {
    let due = Instant::now() + pace;
    ending.wait(|ending| {
        if *ending {
            ControlFlow::Break(false)
        } else if Instant::now() >= due {
            ControlFlow::Break(true)
        } else {
            ControlFlow::Continue(Some(due))
        }
    })
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.ending.tell(|ending| *ending = true);
    }
}
