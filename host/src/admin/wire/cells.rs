//! Cells as JSON.
//!
//! Owns the keys below `/v1/cells`.

use serde::Serialize;

use crate::{
    cells::{Listed, Value},
    status::CellsStatus,
};

/// `/v1/cells`.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Cells {
    cells: Vec<KeptCells>,
}

/// What one plugin has.
#[derive(Debug, Serialize)]
pub(super) struct KeptCells {
    plugin: String,
    count: u64,
    bytes: u64,
    on_disk: bool,
}

impl KeptCells {
    pub(super) fn new(kept: &CellsStatus) -> Self {
        let CellsStatus { plugin, count, bytes, on_disk } = kept;
        Self { plugin: plugin.to_string(), count: *count, bytes: *bytes, on_disk: *on_disk }
    }
}

impl Cells {
    pub(in crate::admin) fn new(cells: &[CellsStatus]) -> Self {
        Self { cells: cells.iter().map(KeptCells::new).collect() }
    }
}

/// `/v1/cells/PLUGIN`.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Keys<'a> {
    plugin: &'a str,
    keys: Vec<Key<'a>>,
}

#[derive(Debug, Serialize)]
struct Key<'a> {
    key: &'a str,
    version: Option<u64>,
    bytes: u64,
}

impl<'a> Keys<'a> {
    pub(in crate::admin) fn new(plugin: &'a str, list: &'a [Listed]) -> Self {
        let key = |it: &'a Listed| Key {
            key: &it.key,
            // A damaged one has none.
            version: (it.version != 0).then_some(it.version),
            bytes: it.bytes,
        };
        Self { plugin, keys: list.iter().map(key).collect() }
    }
}

/// `/v1/cells/PLUGIN/KEY`. Of `text` and `hex` one is there.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Cell<'a> {
    plugin: &'a str,
    key: &'a str,
    version: u64,
    bytes: usize,
    text: Option<&'a str>,
    hex: Option<String>,
}

impl<'a> Cell<'a> {
    pub(in crate::admin) fn new(plugin: &'a str, key: &'a str, value: &'a Value) -> Self {
        let text = std::str::from_utf8(&value.bytes).ok();
        let hex = || value.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let hex = text.is_none().then(hex);
        Self { plugin, key, version: value.version, bytes: value.bytes.len(), text, hex }
    }
}

/// What was removed.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Removed<'a> {
    plugin: &'a str,
    removed: usize,
    text: &'a str,
}

impl<'a> Removed<'a> {
    pub(in crate::admin) fn new(plugin: &'a str, removed: usize, text: &'a str) -> Self {
        Self { plugin, removed, text }
    }
}
