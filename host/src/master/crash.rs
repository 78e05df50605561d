//! Ends of workers that nobody asked for: how soon the next one starts, and who is to blame.
//!
//! Pure: times go in, decisions come out.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Before the next worker starts. Units: milliseconds; by the number of ends within the window, or of
/// those in a row that did not come up.
const BACK_OFF: [u64; 9] = [0, 100, 500, 1000, 2000, 4000, 8000, 16_000, 30_000];

/// How many workers in a row may be killed from outside before the next one waits.
const FREE_KILLS: usize = 3;

/// The longest pause, as a place in [`BACK_OFF`], while workers come up: they serve until they end.
const SERVED_MAX: usize = 4;

/// The shortest pause after a process could not even be started.
const UNSTARTED_TIME: Duration = Duration::from_millis(500);

/// One end.
#[derive(Clone, Copy, Debug)]
struct Death {
    at: Instant,
    end: End,
}

/// How a worker has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// What it ran when it died by a fault, or was loading when it died.
    pub(super) generation: Option<u64>,
    /// It is known to be that one's fault.
    pub(super) proven: bool,
    /// It had come up.
    pub(super) served: bool,
    /// It died by a fault of its own.
    pub(super) fault: bool,
    /// It has ended as a process does that wants to.
    pub(super) exited: bool,
    /// It has not ended, but is of no more use: one of its threads stands still.
    pub(super) stuck: bool,
    /// It had hardly begun.
    pub(super) brief: bool,
}

impl End {
    /// That of a worker which stands still in the code of `generation`.
    pub(super) fn stuck(generation: u64) -> Self {
        let (proven, served, stuck) = (true, true, true);
        let (fault, exited, brief) = (false, false, false);
        Self { generation: Some(generation), proven, served, fault, exited, stuck, brief }
    }
}

/// What is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    /// When the next worker starts.
    pub(super) after: Duration,
    /// A generation that is to be taken out of traffic first.
    pub(super) withdraw: Option<u64>,
    /// The binary itself seems to be at fault.
    pub(super) blame_binary: bool,
    /// Too many in a row that did not come up: the host gives up, as it was told to.
    pub(super) give_up: bool,
}

/// The ends of the last minute.
#[derive(Debug, Default)]
pub(super) struct Crashes {
    deaths: VecDeque<Death>,
    /// How many in a row have not come up.
    in_vain: usize,
    /// Whose end was noted last, and what that came to.
    noted: Option<(u64, Decision)>,
    /// Since the host has started.
    pub(super) total: u64,
}

/// What counts as too many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) window: Duration,
    /// The same for workers that stand still, each of which takes its time.
    pub(super) stuck_window: Duration,
    pub(super) count: usize,
    /// How many in a row that do not come up; 0: as many as there are.
    pub(super) exit_after: usize,
}

impl Crashes {
    /// Those that an earlier image of this process has counted.
    pub(super) fn remembered(total: u64) -> Self {
        Self { total, ..Self::default() }
    }

    fn pause(place: usize) -> Duration {
        Duration::from_millis(BACK_OFF[place.min(BACK_OFF.len() - 1)])
    }

    /// A worker could not be started; when to try again. `None`: the host gives up.
    pub(super) fn not_started(&mut self, rules: Rules) -> Option<Duration> {
        self.in_vain += 1;
        let pause = Self::pause(self.in_vain - 1).max(UNSTARTED_TIME);
        (!self.is_too_much(rules)).then_some(pause)
    }

    fn is_too_much(&self, rules: Rules) -> bool {
        rules.exit_after > 0 && self.in_vain >= rules.exit_after
    }

    /// The worker `number` has ended unasked. However many ask what that means, it is one end.
    pub(super) fn note_of(
        &mut self,
        number: u64,
        now: Instant,
        end: End,
        rules: Rules,
    ) -> Decision {
        if let Some((noted, decision)) = self.noted
            && noted == number
        {
            return decision;
        }
        let decision = self.note(now, end, rules);
        self.noted = Some((number, decision));
        decision
    }

    /// A worker has ended unasked, or stands still.
    pub(super) fn note(&mut self, now: Instant, end: End, rules: Rules) -> Decision {
        self.in_vain = if end.served { 0 } else { self.in_vain + 1 };
        let longest = rules.window.max(rules.stuck_window);
        self.deaths.retain(|death| now.duration_since(death.at) < longest);
        self.deaths.push_back(Death { at: now, end });
        let within = |window| {
            let deaths = self.deaths.iter().filter(move |it| now.duration_since(it.at) < window);
            deaths.map(|it| it.end)
        };
        // What fails by itself may fail again at once. A kill from outside is no reason to wait, but
        // one that comes again and again is.
        let fails = |it: &End| it.fault || it.exited || !it.served;
        let recent = within(rules.window).filter(fails).count();
        let kills = within(rules.window).filter(|it| !fails(it) && it.brief).count();
        let pauses = recent.max(kills.saturating_sub(FREE_KILLS));
        let blamed = end.generation.filter(|generation| {
            // Nobody serves until it is out of the way: the others shall not wait for more of it.
            if end.proven && !end.served {
                return true;
            }
            let counts = |it: &&Death| {
                let window = if it.end.stuck { rules.stuck_window } else { rules.window };
                it.end.generation == Some(*generation) && now.duration_since(it.at) < window
            };
            self.deaths.iter().filter(counts).count() >= rules.count
        });
        // A kill from outside says nothing about the binary; a fault outside of every plugin and a
        // worker that does not even come up do.
        let of_binary = |it: &End| it.generation.is_none() && (it.fault || !it.served);
        let decision = Decision {
            after: Self::pause(pauses.saturating_sub(1).min(SERVED_MAX))
                .max(Self::pause(self.in_vain.saturating_sub(1))),
            withdraw: blamed,
            blame_binary: within(rules.window).filter(of_binary).count() >= rules.count,
            give_up: self.is_too_much(rules),
        };
        if decision.withdraw.is_some() || decision.blame_binary {
            // What is wrong is mended: the next one starts with a clean record.
            self.deaths.retain(|it| !it.end.served && it.end.generation.is_none());
        }
        decision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        window: Duration::from_secs(30),
        stuck_window: Duration::from_secs(120),
        count: 3,
        exit_after: 0,
    };

    fn end(generation: Option<u64>, served: bool, fault: bool) -> End {
        let proven = generation.is_some();
        End { generation, proven, served, fault, exited: false, stuck: false, brief: false }
    }

    /// At a start one end is enough, if it is certain whose fault it was.
    #[test]
    fn what_keeps_everybody_away_goes_at_once() {
        let mut crashes = Crashes::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let first = crashes.note(at(0), end(Some(7), false, true), RULES);
        assert_eq!((first.withdraw, first.after), (Some(7), Duration::ZERO));
        let suspect = End { proven: false, ..end(Some(8), false, false) };
        assert_eq!(crashes.note(at(1), suspect, RULES).withdraw, None);
        assert_eq!(crashes.note(at(2), suspect, RULES).withdraw, None);
        assert_eq!(crashes.note(at(3), suspect, RULES).withdraw, Some(8));
    }

    /// The successor of a worker that stands still is asked for twice when both end together.
    #[test]
    fn a_death_counts_once() {
        let (mut crashes, now) = (Crashes::default(), Instant::now());
        let fault = end(Some(7), true, true);
        let mut asked = |number| crashes.note_of(number, now, fault, RULES);
        for number in [1, 2] {
            let first = asked(number);
            assert_eq!((first.withdraw, asked(number)), (None, first), "worker {number}");
        }
        assert_eq!(asked(3).withdraw, Some(7), "that is three");
        assert_eq!(asked(3).withdraw, Some(7), "and the same answer again");
    }

    #[test]
    fn kills_again_and_again_are_answered_more_slowly() {
        let mut crashes = Crashes::default();
        let start = Instant::now();
        let kill = End { brief: true, ..end(None, true, false) };
        let mut after =
            |seconds| crashes.note(start + Duration::from_secs(seconds), kill, RULES).after;
        let pauses: Vec<_> = (0..9).map(|at| after(at).as_millis()).collect();
        assert_eq!(pauses, [0, 0, 0, 0, 100, 500, 1000, 2000, 2000]);
        assert_eq!(after(60), Duration::ZERO, "that was long ago");
    }

    #[test]
    fn a_generation_is_withdrawn_after_it_was_blamed_often_enough() {
        let mut crashes = Crashes::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(crashes.note(at(0), end(Some(7), true, true), RULES).withdraw, None);
        assert_eq!(crashes.note(at(2), end(Some(7), true, true), RULES).withdraw, None);
        // Somebody else's is not counted.
        assert_eq!(crashes.note(at(3), end(Some(6), true, true), RULES).withdraw, None);
        assert_eq!(crashes.note(at(4), end(Some(7), true, true), RULES).withdraw, Some(7));
        assert_eq!(crashes.note(at(5), end(Some(7), true, true), RULES).withdraw, None);
        // Long apart they are not together.
        for minute in 1..10 {
            assert_eq!(
                crashes.note(at(60 * minute), end(Some(7), true, true), RULES).withdraw,
                None
            );
        }
    }

    /// Between two of them lies the time after which a thread counts as stuck.
    #[test]
    fn standstills_are_counted_over_a_longer_time() {
        let mut crashes = Crashes::default();
        let start = Instant::now();
        let mut stuck =
            |seconds| crashes.note(start + Duration::from_secs(seconds), End::stuck(7), RULES);
        assert_eq!(stuck(0).withdraw, None);
        assert_eq!(stuck(40).withdraw, None);
        let third = stuck(80);
        assert_eq!((third.withdraw, third.blame_binary, third.give_up), (Some(7), false, false));
        assert_eq!(stuck(85).withdraw, None);
        // A crash within its own window counts too.
        let end = end(Some(7), true, true);
        assert_eq!(crashes.note(start + Duration::from_secs(90), end, RULES).withdraw, None);
        assert_eq!(
            crashes.note(start + Duration::from_secs(91), End::stuck(7), RULES).withdraw,
            Some(7)
        );
    }

    #[test]
    fn kills_from_outside_blame_nobody() {
        let mut crashes = Crashes::default();
        for at in 0..100 {
            let now = Instant::now() + Duration::from_millis(100 * at);
            let decision = crashes.note(now, end(None, true, false), RULES);
            assert!(decision.withdraw.is_none() && !decision.blame_binary && !decision.give_up);
            assert_eq!(decision.after, Duration::ZERO);
        }
    }

    #[test]
    fn what_never_comes_up_blames_the_binary_and_is_tried_less_and_less_often() {
        let mut crashes = Crashes::default();
        let now = Instant::now();
        let mut decisions = (0..20).map(|_| crashes.note(now, end(None, false, false), RULES));
        let first: Vec<_> = decisions.by_ref().take(3).map(|it| it.blame_binary).collect();
        assert_eq!(first, [false, false, true]);
        let rest: Vec<_> = decisions.collect();
        assert!(rest.iter().all(|it| !it.give_up), "as long as it takes");
        assert!(rest.windows(2).all(|pair| pair[0].after <= pair[1].after), "{rest:?}");
        assert_eq!(rest.last().unwrap().after, Duration::from_secs(30));
        // One that comes up ends the row.
        let served = crashes.note(now, end(None, true, false), RULES);
        assert!(served.after <= Duration::from_secs(2), "{served:?}");
        assert_eq!(crashes.not_started(RULES), Some(UNSTARTED_TIME));
    }

    #[test]
    fn a_host_that_was_told_so_gives_up() {
        let mut crashes = Crashes::default();
        let rules = Rules { exit_after: 3, ..RULES };
        let now = Instant::now();
        assert!(!crashes.note(now, end(None, false, false), rules).give_up);
        assert!(!crashes.note(now, end(None, true, true), rules).give_up, "it has served");
        assert!(!crashes.note(now, end(None, false, false), rules).give_up);
        assert!(crashes.not_started(rules).is_some());
        assert_eq!(crashes.not_started(rules), None);
    }
}
