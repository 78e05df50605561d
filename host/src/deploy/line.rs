//! The line of the log that each order ends with: what somebody searches the log for.
//!
//! Every part of it is a field of its own beside the text for people, so that a log in JSON needs no
//! parsing of sentences.

use std::path::Path;

use super::desk::Refusal;
use crate::state::history::Entry;

/// The same fields for both ends.
macro_rules! line {
    ($level:ident, $entry:ident, $path:ident, $($more:tt)*) => {
        tracing::$level!(
            order = $entry.order,
            verb = $entry.verb,
            source = $entry.source,
            path = $path.map(|path| path.display().to_string()),
            plugin = $entry.plugin.as_ref().map(|plugin| plugin.as_str()),
            version = $entry.label.as_ref().map(|label| label.as_str()),
            digest = $entry.digest.as_ref().map(ToString::to_string),
            generation = $entry.generation.map(|it| it.0),
            from = $entry.from.map(|it| it.0),
            outcome = $entry.outcome,
            ms = $entry.ms,
            by_pid = $entry.by.as_ref().map(|by| by.pid),
            by_uid = $entry.by.as_ref().map(|by| by.uid),
            $($more)*
        )
    };
}

/// An order was carried out.
pub(super) fn done(entry: &Entry, path: Option<&Path>) {
    line!(info, entry, path, "{}", entry.text);
}

/// An order was refused: nothing has changed.
pub(super) fn refused(entry: &Entry, path: Option<&Path>, refusal: &Refusal) {
    line!(warn, entry, path, hint = refusal.hint(), "refused: {}", entry.text);
}
