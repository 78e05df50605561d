//! The start of a host: what was committed serves again.
//!
//! Every committed version goes through a preflight like any other. One that no longer loads is
//! replaced by the newest kept version of its plugin that does, until the next start or commit; the
//! manifest keeps what was committed, and the record knows what serves instead.
//! Invariant: a plugin whose place belongs to another is left out, never put in its way.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    candidate::{Candidate, CandidateError, Subject, Workshop},
    record::Record,
};
use crate::{
    error::Coded as _,
    ids::{Generation, PluginName},
    route::{Loaded, check_mount},
    state::VersionEntry,
};

/// Loads what was committed. A plugin of which nothing loads stays in the map, without a
/// generation: its mount answers 503. `halted` is asked before each load, `progress` hears of each.
#[must_use]
pub fn load_committed(
    workshop: &Workshop,
    record: &Record,
    halted: impl Fn() -> bool,
    progress: &dyn Fn(&str),
) -> BTreeMap<PluginName, Option<Arc<Loaded>>> {
    let mut booted = BTreeMap::new();
    for (plugin, versions) in record.committed() {
        if halted() {
            break;
        }
        if let Err(taken) = check_mount(&workshop.config.mounts, &plugin) {
            tracing::error!(%plugin, code = taken.code(), error = %taken, "left out at the start");
            record.stand_in(&plugin, None, format!("left out at the start: {taken}"));
            continue;
        }
        let loaded = match load_first(workshop, record, &plugin, &versions, None) {
            Found::Loaded(loaded) => Some(loaded),
            Found::Serves | Found::Nothing => None,
        };
        // Whoever waits for this worker learns from it why something else serves.
        progress(&match (&loaded, record.warned().get(&plugin)) {
            (_, Some(warning)) => format!("{plugin} {warning}"),
            (Some(loaded), None) => format!("{plugin} {} is loaded", loaded.version.label),
            (None, None) => format!("{plugin} does not load"),
        });
        booted.insert(plugin, loaded);
    }
    booted
}

/// What [`load_first`] came to.
pub(super) enum Found {
    /// A new instance.
    Loaded(Arc<Loaded>),
    /// The best that can be had is in traffic already.
    Serves,
    /// Nothing loads.
    Nothing,
}

/// The first of `versions` (the committed one, then what came before it) that loads; `serving` is
/// in traffic and need not be loaded.
pub(super) fn load_first(
    workshop: &Workshop,
    record: &Record,
    plugin: &PluginName,
    versions: &[VersionEntry],
    serving: Option<Generation>,
) -> Found {
    let mut failed = None;
    for version in versions {
        let VersionEntry { generation, label, .. } = version;
        let found = if serving == Some(*generation) {
            Ok(Found::Serves)
        } else {
            load(workshop, plugin, version).map(|loaded| Found::Loaded(Arc::new(loaded)))
        };
        match found {
            Ok(found) => {
                let Some(failed) = failed else {
                    tracing::info!(%plugin, generation = generation.0, %label, "the committed version serves");
                    return found;
                };
                tracing::error!(
                    %plugin, generation = generation.0, %label,
                    "an older version serves, because the committed one does not load"
                );
                let warning = format!("{failed}; serving generation {generation}");
                record.stand_in(plugin, Some(*generation), warning);
                return found;
            }
            Err(error) => {
                tracing::error!(
                    %plugin, generation = generation.0, %label, code = error.code(), %error,
                    "a committed version does not load"
                );
                failed.get_or_insert_with(|| {
                    format!("committed generation {generation} ({label}) does not load: {error}")
                });
            }
        }
    }
    tracing::error!(%plugin, "no kept version loads; its mount answers 503 until one is deployed");
    let failed = failed.unwrap_or_default();
    record.stand_in(plugin, None, format!("{failed}; no other kept version loads"));
    Found::Nothing
}

fn load(
    workshop: &Workshop,
    plugin: &PluginName,
    version: &VersionEntry,
) -> Result<Loaded, CandidateError> {
    let bytes = workshop.store.read(version.digest)?;
    let subject = Subject {
        order: None,
        plugin: plugin.clone(),
        label: version.label.clone(),
        digest: version.digest,
        generation: version.generation,
    };
    let candidate = Candidate { subject, bytes, notes: Vec::new() };
    workshop.load(workshop.preflight(candidate)?)
}
