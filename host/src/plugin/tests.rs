//! Shared by the tests of this room.
#![expect(unsafe_code, reason = "opens a library")]

use std::{
    fs,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use hotseat_test_support::fault;
use hotseat_unload::{Library, Record};

/// Waits until `true_now`, for a few seconds at most.
#[track_caller]
pub(super) fn eventually(true_now: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(5);
    while !true_now() {
        assert!(Instant::now() < until, "it did not come true");
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// A library in this process whose code is not run, in whose name tests make and hold things.
pub(super) struct Played {
    library: Library,
    _folder: tempfile::TempDir,
}

impl Played {
    pub(super) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("played.so");
        fs::copy(fault("whoami"), &copy).unwrap();
        // SAFETY: an ordinary library, of which nothing is called.
        let library = unsafe { Library::open(&copy, 0) };
        Self { library: library.unwrap(), _folder: folder }
    }

    pub(super) fn record(&self) -> &Arc<Record> {
        self.library.record()
    }
}
