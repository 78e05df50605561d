//! What plugin code has told its host, as a test reads it.

use std::fmt;

use serde_json::Value;

use crate::{Level, abi};

/// One line that was logged: by the [`Context`](crate::Context), by `tracing` or by `log`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// The module; the plugin's name where the context was used, `hotseat` where the host speaks.
    pub target: String,
    /// The text.
    pub message: String,
    /// Values by name; numbers as numbers where `tracing` or `log` gave them as such.
    pub fields: Vec<(String, Value)>,
    /// The spans that it happened in, the outermost first.
    pub spans: Vec<LogSpan>,
    /// The number of the request that it belongs to.
    pub request: Option<u64>,
}

impl LogLine {
    /// The value of a field of the line, or else of the innermost span that has it.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Value> {
        let all = self.spans.iter().rev().map(|span| &span.fields);
        let mut found = std::iter::once(&self.fields).chain(all).flatten();
        found.find(|(it, _)| it == name).map(|(_, value)| value)
    }
}

/// `INFO shop: sold id=7`.
impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", name(self.level), self.target, self.message)?;
        for (name, value) in &self.fields {
            write!(f, " {name}={}", text(value))?;
        }
        for span in &self.spans {
            write!(f, " in {}", span.name)?;
            for (name, value) in &span.fields {
                write!(f, " {name}={}", text(value))?;
            }
        }
        Ok(())
    }
}

/// A span around a line of the log.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LogSpan {
    /// Its name.
    pub name: String,
    /// Values by name.
    pub fields: Vec<(String, Value)>,
}

impl LogSpan {
    pub(super) fn new(name: String, fields: Vec<(String, Value)>) -> Self {
        Self { name, fields }
    }
}

/// What a metric does with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// It is added.
    Counter,
    /// It replaces.
    Gauge,
    /// It is observed.
    Histogram,
}

/// One value that was recorded.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Metric {
    /// What is done with the value.
    pub kind: MetricKind,
    /// Its name.
    pub name: String,
    /// Values by name.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
}

impl Metric {
    pub(super) fn new(
        kind: u32,
        name: String,
        labels: Vec<(String, String)>,
        value: f64,
    ) -> Option<Self> {
        let kind = match kind {
            abi::metric::COUNTER => MetricKind::Counter,
            abi::metric::GAUGE => MetricKind::Gauge,
            abi::metric::HISTOGRAM => MetricKind::Histogram,
            _ => return None,
        };
        Some(Self { kind, name, labels, value })
    }
}

/// A panic of plugin code, wherever it was caught.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Panic {
    /// What it said.
    pub message: String,
    /// `file:line:column`.
    pub location: String,
}

impl Panic {
    pub(super) fn new(message: String, location: String) -> Self {
        Self { message, location }
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.message, self.location)
    }
}

pub(super) fn level(code: u32) -> Level {
    match code {
        abi::level::ERROR => Level::Error,
        abi::level::WARN => Level::Warn,
        abi::level::INFO => Level::Info,
        abi::level::DEBUG => Level::Debug,
        _ => Level::Trace,
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::Error => "ERROR",
        Level::Warn => "WARN",
        Level::Info => "INFO",
        Level::Debug => "DEBUG",
        Level::Trace => "TRACE",
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
