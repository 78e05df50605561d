//! The plugins folder: notices files that have arrived whole, and orders their deployment.
//!
//! Owns one thread. Knows nothing of loading: it only hands [`Order`]s to the desk and remembers
//! which files it has looked at. Kernel events are a hint to look, never what is believed; a slow
//! rescan is the net below them. Entry point: [`Watcher::start`].
//! Invariants: a file that somebody is writing is never ordered; the same content at the same path is
//! ordered again only when somebody has written it again; that an order has ended is remembered when
//! it has, so that no end of the process loses one.
//!
//! [`Order`]: crate::deploy::order::Order

mod bell;
mod heard;
mod how;
mod kernel;
mod listing;
mod plan;
mod probe;
mod reads;
mod round;
mod settling;
mod waiting;

use std::{
    fmt, io,
    path::PathBuf,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use self::{
    bell::{Bell, Turn},
    heard::Heard,
    kernel::Kernel,
    round::Round,
};
use crate::{
    config::Watch,
    deploy::desk::Desk,
    event::Events,
    state::SeenStore,
    sys::{
        path::{PathError, remedy},
        start::{make_folders, start},
    },
};

/// The flag that names the folder.
const SETTING: &str = "--plugins-dir";

/// What is watched, and how.
#[derive(Clone, Debug)]
pub struct WatchConfig {
    /// The folder; made when it is not there.
    pub dir: PathBuf,
    /// The host serves already: a folder that cannot be made is no reason to end, nor are those
    /// above it made again.
    pub serves: bool,
    /// By kernel events or by the rescan alone.
    pub mode: Watch,
    /// Links stand for what they lead to.
    pub follow_links: bool,
    /// Quiet time after an event, and the time between two looks at a file without leases.
    pub debounce: Duration,
    /// Between two looks without any event.
    pub rescan: Duration,
    /// Files above it are not read; the pipeline refuses them. Units: bytes.
    pub library_bytes: u64,
}

/// The watching thread. Dropping it ends the thread; drop it after the desk was closed, so that
/// orders which were never carried out are forgotten and come again at the next start.
pub struct Watcher {
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").finish_non_exhaustive()
    }
}

impl Watcher {
    /// Makes the folder and the thread. Nothing is looked at before [`Watcher::begin`].
    ///
    /// # Errors
    /// When the folder or the thread cannot be made.
    pub fn start(
        mut config: WatchConfig,
        desk: Desk,
        seen: Arc<dyn SeenStore>,
        events: Events,
    ) -> Result<Self, PathError> {
        let dir = config.dir.clone();
        let failed = |error| PathError::new("watch the plugins folder", &dir, SETTING, error);
        config.dir = start().absolute(&dir).map_err(failed)?;
        if !config.serves {
            make_folders(&config.dir).map_err(failed)?;
        } else if let Err(error) = std::fs::create_dir(&config.dir)
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            let hint = remedy(&config.dir, &error, SETTING);
            let folder = config.dir.display();
            tracing::warn!(%folder, %error, hint, "the plugins folder is not there");
        }
        let bell = Arc::new(Bell::default());
        // Made here, not on the thread: whatever is dropped in from now on is heard.
        let heard = Arc::new(Heard::default());
        // A folder that is polled is listened to as well, where that works: not to know when to look,
        // but what was done to a file.
        let rings = (config.mode == Watch::Events).then_some(&bell);
        let kernel = Kernel::start(&config.dir, rings, &heard);
        let theirs = Arc::clone(&bell);
        let thread = std::thread::Builder::new()
            .name("hotseat-watch".to_owned())
            .spawn(move || {
                let round = Round::new(config, heard, desk, seen, events);
                run(&theirs, kernel, round);
            })
            .map_err(failed)?;
        Ok(Self { bell, thread: Some(thread) })
    }

    /// From now on files are looked at, first those that are there.
    pub fn begin(&self) {
        self.bell.begin();
    }

    /// Waits until the files that were there at the begin have been looked at and ordered, at most
    /// `patience`.
    pub fn wait_for_look(&self, patience: Duration) {
        self.bell.wait_for_look(patience);
    }
}

impl Watcher {
    /// Orders and remembers nothing until [`go_on`](Self::go_on). Waits for a look that is going
    /// on, at most `patience`; whether it is over.
    #[must_use]
    pub fn pause(&self, patience: Duration) -> bool {
        self.bell.pause(patience)
    }

    /// Remembers what became of the orders that are answered by now, also in a pause: afterwards
    /// somebody else may write. At most `patience`; whether it is done.
    #[must_use]
    pub fn take_answers(&self, patience: Duration) -> bool {
        self.bell.take_answers(patience)
    }

    /// Ends a pause. What arrived meanwhile is looked at.
    pub fn go_on(&self) {
        self.bell.go_on();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.bell.stop();
        if let Some(thread) = self.thread.take() {
            // A panic over there was reported by the panic hook already.
            let _ = thread.join();
        }
    }
}

fn run(bell: &Bell, mut kernel: Option<Kernel>, mut round: Round) {
    let WatchConfig { debounce, rescan, dir, .. } = round.config().clone();
    let mut turn = if bell.wait_for_begin() { Turn::Look } else { Turn::Stop };
    while turn == Turn::Look {
        if kernel.as_mut().is_some_and(|kernel| !kernel.follow(&dir)) {
            kernel = None;
        }
        let now = Instant::now();
        let look_at = round.run(now, kernel.is_some()).unwrap_or(now + rescan).min(now + rescan);
        bell.has_looked();
        turn = bell.wait(look_at, debounce);
        while turn == Turn::Answers {
            round.take_answers(Instant::now());
            bell.has_taken();
            turn = bell.wait(look_at, debounce);
        }
    }
    round.end();
}

#[cfg(test)]
mod tests;
