//! What a process has counted so far, for the next one to go on from.
//!
//! Owns the form in which counters travel from one worker to its successor, so that whoever
//! scrapes the host never sees one go down. Gauges do not travel: each process has its own.
//! Invariant: a form that cannot be read is counted as nothing, never as an error.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ids::PluginName, status::Counts};

/// Every counter of one process. What is not known to a reader is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    requests: BTreeMap<String, Requests>,
    /// Verb, outcome.
    pub(super) orders: Vec<(String, String, u64)>,
    pub(super) unloads: BTreeMap<String, u64>,
    pub(super) evicted: u64,
    pub(super) thin: u64,
    pub(super) log_dropped: u64,
    /// By code.
    pub(super) own_answers: BTreeMap<String, u64>,
    /// Plugin, reason.
    pub(super) dropped: Vec<(String, String, u64)>,
    /// Plugin, what it is.
    pub(super) beside: Vec<(String, String, u64)>,
    pub(super) series: Vec<SeriesTotal>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Requests {
    requests: u64,
    errors: u64,
    panics: u64,
    timeouts: u64,
    cut: u64,
}

/// One series of one plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SeriesTotal {
    pub(super) plugin: String,
    pub(super) name: String,
    pub(super) labels: Vec<(String, String)>,
    pub(super) value: Number,
}

/// What a series has come to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Number {
    Counter(f64),
    Histogram { buckets: Vec<u64>, sum: f64 },
}

impl Totals {
    /// As [`Self::to_text`] has written them.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if text.is_empty() {
            // Nobody has counted anything.
            return Self::default();
        }
        serde_json::from_str(text).unwrap_or_else(|error| {
            tracing::warn!(%error, "the counters of the worker before are not readable");
            Self::default()
        })
    }

    /// One line of JSON.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("text keys and finite numbers")
    }

    /// Says what a plugin's requests have come to.
    pub fn set_requests(&mut self, plugin: &PluginName, counts: Counts) {
        let Counts { requests, errors, panics, timeouts, cut } = counts;
        let wire = Requests { requests, errors, panics, timeouts, cut };
        self.requests.insert(plugin.to_string(), wire);
    }

    /// Adds connections that were closed for newcomers.
    pub fn add_evicted(&mut self, count: u64) {
        self.evicted += count;
    }

    /// Adds requests that were served past hyper.
    pub fn add_thin(&mut self, count: u64) {
        self.thin += count;
    }

    /// Adds lines of the log that were dropped.
    pub fn add_log_dropped(&mut self, count: u64) {
        self.log_dropped += count;
    }

    /// Adds answers of the host's own with one code.
    pub fn add_own_answers(&mut self, code: &str, count: u64) {
        *self.own_answers.entry(code.to_owned()).or_default() += count;
    }

    /// What every plugin's requests have come to.
    pub fn requests(&self) -> impl Iterator<Item = (PluginName, Counts)> + '_ {
        self.requests.iter().filter_map(|(plugin, wire)| {
            let Requests { requests, errors, panics, timeouts, cut } = *wire;
            Some((plugin.parse().ok()?, Counts { requests, errors, panics, timeouts, cut }))
        })
    }

    /// What was counted since `earlier`.
    #[must_use]
    pub fn since(mut self, earlier: &Self) -> Self {
        for (plugin, now) in &mut self.requests {
            let then = earlier.requests.get(plugin).copied().unwrap_or_default();
            now.requests = now.requests.saturating_sub(then.requests);
            now.errors = now.errors.saturating_sub(then.errors);
            now.panics = now.panics.saturating_sub(then.panics);
            now.timeouts = now.timeouts.saturating_sub(then.timeouts);
            now.cut = now.cut.saturating_sub(then.cut);
        }
        self.evicted = self.evicted.saturating_sub(earlier.evicted);
        self.thin = self.thin.saturating_sub(earlier.thin);
        self.log_dropped = self.log_dropped.saturating_sub(earlier.log_dropped);
        subtract(&mut self.orders, &earlier.orders);
        subtract(&mut self.dropped, &earlier.dropped);
        subtract(&mut self.beside, &earlier.beside);
        for (now, then) in
            [(&mut self.unloads, &earlier.unloads), (&mut self.own_answers, &earlier.own_answers)]
        {
            for (what, now) in now {
                *now = now.saturating_sub(then.get(what).copied().unwrap_or(0));
            }
        }
        for series in &mut self.series {
            let same = |then: &&SeriesTotal| {
                (&then.plugin, &then.name, &then.labels)
                    == (&series.plugin, &series.name, &series.labels)
            };
            if let Some(then) = earlier.series.iter().find(same) {
                series.value.subtract(&then.value);
            }
        }
        self
    }
}

fn subtract(rows: &mut [(String, String, u64)], earlier: &[(String, String, u64)]) {
    for (a, b, now) in rows {
        let then = earlier.iter().find(|(x, y, _)| (x, y) == (&*a, &*b));
        *now = now.saturating_sub(then.map_or(0, |(_, _, then)| *then));
    }
}

impl Number {
    fn subtract(&mut self, earlier: &Self) {
        match (self, earlier) {
            (Self::Counter(now), Self::Counter(then)) => *now = (*now - then).max(0.0),
            (
                Self::Histogram { buckets, sum },
                Self::Histogram { buckets: earlier, sum: earlier_sum },
            ) => {
                *sum -= earlier_sum;
                for (now, then) in buckets.iter_mut().zip(earlier) {
                    *now = now.saturating_sub(*then);
                }
            }
            // Another kind under the same name: the earlier one was forgotten meanwhile.
            (Self::Counter(_), Self::Histogram { .. })
            | (Self::Histogram { .. }, Self::Counter(_)) => {}
        }
    }
}
