//! Where log lines go: standard error, as text or as one JSON object a line.
//!
//! Owns the process's one subscriber. Everybody else only uses `tracing`'s macros.
//! Invariant: nothing but log lines of the host goes through here; data for people and programs
//! goes to standard output.

use std::{
    fmt,
    io::{self, Write},
    str::FromStr,
};

use tracing_subscriber::{
    EnvFilter,
    fmt::{
        format::Writer,
        time::{FormatTime, SystemTime},
    },
};

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

impl Filter {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
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

/// Begins to log. Once a process. `who` stands in each line, with the process id: several processes
/// of a host share one standard error.
///
/// # Errors
/// See [`LogError`].
pub fn start(filter: &Filter, format: LogFormat, who: &str) -> Result<(), LogError> {
    let Filter(text) = filter;
    let levels = EnvFilter::try_new(text).map_err(|_| LogError::Filter(text.clone()))?;
    // The feature for colours is not even compiled in.
    let lines = tracing_subscriber::fmt().with_env_filter(levels);
    let pid = std::process::id();
    match format {
        LogFormat::Text => {
            let timer = Stamp { who: format!(" {who}[{pid}]"), timer: SystemTime };
            lines.with_writer(io::stderr).with_timer(timer).try_init()
        }
        LogFormat::Json => {
            let head = format!("{{\"process\":\"{who}\",\"pid\":{pid},");
            lines.json().flatten_event(true).with_writer(move || Tagged(head.clone())).try_init()
        }
    }
    .map_err(|_| LogError::Started)
}

/// The time of a line, and who writes it.
struct Stamp {
    who: String,
    timer: SystemTime,
}

impl FormatTime for Stamp {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        self.timer.format_time(writer)?;
        writer.write_str(&self.who)
    }
}

/// Writes one object a line, with more at its head.
struct Tagged(String);

impl Write for Tagged {
    /// Whole lines come in one piece, and leave in one: lines of several processes never mix.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let whole = match line.strip_prefix(b"{") {
            Some(rest) => [self.0.as_bytes(), rest].concat(),
            None => line.to_vec(),
        };
        io::stderr().write_all(&whole)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
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
