//! What is done, and when: a function of the seed and the length alone.
//!
//! Two lists are merged: acts, one after another, and conditions, of which one at a time holds for a
//! while. Owns how often each comes.

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

/// Something that holds for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// The disk under the state folder is full.
    Full,
    /// The state folder cannot be written.
    ReadOnly,
    /// Whoever reads the log does not.
    Unread,
    /// Nobody has the log's pipe open for reading.
    Unheard,
}

/// All of them.
pub(crate) const CONDITIONS: [Condition; 4] =
    [Condition::Full, Condition::ReadOnly, Condition::Unread, Condition::Unheard];

impl Condition {
    /// For `--without`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::ReadOnly => "readonly",
            Self::Unread => "unread",
            Self::Unheard => "unheard",
        }
    }

    /// It needs a disk of our own.
    pub(crate) fn needs_disk(self) -> bool {
        matches!(self, Self::Full | Self::ReadOnly)
    }
}

/// One thing that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// A version is posted that was not there before.
    Swap,
    /// What serves is posted again.
    Again,
    /// As before, and a new instance is wanted.
    Force,
    /// A new version is put into the plugins folder.
    Drop,
    /// Back to the version before.
    Rollback,
    /// A library is posted that must be refused.
    Bad(&'static str),
    /// SIGHUP.
    Hup,
    /// An upgrade over HTTP, waited for.
    Upgrade,
    /// SIGKILL to the worker that serves.
    KillWorker,
    /// SIGKILL to the master; then the host is started again.
    KillMaster,
    /// A plugin takes its worker down.
    Crash(&'static str),
    /// A plugin never answers.
    Hang,
    /// A plugin stops a data thread.
    Stand,
    /// A condition begins.
    Begin(Condition),
    /// It ends.
    End(Condition),
}

impl Act {
    /// For `--without`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Swap => "swap",
            Self::Again => "again",
            Self::Force => "force",
            Self::Drop => "drop",
            Self::Rollback => "rollback",
            Self::Bad(_) => "bad",
            Self::Hup => "hup",
            Self::Upgrade => "upgrade",
            Self::KillWorker => "kill-worker",
            Self::KillMaster => "kill-master",
            Self::Crash(_) => "crash",
            Self::Hang => "hang",
            Self::Stand => "stand",
            Self::Begin(condition) | Self::End(condition) => condition.name(),
        }
    }
}

/// Test plugins that no host may take into traffic.
const BAD: [&str; 10] = [
    "new_aborts",
    "new_exits",
    "new_fails",
    "new_hangs",
    "new_panics",
    "new_segfaults",
    "constructor_crashes",
    "constructor_exits_zero",
    "no_entry",
    "new_panics_in_host",
];
const CRASHES: [&str; 4] = ["segv", "abort", "stack", "exit"];

fn act(random: &mut StdRng) -> Act {
    let bad = BAD[random.random_range(0..BAD.len())];
    let crash = CRASHES[random.random_range(0..CRASHES.len())];
    match random.random_range(0..100) {
        0..30 => Act::Swap,
        30..34 => Act::Again,
        34..42 => Act::Force,
        42..48 => Act::Drop,
        48..56 => Act::Rollback,
        56..66 => Act::Bad(bad),
        66..74 => Act::Hup,
        74..80 => Act::Upgrade,
        80..86 => Act::KillWorker,
        86..89 => Act::KillMaster,
        89..94 => Act::Crash(crash),
        94..98 => Act::Hang,
        _ => Act::Stand,
    }
}

/// When each act is due, counted from the start.
pub(crate) fn schedule(seed: u64, length: Duration) -> Vec<(Duration, Act)> {
    let millis = |random: &mut StdRng, from: u64, to: u64| {
        Duration::from_millis(random.random_range(from..to))
    };
    let mut random = StdRng::seed_from_u64(seed);
    let mut all = Vec::new();
    let mut at = Duration::ZERO;
    while at < length {
        at += millis(&mut random, 100, 800);
        all.push((at, act(&mut random)));
    }
    // Each once before any comes again, in another order each time.
    let (mut at, mut left) = (Duration::from_secs(1), Vec::new());
    loop {
        if left.is_empty() {
            left.extend(CONDITIONS);
        }
        let condition = left.swap_remove(random.random_range(0..left.len()));
        let begin = at + millis(&mut random, 500, 2500);
        // Long enough for a host that waits for a reader to be seen waiting.
        let unread = condition == Condition::Unread;
        at = begin
            + if unread { millis(&mut random, 4500, 7000) } else { millis(&mut random, 800, 3000) };
        if at >= length {
            break;
        }
        all.extend([(begin, Act::Begin(condition)), (at, Act::End(condition))]);
    }
    all.retain(|(at, _)| *at < length);
    all.sort_by_key(|(at, _)| *at);
    all
}
