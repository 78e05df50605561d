//! A clock that nobody sets: it says how long something has been there, whatever becomes of the time
//! of day.
//!
//! Its moments mean the same to every process of one boot of the machine, so they are handed from
//! one to the next.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// This moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The time of day.
    pub wall: SystemTime,
    /// Since the machine has started, its sleep included.
    pub boot: Duration,
}

impl Now {
    /// Looks at both.
    #[must_use]
    pub fn read() -> Self {
        Self { wall: SystemTime::now(), boot: since_boot() }
    }

    /// How long ago it was `from` since boot or, where that is not known, `wall`.
    #[must_use]
    pub fn since(&self, from: Option<Duration>, wall: SystemTime) -> Duration {
        from.map_or_else(
            || self.wall.duration_since(wall).unwrap_or_default(),
            |from| self.boot.saturating_sub(from),
        )
    }
}

/// This moment, since the machine has started.
#[must_use]
pub fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_changes_no_age() {
        let from = since_boot();
        assert!(!from.is_zero());
        let now = Now { wall: SystemTime::UNIX_EPOCH, boot: from + Duration::from_secs(5) };
        let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
        assert_eq!(now.since(Some(from), tomorrow), Duration::from_secs(5));
        assert_eq!(now.since(None, tomorrow), Duration::ZERO, "nothing better is known");
        let now = Now { wall: tomorrow, ..now };
        assert_eq!(
            now.since(None, SystemTime::UNIX_EPOCH),
            tomorrow.duration_since(SystemTime::UNIX_EPOCH).unwrap()
        );
    }
}
