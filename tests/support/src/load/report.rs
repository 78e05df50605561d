//! What the clients of a load met.
//!
//! Owns the kinds of failure, and what counts as clean.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    time::{Duration, Instant},
};

use crate::client::Answer;

/// How many failures are told in words.
const EXAMPLES_MAX: usize = 12;
/// How many are told with their times.
const LOST_MAX: usize = 100_000;

/// Why a request has no good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// Nobody listened.
    Refused,
    /// Another trouble while connecting.
    Connect,
    /// The connection was reset before an answer began.
    Reset,
    /// The connection was closed before an answer began.
    Closed,
    /// The answer broke off.
    Short,
    /// No answer within patience.
    Timeout,
    /// The status is none of 2xx.
    Status,
    /// The answer is no HTTP, or tells of another body than was sent.
    Wrong,
}

impl Failure {
    /// Of an error before the first byte of an answer.
    pub(super) fn of(error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::ConnectionRefused => Self::Refused,
            Kind::ConnectionReset | Kind::BrokenPipe | Kind::ConnectionAborted => Self::Reset,
            Kind::UnexpectedEof => Self::Closed,
            Kind::WouldBlock | Kind::TimedOut => Self::Timeout,
            Kind::InvalidData => Self::Wrong,
            _ => Self::Connect,
        }
    }
}

/// Who answered, as headers say (`x-pid`, `x-label`); absent where nobody says.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The process.
    pub pid: Option<u32>,
    /// The version of the plugin.
    pub label: Option<String>,
}

impl Mark {
    /// As `answer` says.
    #[must_use]
    pub fn of(answer: &Answer) -> Self {
        Self {
            pid: answer.header("x-pid").and_then(|text| text.parse().ok()),
            label: answer.header("x-label").map(ToOwned::to_owned),
        }
    }
}

/// Who answered on one connection, in order, without repetitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    /// The client; it may have had connections before.
    pub client: usize,
    /// Who answered.
    pub marks: Vec<Mark>,
    /// Requests with a good answer.
    pub requests: u64,
}

/// A request without a good answer, for whoever knows what happened meanwhile.
#[derive(Clone, Debug)]
pub struct Lost {
    /// In which way.
    pub failure: Failure,
    /// Who last answered on its connection, if anybody did.
    pub pid: Option<u32>,
    /// When it was begun; connecting included.
    pub begun: Instant,
    /// When that was known.
    pub at: Instant,
    /// In words.
    pub text: String,
}

/// What was met.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Requests that were begun; those that could not connect count.
    pub requests: u64,
    /// Good answers.
    pub answered: u64,
    /// Requests without one.
    pub failures: BTreeMap<Failure, u64>,
    /// The first few of them, in words.
    pub examples: Vec<String>,
    /// All of them, as far as there are not too many.
    pub lost: Vec<Lost>,
    /// Connections that were made.
    pub connects: u64,
    /// Connections that kept clients made beyond their first.
    pub reconnects: u64,
    /// Kept connections that an answer with `Connection: close` ended.
    pub closed_announced: u64,
    /// Kept connections that ended without such an answer before.
    pub closed_unannounced: u64,
    /// Connections on which an answer came.
    pub trails: Vec<Trail>,
    /// The longest time from the request (connecting included) to the end of its answer.
    pub slowest: Duration,
    /// From start to stop.
    pub took: Duration,
}

impl Report {
    pub(super) fn fail(&mut self, lost: Lost) {
        *self.failures.entry(lost.failure).or_default() += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(format!("{:?}: {}", lost.failure, lost.text));
        }
        if self.lost.len() < LOST_MAX {
            self.lost.push(lost);
        }
    }

    /// Requests without a good answer.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Requests that failed in this way.
    #[must_use]
    pub fn count(&self, failure: Failure) -> u64 {
        self.failures.get(&failure).copied().unwrap_or(0)
    }

    /// The processes that answered.
    #[must_use]
    pub fn pids(&self) -> BTreeSet<u32> {
        self.marks().filter_map(|mark| mark.pid).collect()
    }

    /// The plugin's versions that answered.
    #[must_use]
    pub fn labels(&self) -> BTreeSet<String> {
        self.marks().filter_map(|mark| mark.label.clone()).collect()
    }

    fn marks(&self) -> impl Iterator<Item = &Mark> {
        self.trails.iter().flat_map(|trail| &trail.marks)
    }

    /// Every request had a good answer, and there were some.
    ///
    /// # Panics
    /// When not.
    #[track_caller]
    pub fn assert_clean(&self) -> &Self {
        self.assert_only(&[])
    }

    /// Requests failed in these ways alone, and some had good answers.
    ///
    /// # Panics
    /// When not.
    #[track_caller]
    pub fn assert_only(&self, allowed: &[Failure]) -> &Self {
        assert!(self.answered > 0, "nothing was answered\n{self}");
        assert_eq!(self.requests, self.answered + self.failed(), "a request got lost\n{self}");
        let others = self.failures.keys().filter(|it| !allowed.contains(it));
        assert_eq!(others.count(), 0, "requests failed\n{self}");
        self
    }

    /// No kept connection ended without having been announced.
    ///
    /// # Panics
    /// When one did.
    #[track_caller]
    pub fn assert_announced(&self) -> &Self {
        assert_eq!(self.closed_unannounced, 0, "connections were closed unannounced\n{self}");
        self
    }

    /// No kept client had to connect a second time.
    ///
    /// # Panics
    /// When one had to.
    #[track_caller]
    pub fn assert_kept(&self) -> &Self {
        assert_eq!(self.reconnects, 0, "kept connections were lost\n{self}");
        self
    }

    /// On each connection the processes answered in this order, none of them twice and no other.
    ///
    /// # Panics
    /// When a connection went back.
    #[track_caller]
    pub fn assert_forward(&self, pids: &[u32]) -> &Self {
        for trail in &self.trails {
            let met: Vec<_> = trail.marks.iter().map(|mark| mark.pid).collect();
            let places: Option<Vec<_>> =
                met.iter().map(|pid| pids.iter().position(|it| Some(*it) == *pid)).collect();
            // Two versions of a plugin in one process are two marks with one place.
            let forward = places.is_some_and(|places| places.is_sorted());
            assert!(
                forward,
                "a connection met {met:?}, which is not in the order {pids:?}\n{self}"
            );
        }
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} requests, {} answered, {} failed {:?}, {} connections ({} again), {} closed as \
             announced, {} unannounced, slowest {:?}, in {:?}",
            self.requests,
            self.answered,
            self.failed(),
            self.failures,
            self.connects,
            self.reconnects,
            self.closed_announced,
            self.closed_unannounced,
            self.slowest,
            self.took,
        )?;
        self.examples.iter().try_for_each(|example| writeln!(f, "  {example}"))
    }
}
