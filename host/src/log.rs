//! Where log lines go: standard error, as text or as one JSON object a line.
//!
//! Owns the process's one subscriber, and the thread that writes. Everybody else only uses
//! `tracing`'s macros.
//!
//! # Invariants
//! - No line blocks whoever writes it, and no error of the log ends anything: lines wait in a queue
//!   (`lines`), and what does not fit is dropped and counted.
//! - Nothing but lines of the host, and what is printed past them (`printed`), goes through here;
//!   data for people and programs goes to standard output.

mod lines;
mod plugins;
mod printed;
mod record;
mod repeats;
mod sink;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    fmt,
    io::{self, Write},
    os::fd::OwnedFd,
    panic::PanicHookInfo,
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use rustix::{io::fcntl_dupfd_cloexec, time::Timespec};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use self::{
    lines::LINES,
    plugins::Gate,
    record::{HEAD, Head, Json, Stamp},
};
pub use self::{
    plugins::{Heard, Levels, Prints, hosts_level, levels_of, set_levels, write_heard},
    record::{Line, Pairs, Span},
    repeats::is_news,
};
use crate::sys::signals::without_signals;

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

/// What a filter may name.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Not understood.
    #[error(
        "`{0}` is not a log filter: write `error`, `warn`, `info`, `debug` or `trace`, or levels \
         by module as in `warn,hotseat=debug`"
    )]
    Filter(String),
    /// Not understood.
    #[error(
        "`{0}` is not a plugin's log levels: write `off`, `error`, `warn`, `info`, `debug` or `trace`, or \
         levels by module as in `warn,sqlx=debug`"
    )]
    Levels(String),
    /// There is one already.
    #[error("this process logs already")]
    Started,
    /// No descriptor or no thread is left.
    #[error("cannot start to log: {0}")]
    System(#[from] io::Error),
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
        let known = |part: &str| {
            let part = part.trim();
            part.contains(['=', '[']) || LEVELS.contains(&part.to_ascii_lowercase().as_str())
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

/// Bounds of the log. As in [`Limits`](crate::config::Limits).
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Lines that wait to be written. Units: bytes.
    pub queue_bytes: usize,
    /// How long the end of the process waits for them.
    pub flush_time: Duration,
    /// Lines about failing requests of one generation that are written within `repeat_time`; of
    /// more only their number is.
    pub repeat_count: usize,
    /// See `repeat_count`.
    pub repeat_time: Duration,
}

/// Milliseconds that a flush may take.
static FLUSH_MS: AtomicU64 = AtomicU64::new(1000);

/// What to log, and how.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Which lines.
    pub filter: Filter,
    /// How they look.
    pub format: LogFormat,
    /// How much of it, and how long.
    pub bounds: Bounds,
}

/// Begins to log, to standard error. Once a process. `who` stands in each line, with the process
/// id: several processes of a host share one standard error.
///
/// # Errors
/// See [`LogError`].
pub fn start(settings: &LogSettings, who: &str) -> Result<(), LogError> {
    let LogSettings { filter: Filter(text), format, bounds } = settings;
    let levels = EnvFilter::try_new(text).map_err(|_| LogError::Filter(text.clone()))?;
    let head = Head { format: *format, who: who.to_owned(), pid: std::process::id() };
    HEAD.set(head).map_err(|_| LogError::Started)?;
    FLUSH_MS.store(bounds.flush_time.as_millis().try_into().unwrap_or(u64::MAX), Relaxed);
    {
        let mut recent = repeats::recent();
        recent.whole_count = bounds.repeat_count as u64;
        recent.window = bounds.repeat_time;
    }
    // A descriptor of its own: what a plugin does to standard error is not done to the log.
    let sink = fcntl_dupfd_cloexec(io::stderr(), 3).map_err(io::Error::from)?;
    without_signals(|| LINES.start(sink, bounds.queue_bytes))?;
    // The feature for colours is not even compiled in.
    let lines = tracing_subscriber::fmt::layer().with_writer(|| Queued).log_internal_errors(false);
    let gated = tracing_subscriber::registry().with(Gate::new(levels));
    match format {
        LogFormat::Text => gated.with(lines.with_timer(Stamp)).try_init(),
        LogFormat::Json => gated.with(lines.event_format(Json)).try_init(),
    }
    .map_err(|_| LogError::Started)?;
    std::panic::set_hook(Box::new(note_panic));
    Ok(())
}

/// From now on whatever this process prints on its standard streams is read by the log: nobody who
/// prints is ever blocked, or ended, by who reads. What standard output was before.
///
/// For a process that runs plugins. Once a process, after [`start`].
///
/// # Errors
/// The system's own: no descriptor or no thread is left.
pub fn take_streams() -> io::Result<OwnedFd> {
    without_signals(printed::take)
}

/// From now on the log goes to `sink`.
pub fn redirect(sink: OwnedFd) {
    LINES.redirect(sink);
}

/// What another process has printed, or logged, becomes lines of this log.
#[derive(Debug, Default)]
pub struct Relay(printed::Text);

impl Relay {
    /// Passes on every line that is whole by now.
    pub fn add(&mut self, piece: &[u8]) {
        self.0.add(piece);
    }

    /// Passes on what is there.
    pub fn finish(&mut self) {
        self.0.finish();
    }
}

/// Waits until every line is written: at most as long as the settings say, and not at all where
/// lines cannot be written at present. To be called before the process ends.
pub fn flush() {
    let until = Instant::now() + Duration::from_millis(FLUSH_MS.load(Relaxed));
    LINES.own_up_at_end();
    // What was printed comes into the queue by itself.
    while printed::unread() > 0 && Instant::now() < until {
        std::thread::park_timeout(LOOK);
    }
    let _ = LINES.settle(until.saturating_duration_since(Instant::now()));
}

/// The same in a signal handler, where the process dies: only looks, and lets the other threads do
/// it.
pub fn flush_in_signal() {
    let looks = FLUSH_MS.load(Relaxed).min(DYING_MS);
    let pause = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    for _ in 0..looks {
        if printed::unread() == 0 && LINES.unwritten() == 0 {
            return;
        }
        let _ = rustix::thread::nanosleep(&pause);
    }
}

/// Before another look.
const LOOK: Duration = Duration::from_millis(1);

/// How long a dying process waits for its log: until then nobody starts another one. Units:
/// milliseconds.
const DYING_MS: u64 = 200;

/// Lines that were dropped, because they were not taken in time.
#[must_use]
pub fn dropped() -> u64 {
    LINES.dropped()
}

/// Lines that are lost if the process becomes another one now: dropped, or not written yet.
#[must_use]
pub fn lost() -> u64 {
    LINES.dropped() + LINES.left()
}

/// A panic of the host, as a line of the log: the standard library would print it, and wait for
/// whoever reads.
fn note_panic(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let text = info.payload().downcast_ref::<&str>().copied();
    let text = text.or_else(|| info.payload().downcast_ref::<String>().map(String::as_str));
    let message = text.unwrap_or("something that is no text");
    let at = info.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
    let backtrace = backtrace.as_ref().map(tracing::field::display);
    tracing::error!(thread, at, backtrace, "panicked: {message}");
    // It ends the process, and nobody else does this before.
    if thread == "main" {
        flush();
    }
}

/// Puts lines into the queue; never fails.
struct Queued;

impl Write for Queued {
    /// Whole lines come in one piece.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        LINES.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
