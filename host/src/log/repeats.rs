//! Lines about failing requests: the first ones whole, then a count.
//!
//! A version that fails each request would fill every disk with the same line. Owns what was said of
//! each generation lately; the log's own thread says how many were left out, when the time is over.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::lines::LINES;

/// Kinds of lines that are told apart; of more than these nothing is left out.
const KINDS_COUNT: usize = 4096;

/// Generation and what has happened: one kind of line.
type Kind = (u64, &'static str);

#[derive(Debug)]
struct Lately {
    plugin: String,
    began: Instant,
    count: u64,
}

#[derive(Debug)]
pub(super) struct Recent {
    kinds: BTreeMap<Kind, Lately>,
    /// Lines of one kind that are written whole within `window`.
    pub(super) whole_count: u64,
    /// After the first of them.
    pub(super) window: Duration,
}

static RECENT: Mutex<Recent> = Mutex::new(Recent {
    kinds: BTreeMap::new(),
    whole_count: u64::MAX,
    window: Duration::from_secs(10),
});

pub(super) fn recent() -> MutexGuard<'static, Recent> {
    RECENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a line that says `what` has happened to a request of `plugin` (empty where that is not
/// known), in `generation`, is to be written. Where it is not, it is counted, and the count is
/// written later.
#[must_use]
pub fn is_news(plugin: &str, generation: u64, what: &'static str) -> bool {
    let (whole, first) = recent().note(Instant::now(), plugin, (generation, what));
    if first {
        // It sleeps without knowing that it is to wake up.
        LINES.poke();
    }
    whole
}

impl Recent {
    /// Whether it is to be written; whether it is the first of all that are remembered.
    fn note(&mut self, now: Instant, plugin: &str, kind: Kind) -> (bool, bool) {
        let first = self.kinds.is_empty();
        if let Some(lately) = self.kinds.get_mut(&kind) {
            lately.count += 1;
            return (lately.count <= self.whole_count, false);
        }
        if self.kinds.len() < KINDS_COUNT {
            let lately = Lately { plugin: plugin.to_owned(), began: now, count: 1 };
            self.kinds.insert(kind, lately);
        }
        (true, first)
    }

    /// Those whose time is over, and how many lines of each were left out.
    fn take_ended(&mut self, now: Instant) -> Vec<(Kind, String, u64)> {
        let mut ended = Vec::new();
        self.kinds.retain(|kind, Lately { plugin, began, count }| {
            let goes_on = now.duration_since(*began) < self.window;
            if !goes_on {
                let more = count.saturating_sub(self.whole_count);
                ended.push((*kind, std::mem::take(plugin), more));
            }
            goes_on
        });
        ended
    }
}

/// When [`tell`] has something to do. `None`: nothing has failed lately.
pub(super) fn due() -> Option<Instant> {
    let recent = recent();
    recent.kinds.values().map(|it| it.began + recent.window).min()
}

/// Says what was left out of what is over by `now`.
pub(super) fn tell(now: Instant) {
    let ended = recent().take_ended(now);
    for ((generation, what), plugin, more) in ended {
        if more > 0 {
            let plugin = (!plugin.is_empty()).then_some(plugin);
            tracing::warn!(plugin, generation, more, "as before, not written one by one: {what}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recent() -> Recent {
        Recent { kinds: BTreeMap::new(), whole_count: 10, window: Duration::from_secs(10) }
    }

    #[test]
    fn the_first_ones_are_whole_and_the_others_counted() {
        let (mut recent, now) = (recent(), Instant::now());
        let failed = (7, "it failed");
        assert_eq!(recent.note(now, "a", failed), (true, true), "somebody has to wake up");
        for _ in 1..10 {
            assert_eq!(recent.note(now, "a", failed), (true, false));
        }
        assert_eq!([(); 2].map(|()| recent.note(now, "a", failed)), [(false, false); 2]);
        assert!(recent.note(now, "a", (8, "it failed")).0, "of another generation");
        assert!(recent.note(now, "a", (7, "it was late")).0, "something else");
        assert!(recent.take_ended(now).is_empty());
        let ended = recent.take_ended(now + recent.window);
        assert_eq!(ended.len(), 3);
        assert!(ended.contains(&(failed, "a".to_owned(), 2)), "{ended:?}");
        assert!(recent.note(now, "a", failed).0, "and again");
    }

    #[test]
    fn more_kinds_than_are_remembered_are_all_written() {
        let (mut recent, now) = (recent(), Instant::now());
        for generation in 0..KINDS_COUNT as u64 + 100 {
            assert!(recent.note(now, "a", (generation, "it failed")).0);
        }
        assert_eq!(recent.kinds.len(), KINDS_COUNT);
    }
}
