//! Whether a host is well after what was done to it: every data thread turns, nobody is held.
//!
//! Owns the two questions. Each thread is asked itself, because a thread that stands still does not
//! show in any number. Needs a plugin that names its thread in `x-thread`, as `edge` does.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::Host;
use crate::{
    client::Connection,
    patience::{breathe, patience},
    wire,
};

/// A thread that is asked this often has been asked: connections go to the one that has fewest.
const ASKED_MAX: usize = 64;
/// For a thread that turns, on a machine that is busy.
const TURN_TIME: Duration = Duration::from_secs(8);
/// Between two looks at the status.
const LOOK: Duration = Duration::from_millis(10);

/// Requests that a status counts as held, of every generation.
#[must_use]
#[track_caller]
pub fn holders(status: &Value) -> u64 {
    let count = |it: &Value| it["holder_count"].as_u64().unwrap_or(0);
    let active = wire::list(status, "/plugins");
    let active: u64 = active.iter().map(|it| count(&it["active"])).sum();
    active + wire::list(status, "/retired").iter().map(count).sum::<u64>()
}

impl Host {
    /// Asks every data thread for an answer of `target`. One that is blocked for a moment has the
    /// time for it.
    ///
    /// # Errors
    /// In words: a request without an answer, or a thread that could not be reached.
    pub fn ask_threads(&self, target: &str) -> Result<(), String> {
        let end = Instant::now() + TURN_TIME.min(patience());
        loop {
            let asked = self.ask_once(target);
            if asked.is_ok() || Instant::now() > end {
                return asked;
            }
            breathe(LOOK);
        }
    }

    fn ask_once(&self, target: &str) -> Result<(), String> {
        let cores = wire::list(&self.status(), "/cores");
        let mut seen = BTreeSet::new();
        // Kept open, so that the next one goes elsewhere.
        let mut open = Vec::new();
        while seen.len() < cores.len() {
            if open.len() == ASKED_MAX {
                return Err(format!("only {seen:?} of {} data threads answer", cores.len()));
            }
            let asked = Connection::open(self.data()).and_then(|mut connection| {
                connection.bound(TURN_TIME.min(patience()))?;
                Ok((connection.get(target)?, connection))
            });
            let (answer, connection) =
                asked.map_err(|error| format!("a data thread does not turn: {error}; {seen:?}"))?;
            let name = answer.header("x-thread");
            let name = name.ok_or_else(|| format!("{} {}", answer.status, answer.text()))?;
            seen.insert(name.to_owned());
            open.push(connection);
        }
        let status = self.status();
        let blocked = wire::list(&status, "/cores").into_iter().find(|it| !it["blocked"].is_null());
        blocked.map_or(Ok(()), |core| Err(format!("blocked: {core}")))
    }

    /// Waits until no request is held or under way any more.
    ///
    /// # Errors
    /// The status, when patience runs out.
    pub fn nobody_held(&self) -> Result<(), String> {
        let end = Instant::now() + patience();
        loop {
            let status = self.status();
            let under_way = ["busy", "head", "upgraded"]
                .iter()
                .any(|class| status["connections"][class].as_u64().unwrap_or(0) > 0);
            if holders(&status) == 0 && !under_way {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(format!("requests are held or under way: {status}"));
            }
            breathe(LOOK);
        }
    }

    /// # Panics
    /// When a data thread does not answer, or requests are held after patience.
    #[track_caller]
    pub fn assert_at_rest(&self, target: &str) {
        let rest = self.ask_threads(target).and_then(|()| self.nobody_held());
        assert!(rest.is_ok(), "{rest:?}\n{}", self.status());
    }
}
