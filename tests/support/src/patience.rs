//! How long a test waits for something that must happen.
//!
//! Owns the one number. Invariant: a wait that runs out fails the test and says what was awaited.

use std::time::{Duration, Instant};

/// Between two looks of [`until`]: short against anything that is waited for.
const LOOK: Duration = Duration::from_millis(2);

/// The bound of every wait: `HOTSEAT_TEST_PATIENCE_MS`, else 20 s.
#[must_use]
pub fn patience() -> Duration {
    let typed = std::env::var("HOTSEAT_TEST_PATIENCE_MS").ok();
    let millis = typed.and_then(|text| text.parse().ok()).unwrap_or(20_000);
    Duration::from_millis(millis)
}

/// Lets other threads work for a moment; nothing may rely on its length.
pub fn breathe(time: Duration) {
    std::thread::park_timeout(time);
}

/// Lets so much time pass, for a client that does nothing meanwhile: never to wait for somebody.
pub fn pass(time: Duration) {
    let end = Instant::now() + time;
    while let Some(rest) = end.checked_duration_since(Instant::now()) {
        // It may return early: a thread that was joined may have left a wake-up behind.
        breathe(rest);
    }
}

/// What `future` gives, if it does so within patience.
///
/// # Errors
/// When it does not.
pub async fn within<F: Future>(future: F) -> Result<F::Output, tokio::time::error::Elapsed> {
    tokio::time::timeout(patience(), future).await
}

/// Looks until `condition` holds.
///
/// # Panics
/// With `text` when patience runs out.
#[track_caller]
pub fn until(mut condition: impl FnMut() -> bool, text: impl Fn() -> String) {
    let end = Instant::now() + patience();
    while !condition() {
        assert!(Instant::now() < end, "waited {:?} in vain for: {}", patience(), text());
        breathe(LOOK);
    }
}
