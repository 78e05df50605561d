//! Shared by the tests of this room.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Waits until `true_now`, for a few seconds at most.
#[track_caller]
pub(super) fn eventually(true_now: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(5);
    while !true_now() {
        assert!(Instant::now() < until, "it did not come true");
        thread::park_timeout(Duration::from_millis(1));
    }
}
