//! A clock that is cheap enough to read for every request.

use rustix::time::{ClockId, clock_gettime};

/// A moment. Units: milliseconds of `CLOCK_MONOTONIC_COARSE`, exact to one kernel tick (4 ms at
/// 250 Hz), which is enough for ages and for limits of seconds. About 5 ns a read, against 25 for
/// `Instant::now`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

/// The wall clock. Units: seconds since 1970; behind by a kernel tick at most.
#[inline]
pub(super) fn wall_seconds() -> u64 {
    u64::try_from(clock_gettime(ClockId::RealtimeCoarse).tv_sec).unwrap_or_default()
}

impl Moment {
    pub(super) fn now() -> Self {
        let time = clock_gettime(ClockId::MonotonicCoarse);
        // The monotonic clock starts at boot and never is negative.
        let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
        Self(seconds * 1000 + nanos / 1_000_000)
    }

    /// Units: milliseconds of the clock.
    pub(super) fn as_millis(self) -> u64 {
        self.0
    }

    pub(super) fn since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}
