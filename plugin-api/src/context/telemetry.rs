//! Log lines and metrics, written by the host.
//!
//! Owns their author's side. Knows nothing of formats or sinks.
//! Invariant: nothing is formatted for a line that the host would drop.
#![expect(unsafe_code, reason = "calls the host's table of services")]

use std::fmt::Display;

use super::{Context, Host};
use crate::{
    abi::{Header, Str, level, metric},
    logging::{self, Line, Log, Value},
};

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Level {
    /// The operator must act.
    Error,
    /// Something went wrong and was recovered.
    Warn,
    /// Something asked for happened.
    Info,
    /// For whoever debugs the plugin.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    fn code(self) -> u32 {
        match self {
            Self::Error => level::ERROR,
            Self::Warn => level::WARN,
            Self::Info => level::INFO,
            Self::Debug => level::DEBUG,
            Self::Trace => level::TRACE,
        }
    }
}

impl Context {
    /// Writes a line to the host's log. Keep `message` constant and put the data into `fields`.
    pub fn log(&self, level: Level, message: &str, fields: &[(&str, &dyn Display)]) {
        let Host { data, vt } = self.host();
        let (log, level) = (Log { host: data, vt }, level.code());
        if !log.is_heard(level, self.name()) {
            return;
        }
        let fields = fields.iter().map(|(name, value)| (*name, Value::Text(value.to_string())));
        log.write(&Line {
            level,
            request: logging::request_here(),
            target: self.name(),
            message,
            fields: &fields.collect(),
            spans: &[],
        });
    }

    /// A line for an operator who must act.
    pub fn error(&self, message: &str, fields: &[(&str, &dyn Display)]) {
        self.log(Level::Error, message, fields);
    }

    /// A line about something that went wrong and was recovered.
    pub fn warn(&self, message: &str, fields: &[(&str, &dyn Display)]) {
        self.log(Level::Warn, message, fields);
    }

    /// A line about something that was asked for and happened.
    pub fn info(&self, message: &str, fields: &[(&str, &dyn Display)]) {
        self.log(Level::Info, message, fields);
    }

    /// A line for whoever debugs the plugin.
    pub fn debug(&self, message: &str, fields: &[(&str, &dyn Display)]) {
        self.log(Level::Debug, message, fields);
    }

    /// Adds `value` to the counter `name`, which `/metrics` shows as `plugin_NAME_total` with the plugin's
    /// name as a label; a `_total` that `name` ends with is that one.
    pub fn counter(&self, name: &str, value: f64, labels: &[(&str, &str)]) {
        self.metric(metric::COUNTER, name, value, labels);
    }

    /// Sets the gauge `name` to `value`, which `/metrics` shows as `plugin_NAME`.
    pub fn gauge(&self, name: &str, value: f64, labels: &[(&str, &str)]) {
        self.metric(metric::GAUGE, name, value, labels);
    }

    /// Observes `value` in the histogram `name`, which `/metrics` shows as `plugin_NAME`, with buckets for
    /// seconds: from 1 ms to 10 s.
    pub fn histogram(&self, name: &str, value: f64, labels: &[(&str, &str)]) {
        self.metric(metric::HISTOGRAM, name, value, labels);
    }

    fn metric(&self, kind: u32, name: &str, value: f64, labels: &[(&str, &str)]) {
        let Host { data, vt } = self.host();
        // SAFETY: the table lives as long as the library.
        let record = unsafe { (*vt).metric };
        let labels: Vec<Header> = labels.iter().map(|(name, value)| pair(name, value)).collect();
        // SAFETY: every text lives until the call returns.
        unsafe { record(data, kind, text(name), labels.as_ptr(), labels.len(), value) }
    }
}

fn text(text: &str) -> Str {
    Str::new(text.as_bytes())
}

fn pair(name: &str, value: &str) -> Header {
    Header { name: text(name), value: text(value) }
}
