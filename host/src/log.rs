//! Where log lines go: standard error, as text or as one JSON object a line.
//!
//! Owns the process's one subscriber. Everybody else only uses `tracing`'s macros.
//! Invariant: nothing but log lines of the host goes through here; data for people and programs
//! goes to standard output.

use std::{fmt, io, str::FromStr};

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Which lines are logged: a level, or levels by module.
#[derive(Clone, PartialEq, Eq)]
pub struct Filter(String);

impl Default for Filter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filter").field(&self.0).finish()
    }
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Not understood.
    #[error(
        "`{0}` is not a log filter: write `error`, `warn`, `info`, `debug` or `trace`, or levels \
         by module as in `warn,hotseat=debug`"
    )]
    Filter(String),
    /// There is one already.
    #[error("this process logs already")]
    Started,
}

impl FromStr for Filter {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, LogError> {
        let wrong = || LogError::Filter(text.to_owned());
        // An empty filter and a lone word that is no level would silence everything unnoticed.
        let levels = ["off", "error", "warn", "info", "debug", "trace"];
        let known = |part: &str| {
            let part = part.trim();
            part.contains(['=', '[']) || levels.contains(&part.to_ascii_lowercase().as_str())
        };
        if !text.split(',').all(known) || EnvFilter::try_new(text).is_err() {
            return Err(wrong());
        }
        Ok(Self(text.to_owned()))
    }
}

impl<'de> serde::Deserialize<'de> for Filter {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Begins to log. Once a process.
///
/// # Errors
/// See [`LogError`].
pub fn start(filter: &Filter, format: LogFormat) -> Result<(), LogError> {
    let Filter(text) = filter;
    let levels = EnvFilter::try_new(text).map_err(|_| LogError::Filter(text.clone()))?;
    // The feature for colours is not even compiled in.
    let lines = tracing_subscriber::fmt().with_env_filter(levels).with_writer(io::stderr);
    match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    }
    .map_err(|_| LogError::Started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_or_levels_by_module() {
        for text in ["info", "WARN", "warn,hotseat=debug", "off", "hotseat[order]=trace"] {
            assert!(text.parse::<Filter>().is_ok(), "{text}");
        }
        for text in ["", "loud", "hotseat=loud", "warn,,"] {
            assert!(text.parse::<Filter>().is_err(), "{text}");
        }
        assert!(EnvFilter::try_new(Filter::default().0).is_ok());
    }
}
