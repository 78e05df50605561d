//! The cells of a plugin, as it asks for them.
//!
//! Owns the way from an operation of the ABI to the store and back, and what the log says of it.

use hotseat_plugin_api::abi::cell;

use super::{Context, LogTo};
use crate::{
    cells::{CellError, Value, When},
    log,
};

/// Answer, version, bytes: as the ABI has them.
pub(super) type Said = (u32, u64, Vec<u8>);

/// Does what `operation` says. Of one that this host does not know it says so.
pub(super) fn carry_out(
    context: &Context,
    operation: u32,
    key: &[u8],
    expected: u64,
    value: &[u8],
) -> Said {
    let done = |version| (cell::DONE, version, Vec::new());
    let store = &context.services.cells;
    let plugin = &context.plugin;
    // What is no text is no key either.
    let key = String::from_utf8_lossy(key);
    let change = |when, to| store.change(plugin, &key, when, to).map(done);
    let said = match operation {
        cell::GET => store.get(plugin, &key).map(|found| match found {
            Some(Value { version, bytes }) => (cell::DONE, version, bytes),
            None => done(0),
        }),
        cell::SET_IF => change(When::Version(expected), Some(value)),
        cell::SET => change(When::Always, Some(value)),
        cell::REMOVE_IF => change(When::Version(expected), None),
        cell::REMOVE => change(When::Always, None),
        cell::LIST => store.list(plugin).map(|list| {
            let keys: String = list.into_iter().map(|it| it.key + "\n").collect();
            (cell::DONE, 0, keys.into_bytes())
        }),
        other => {
            Err(CellError::Unavailable(format!("this host does not know the operation {other}")))
        }
    };
    said.unwrap_or_else(|error| refused(context, error))
}

/// What is said where the host itself has failed.
pub(super) fn broken() -> Said {
    (cell::FAILED, 0, b"the host has failed at it; its log says more".to_vec())
}

fn refused(context: &Context, error: CellError) -> Said {
    tell(context, &error);
    let text = error.to_string().into_bytes();
    match error {
        CellError::Conflict(Some(Value { version, bytes })) => (cell::CONFLICT, version, bytes),
        CellError::Conflict(None) => (cell::CONFLICT, 0, Vec::new()),
        CellError::Full(_) => (cell::FULL, 0, text),
        CellError::TooLong { .. } => (cell::TOO_LONG, 0, text),
        CellError::BadKey(_) => (cell::BAD_KEY, 0, text),
        CellError::Damaged(_) | CellError::Unavailable(_) => (cell::FAILED, 0, text),
    }
}

/// What the operator has to know: the first times, and then a count.
fn tell(context: &Context, error: &CellError) {
    let what = match error {
        CellError::Full(_) => "a plugin's cells are full",
        CellError::Damaged(_) => "a plugin's cell is damaged",
        CellError::Unavailable(_) => "a plugin cannot reach its cells",
        CellError::Conflict(_) | CellError::TooLong { .. } | CellError::BadKey(_) => return,
    };
    let (plugin, generation) = (context.plugin.as_str(), context.generation.0);
    let speaks = context.log_to == LogTo::Tracing && !hotseat_unload::is_ending();
    if speaks && log::is_news(plugin, generation, what) {
        tracing::warn!(plugin, generation, error = %error, "{what}");
    }
}
