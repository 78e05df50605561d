//! Which plugins have changed within the last minute, whatever the clock does.
//!
//! Owns the question only; who changed last is in the manifest. What this process has changed it
//! measures itself. What was read from the disk changed before it was read: a minute later it is of
//! no account, and until then the clock's word is taken, and doubted where it names the future.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use crate::ids::PluginName;

/// Changes that are no further apart than this may be taken for each other by a person.
const RECENT: Duration = Duration::from_secs(60);

/// When plugins changed.
#[derive(Debug)]
pub(super) struct Changes {
    read_at: Instant,
    here: BTreeMap<PluginName, Instant>,
}

impl Changes {
    /// A manifest has just been read.
    pub(super) fn read() -> Self {
        Self { read_at: Instant::now(), here: BTreeMap::new() }
    }

    /// `plugin` has just changed.
    pub(super) fn note(&mut self, plugin: &PluginName) {
        self.here.insert(plugin.clone(), Instant::now());
    }

    /// Whether `plugin`, which changed at `changed_at` as the manifest says, did so a short while
    /// before `now`.
    pub(super) fn is_recent(
        &self,
        plugin: &PluginName,
        changed_at: Option<SystemTime>,
        (now, today): (Instant, SystemTime),
    ) -> bool {
        if let Some(at) = self.here.get(plugin) {
            return now.saturating_duration_since(*at) < RECENT;
        }
        if now.saturating_duration_since(self.read_at) >= RECENT {
            return false;
        }
        // A time in the future was written before the clock was set back: it may be a moment ago.
        changed_at.is_some_and(|at| today.duration_since(at).map_or(true, |age| age < RECENT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_measured_and_the_clock_is_asked_only_about_what_was_read() {
        let [a, b] = ["a", "b"].map(|name| name.parse::<PluginName>().unwrap());
        let mut changes = Changes::read();
        let start = Instant::now();
        let today = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let after = Duration::from_secs;
        let at = |seconds| (start + after(seconds), today);
        changes.note(&a);
        for (name, was, now, recent) in [
            (&a, None, at(59), true),
            (&a, Some(today), at(62), false),
            // A clock that jumped by a year changes nothing about what was seen here.
            (&a, Some(today - after(31_000_000)), at(5), true),
            (&b, None, at(0), false),
            (&b, Some(today - after(59)), at(0), true),
            (&b, Some(today - after(60)), at(0), false),
            (&b, Some(today + after(31_000_000)), at(5), true),
            (&b, Some(today + after(31_000_000)), at(62), false),
            (&b, Some(today), at(62), false),
        ] {
            assert_eq!(changes.is_recent(name, was, now), recent, "{name} {was:?} {now:?}");
        }
    }
}
