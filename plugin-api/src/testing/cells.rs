//! The values that the host keeps for the plugin.
#![expect(unsafe_code, reason = "plays the host's side of the ABI")]

use std::{collections::BTreeMap, sync::Mutex};

use super::world::{World, lock};
use crate::{
    abi::{
        Str,
        cell::{self, CellValue},
    },
    owned::OwnedBytes,
};

/// The host's bounds as they are unless the operator says otherwise. Units: bytes.
const VALUE_BYTES: usize = 1 << 20;
/// Units: bytes, keys and values of a plugin.
const ALL_BYTES: usize = 16 << 20;
/// Values of a plugin.
const COUNT: usize = 1000;
/// Units: bytes.
const KEY_BYTES: usize = 128;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cells(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    version: u64,
    values: BTreeMap<String, (u64, Vec<u8>)>,
}

/// Answer, version, bytes: as the ABI has them.
type Said = (u32, u64, Vec<u8>);

impl Cells {
    pub(super) fn new(preset: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let mut state = State::default();
        for (key, value) in preset {
            state.version += 1;
            state.values.insert(key, (state.version, value));
        }
        Self(Mutex::new(state))
    }

    pub(super) fn all(&self) -> BTreeMap<String, Vec<u8>> {
        let state = lock(&self.0);
        state.values.iter().map(|(key, (_, value))| (key.clone(), value.clone())).collect()
    }

    pub(super) fn clear(&self) {
        lock(&self.0).values.clear();
    }

    pub(super) fn set(&self, key: &str, value: &[u8]) -> Result<(), String> {
        let (code, _, text) = self.carry_out(cell::SET, key, 0, value);
        if code == cell::DONE { Ok(()) } else { Err(String::from_utf8_lossy(&text).into_owned()) }
    }

    fn carry_out(&self, operation: u32, key: &str, expected: u64, value: &[u8]) -> Said {
        let mut state = lock(&self.0);
        if operation == cell::LIST {
            let keys: String = state.values.keys().map(|key| format!("{key}\n")).collect();
            return (cell::DONE, 0, keys.into_bytes());
        }
        if key.is_empty() || key.len() > KEY_BYTES || key.contains(|c: char| c.is_control()) {
            let text =
                format!("`{key}` is no key: 1 to {KEY_BYTES} bytes without control characters");
            return (cell::BAD_KEY, 0, text.into_bytes());
        }
        let there = state.values.get(key).cloned();
        let version = there.as_ref().map_or(0, |(version, _)| *version);
        let conditional = matches!(operation, cell::SET_IF | cell::REMOVE_IF);
        if conditional && version != expected {
            return (cell::CONFLICT, version, there.map(|(_, value)| value).unwrap_or_default());
        }
        match operation {
            cell::GET => (cell::DONE, version, there.map(|(_, value)| value).unwrap_or_default()),
            cell::SET | cell::SET_IF => state.set(key, value),
            cell::REMOVE | cell::REMOVE_IF => {
                if state.values.remove(key).is_some() {
                    state.version += 1;
                }
                (cell::DONE, 0, Vec::new())
            }
            other => {
                let text = format!("this host does not know the operation {other}");
                (cell::FAILED, 0, text.into_bytes())
            }
        }
    }
}

impl State {
    fn set(&mut self, key: &str, value: &[u8]) -> Said {
        let refused = |code, text: String| (code, 0, text.into_bytes());
        if value.len() > VALUE_BYTES {
            let len = value.len();
            let text = format!("a value of {len} bytes: {VALUE_BYTES} are allowed (`cell_bytes`)");
            return refused(cell::TOO_LONG, text);
        }
        let others = self.values.iter().filter(|(other, _)| *other != key);
        let (count, bytes) = others.fold((0, 0), |(count, bytes), (key, (_, value))| {
            (count + 1, bytes + key.len() + value.len())
        });
        if count >= COUNT {
            return refused(cell::FULL, format!("the plugin has {COUNT} values (`cells_count`)"));
        }
        if bytes + key.len() + value.len() > ALL_BYTES {
            let text = format!("the plugin's values may come to {ALL_BYTES} bytes (`cells_bytes`)");
            return refused(cell::FULL, text);
        }
        self.version += 1;
        self.values.insert(key.to_owned(), (self.version, value.to_owned()));
        (cell::DONE, self.version, Vec::new())
    }
}

/// [`abi::HostVt::cell`](crate::abi::HostVt::cell).
pub(super) unsafe extern "C" fn cell(
    host: *const (),
    operation: u32,
    key: Str,
    expected: u64,
    value: Str,
    out: *mut CellValue,
) -> u32 {
    // SAFETY: the data of our table.
    let world = unsafe { World::of(host) };
    // SAFETY: lent for the call.
    let (key, value) = unsafe { (key.bytes(), value.bytes()) };
    let key = String::from_utf8_lossy(key);
    let (code, version, bytes) = world.cells.carry_out(operation, &key, expected, value);
    let bytes = if bytes.is_empty() { OwnedBytes::EMPTY } else { bytes.into() };
    // SAFETY: room for a value.
    unsafe { out.write(CellValue { version, bytes: bytes.into_abi() }) };
    code
}
