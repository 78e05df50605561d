//! A plugin's log lines as events of the host's log, or as plain lines in a preflight child.
//!
//! A plugin may log from a destructor at its thread's end, when the log's own thread-locals are
//! gone: such lines are plain as well.

use std::io::Write as _;

use hotseat_plugin_api::abi::{TOLD_BEFORE, level};
use tracing::Level;

use hotseat_unload::is_ending;

use super::{Context, LogTo, PanicReport};
use crate::log::{self, Line};

/// Levels that this build does not know are not written.
fn known(level: u32) -> Option<Level> {
    match level {
        level::ERROR => Some(Level::ERROR),
        level::WARN => Some(Level::WARN),
        level::INFO => Some(Level::INFO),
        level::DEBUG => Some(Level::DEBUG),
        level::TRACE => Some(Level::TRACE),
        _ => None,
    }
}

/// Whether a line of `level` from `module` would be written; `None`: from whichever it may come.
pub(super) fn enabled(context: &Context, level: u32, module: Option<&str>) -> bool {
    known(level).is_some_and(|level| is_heard(context, level, module))
}

fn is_heard(context: &Context, level: Level, module: Option<&str>) -> bool {
    if context.log_to == LogTo::Stderr {
        return level <= Level::INFO;
    }
    let own = match module {
        Some(module) => context.heard.is_heard(level, module),
        None => context.heard.may_be_heard(level),
    };
    own.unwrap_or_else(|| {
        macro_rules! enabled {
            ($level:ident) => {
                tracing::enabled!(target: "plugin", Level::$level)
            };
        }
        if is_ending() {
            return level <= log::hosts_level();
        }
        match level {
            Level::ERROR => enabled!(ERROR),
            Level::WARN => enabled!(WARN),
            Level::INFO => enabled!(INFO),
            Level::DEBUG => enabled!(DEBUG),
            Level::TRACE => enabled!(TRACE),
        }
    })
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

/// Writes one line that was asked for by [`enabled`]. `request` is 0 where it belongs to none.
pub(super) fn write(context: &Context, level: u32, request: u64, module: &str, line: &Line) {
    let Some(level) = known(level) else { return };
    if is_plain(context) {
        return plain(context, &format!("{module}: {}", line.text()));
    }
    let request = (request != 0).then_some(request);
    let (message, fields, spans) = (line.message(), line.fields(), line.spans());
    macro_rules! event {
        ($level:ident) => {
            tracing::event!(
                target: "plugin",
                Level::$level,
                plugin = context.plugin.as_str(),
                generation = context.generation.0,
                request,
                module,
                fields,
                spans,
                "{message}"
            )
        };
    }
    log::write_heard(|| match level {
        Level::ERROR => event!(ERROR),
        Level::WARN => event!(WARN),
        Level::INFO => event!(INFO),
        Level::DEBUG => event!(DEBUG),
        Level::TRACE => event!(TRACE),
    });
}

/// Writes what a panic hook reported.
pub(super) fn panic(context: &Context, report: &PanicReport) {
    let PanicReport { message, location } = report;
    if location == TOLD_BEFORE {
        return;
    }
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
