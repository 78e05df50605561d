//! What all clients and the driver know together, and what of it must be true of each answer.
//!
//! Owns the promises: who may answer a request, what a counter may be, and which of them are broken.
//! Knows nothing of connections.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt::Display,
    sync::{Mutex, MutexGuard, PoisonError},
};

use http::{HeaderMap, StatusCode};

/// Broken promises that are told.
const TOLD: usize = 40;

/// Who gave an answer, as its head says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) plugin: &'static str,
    pub(super) pid: u32,
    pub(super) generation: u64,
    pub(super) label: u64,
    /// Which of the two libraries; one that does not say has none.
    pub(super) version: Option<u64>,
    /// Which reading of the settings.
    pub(super) note: Option<u64>,
    pub(super) id: u64,
}

impl Mark {
    /// Reads the head; `nonce` is what the request had.
    pub(super) fn of(
        plugin: &'static str,
        headers: &HeaderMap,
        nonce: &str,
    ) -> Result<Self, String> {
        let text = |name: &str| headers.get(name).and_then(|it| it.to_str().ok());
        if text("x-nonce") != Some(nonce) {
            return Err(format!("another request's answer, not `{nonce}`: {headers:?}"));
        }
        let number = |name: &str| text(name).and_then(|it| it.parse::<u64>().ok());
        let needed = |name: &str| number(name).ok_or(format!("no `{name}`: {headers:?}"));
        Ok(Self {
            plugin,
            pid: u32::try_from(needed("x-pid")?).map_err(|error| error.to_string())?,
            generation: needed("x-generation")?,
            label: needed("x-label")?,
            version: number("x-version"),
            note: number("x-note"),
            id: needed("x-id")?,
        })
    }
}

/// The least that a request may meet, by plugin and process: generation and note.
pub(super) type Floor = BTreeMap<(&'static str, u32), (u64, u64)>;

/// A number in a cell that only grows.
#[derive(Clone, Debug, Default)]
pub(super) struct Counter {
    /// Requests that may have counted.
    pub(super) tried: u64,
    /// Those that were told so.
    pub(super) acknowledged: u64,
    /// What they were told: nobody is told the same.
    values: HashSet<u64>,
    highest: u64,
}

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As it must.
    Good,
    /// The client has broken it off.
    Aborted,
    /// The connection was at its end, and nothing was sent.
    Unsent,
    /// A promise is broken.
    Failed,
}

#[derive(Debug, Default)]
struct Inside {
    floor: Floor,
    /// The label of each generation of a plugin.
    labels: BTreeMap<(&'static str, u64), u64>,
    ids: HashSet<(u32, u64)>,
    counters: BTreeMap<String, Counter>,
    ends: BTreeMap<&'static str, [u64; 4]>,
    broken: Vec<String>,
    broken_count: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Truth {
    inside: Mutex<Inside>,
}

impl Truth {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A promise is broken.
    pub(super) fn breaks(&self, text: impl Display) {
        let mut inside = self.lock();
        inside.broken_count += 1;
        if inside.broken.len() < TOLD {
            inside.broken.push(text.to_string());
        }
    }

    /// How many promises were broken, and the first of them in words.
    pub(super) fn broken(&self) -> (u64, Vec<String>) {
        let inside = self.lock();
        (inside.broken_count, inside.broken.clone())
    }

    /// An act of a kind has ended.
    pub(super) fn ends(&self, kind: &'static str, end: End) {
        self.lock().ends.entry(kind).or_default()[end as usize] += 1;
    }

    /// All kinds: good, aborted, unsent, failed.
    pub(super) fn all_ends(&self) -> BTreeMap<&'static str, [u64; 4]> {
        self.lock().ends.clone()
    }

    /// What a request that begins now may meet.
    pub(super) fn floor(&self) -> Floor {
        self.lock().floor.clone()
    }

    /// From now on nobody meets less.
    pub(super) fn raise(&self, plugin: &'static str, pid: u32, generation: u64, note: u64) {
        let mut inside = self.lock();
        let floor = inside.floor.entry((plugin, pid)).or_default();
        *floor = (floor.0.max(generation), floor.1.max(note));
    }

    /// An answer's head has come to a request that began when `floor` was.
    pub(super) fn meets(&self, floor: &Floor, mark: &Mark) -> Result<(), String> {
        let Mark { plugin, pid, generation, label, version, note, id } = mark.clone();
        if version.is_some_and(|version| version != version_of(label)) {
            return Err(format!("label {label} is not version {version:?}"));
        }
        let least = floor.get(&(plugin, pid)).copied().unwrap_or_default();
        if generation < least.0 || note.is_some_and(|note| note < least.1) {
            return Err(format!("{mark:?} came after {least:?}"));
        }
        let known = *self.lock().labels.entry((plugin, generation)).or_insert(label);
        if known != label {
            return Err(format!("generation {generation} has the labels {known} and {label}"));
        }
        if !self.lock().ids.insert((pid, id)) {
            return Err(format!("process {pid} has given the number {id} to two requests"));
        }
        self.raise(plugin, pid, generation, note.unwrap_or(0));
        Ok(())
    }

    /// A request that may count in `key` begins; the highest that anybody was told before.
    pub(super) fn tries(&self, key: &str) -> u64 {
        let mut inside = self.lock();
        let counter = inside.counters.entry(key.to_owned()).or_default();
        counter.tried += 1;
        counter.highest
    }

    /// It has counted, and was told `value`; others were told `before` when it began.
    pub(super) fn counted(&self, key: &str, before: u64, value: u64) -> Result<(), String> {
        let mut inside = self.lock();
        let counter = inside.counters.entry(key.to_owned()).or_default();
        counter.acknowledged += 1;
        counter.highest = counter.highest.max(value);
        if value <= before {
            return Err(format!("`{key}` was {before} before, and is {value}"));
        }
        if !counter.values.insert(value) {
            return Err(format!("two were told that `{key}` is {value}"));
        }
        Ok(())
    }

    /// It has counted, and was not told the value.
    pub(super) fn counted_blindly(&self, key: &str) {
        self.lock().counters.entry(key.to_owned()).or_default().acknowledged += 1;
    }

    /// Those in which somebody is known to have counted.
    pub(super) fn keys(&self) -> Vec<String> {
        let inside = self.lock();
        let counted = inside.counters.iter().filter(|(_, counter)| counter.acknowledged > 0);
        counted.map(|(key, _)| key.clone()).collect()
    }

    /// All counters.
    pub(super) fn counters(&self) -> BTreeMap<String, Counter> {
        self.lock().counters.clone()
    }
}

/// Odd labels are the first library, even ones the second.
pub(super) fn version_of(label: u64) -> u64 {
    2 - label % 2
}

/// A list in a cell, to which one client appends.
#[derive(Debug, Default)]
pub(super) struct List {
    /// What may be in it.
    tried: BTreeSet<u64>,
    /// What must be in it.
    acknowledged: BTreeSet<u64>,
    /// What was removed, and may not come back.
    gone: BTreeSet<u64>,
}

impl List {
    /// An entry of this number is about to be appended; what must be there already.
    pub(super) fn tries(&mut self, entry: u64) -> BTreeSet<u64> {
        self.tried.insert(entry);
        self.acknowledged.clone()
    }

    /// The answer to it; how long the list is.
    pub(super) fn appended(
        &mut self,
        entry: u64,
        before: &BTreeSet<u64>,
        list: &[u64],
    ) -> Result<usize, String> {
        self.acknowledged.insert(entry);
        let there: BTreeSet<u64> = list.iter().copied().collect();
        if list.last() != Some(&entry) || there.len() != list.len() {
            return Err(format!("{entry} was appended to {list:?}"));
        }
        if let Some(lost) = before.iter().find(|it| !there.contains(it)) {
            return Err(format!("{lost} is lost: {list:?}"));
        }
        if let Some(odd) = there.iter().find(|it| !self.tried.contains(it)) {
            return Err(format!("nobody has appended {odd}: {list:?}"));
        }
        if let Some(odd) = there.iter().find(|it| self.gone.contains(it)) {
            return Err(format!("{odd} was removed: {list:?}"));
        }
        Ok(list.len())
    }

    /// It was removed.
    pub(super) fn removed(&mut self) {
        self.gone.append(&mut self.acknowledged);
    }
}

/// A status that must be.
pub(super) fn expect_status(status: StatusCode, text: &[u8]) -> Result<(), String> {
    if status == StatusCode::OK {
        return Ok(());
    }
    let text: String = String::from_utf8_lossy(text).chars().take(200).collect();
    Err(format!("{status} {text}"))
}
