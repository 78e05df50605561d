//! A plugin's log lines as events of the host's log, or as plain lines in a preflight child.
//!
//! A plugin may log from a destructor at its thread's end, when the log's own thread-locals are
//! gone: such lines are plain as well.

use std::io::Write as _;

use hotseat_plugin_api::abi::level;
use tracing::{Level, level_filters::LevelFilter};

use hotseat_unload::is_ending;

use super::{Context, LogTo, PanicReport};
use crate::log;

/// Whether a line of `level` would be written. Levels that this build does not know are not.
pub(super) fn enabled(context: &Context, level: u32) -> bool {
    if context.log_to == LogTo::Stderr {
        return (level::ERROR..=level::INFO).contains(&level);
    }
    macro_rules! enabled {
        ($level:ident) => {
            if is_ending() {
                Level::$level <= LevelFilter::current()
            } else {
                tracing::enabled!(target: "plugin", Level::$level)
            }
        };
    }
    match level {
        level::ERROR => enabled!(ERROR),
        level::WARN => enabled!(WARN),
        level::INFO => enabled!(INFO),
        level::DEBUG => enabled!(DEBUG),
        level::TRACE => enabled!(TRACE),
        _ => false,
    }
}

/// Whether the host's log cannot be used here, or not any more.
fn is_plain(context: &Context) -> bool {
    context.log_to == LogTo::Stderr || is_ending()
}

/// Writes one whole line on stderr. Nobody is told when even that is gone.
fn plain(context: &Context, text: &str) {
    let line = match context.log_to {
        LogTo::Stderr => format!("{text}\n"),
        LogTo::Tracing => {
            format!("plugin {} generation {}: {text}\n", context.plugin, context.generation.0)
        }
    };
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Writes one line. The plugin's own fields are one field of the event.
pub(super) fn write(
    context: &Context,
    level: u32,
    module: &str,
    message: &str,
    fields: &[(String, String)],
) {
    let joined = if is_plain(context) { log::pairs(fields) } else { log::fields(fields) };
    if is_plain(context) {
        let space = if joined.is_empty() { "" } else { " " };
        return plain(context, &format!("{module}: {message}{space}{joined}"));
    }
    macro_rules! event {
        ($level:ident) => {
            tracing::event!(
                target: "plugin",
                Level::$level,
                plugin = context.plugin.as_str(),
                generation = context.generation.0,
                module,
                fields = (!joined.is_empty()).then_some(joined.as_str()),
                "{message}"
            )
        };
    }
    match level {
        level::ERROR => event!(ERROR),
        level::WARN => event!(WARN),
        level::INFO => event!(INFO),
        level::DEBUG => event!(DEBUG),
        _ => event!(TRACE),
    }
}

/// Writes what a panic hook reported.
pub(super) fn panic(context: &Context, report: &PanicReport) {
    let PanicReport { message, location } = report;
    let hint = report.hint();
    if is_plain(context) {
        let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
        return plain(context, &format!("panicked at {location}: {message}{hint}"));
    }
    if log::is_news(context.plugin.as_str(), context.generation.0, "plugin panicked") {
        tracing::error!(
            target: "plugin",
            plugin = context.plugin.as_str(),
            generation = context.generation.0,
            panic = message,
            location,
            hint,
            "plugin panicked"
        );
    }
}
