//! The start of a host: what was committed serves again.
//!
//! Every committed version goes through a preflight like any other. One that no longer loads is
//! replaced by the newest kept version of its plugin that does, until the next start or commit; the
//! manifest keeps what was committed, and the record knows what serves instead. A version keeps its
//! generation number: that names a load that was acknowledged, and to load the same bytes again
//! acknowledges nothing new.
//! Invariant: a plugin whose place belongs to another is left out, never put in its way.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Withdrawal,
    candidate::{Candidate, CandidateError, Subject, Workshop},
    record::Record,
};
use crate::{
    error::Coded as _,
    ids::{Generation, PluginName, Version},
    log,
    plugin::library::LoadError,
    route::{Loaded, check_mount},
    state::VersionEntry,
    sys::{
        fault::{self, Loading},
        process::exit_now,
    },
};

/// Loads what was committed. A plugin of which nothing loads stays in the map, without a
/// generation: its mount answers 503. `halted` is asked before each load, `progress` hears of each,
/// `withdraw` takes a version that uses up its time out of what boots, where that may be done.
#[must_use]
pub fn load_committed(
    workshop: &Workshop,
    record: &Record,
    halted: impl Fn() -> bool,
    progress: &dyn Fn(&str),
    withdraw: Option<Withdraw<'_>>,
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
        let loaded = match load_first(workshop, record, &plugin, &versions, (None, withdraw)) {
            Found::Loaded(loaded) => Some(loaded),
            Found::Serves | Found::Nothing | Found::Held(_) => None,
        };
        // Whoever waits for this worker learns from it why something else serves.
        progress(&match (&loaded, record.warned().get(&plugin)) {
            (_, Some(warning)) => format!("{plugin} {warning}"),
            (Some(loaded), None) => format!("{plugin} {} is loaded", loaded.version.label),
            (None, None) => format!("{plugin} does not load"),
        });
        booted.insert(plugin, loaded);
    }
    for plugin in record.without_a_version() {
        if check_mount(&workshop.config.mounts, &plugin).is_ok() {
            tracing::error!(%plugin, "all that was committed of it was withdrawn: it answers 503");
            booted.insert(plugin, None);
        }
    }
    booted
}

/// Takes a version out of what boots.
pub(super) type Withdraw<'a> = &'a dyn Fn(&Withdrawal);

/// What [`load_first`] came to.
pub(super) enum Found {
    /// A new instance.
    Loaded(Arc<Loaded>),
    /// The best that can be had is in traffic already.
    Serves,
    /// Nothing loads.
    Nothing,
    /// This one holds the loader: nothing can be loaded into this process any more.
    Held(Generation),
}

/// The first of `versions` (the committed one, then what came before it) that loads; `serving` is
/// in traffic and need not be loaded.
pub(super) fn load_first(
    workshop: &Workshop,
    record: &Record,
    plugin: &PluginName,
    versions: &[VersionEntry],
    (serving, withdraw): (Option<Generation>, Option<Withdraw<'_>>),
) -> Found {
    let mut failed = None;
    for version in versions {
        let VersionEntry { generation, label, .. } = version;
        let found = if serving == Some(*generation) {
            Ok(Found::Serves)
        } else if let Some(text) = record.avoid(plugin, *generation) {
            tracing::error!(%plugin, generation = generation.0, %label, "{text}");
            continue;
        } else {
            load(workshop, plugin, version).map(|loaded| Found::Loaded(Arc::new(loaded)))
        };
        if let Err(CandidateError::Load(error)) = &found
            && error.holds_the_loader()
        {
            forsake(plugin, version, error);
            if withdraw.is_none() {
                return Found::Held(*generation);
            }
        }
        // Everybody else waits for it, now and at each start to come.
        if let (Err(CandidateError::Load(error)), Some(withdraw)) = (&found, withdraw)
            && failed.is_none()
            && error.is_late()
        {
            let why = format!("it has kept a start waiting ({error})");
            withdraw(&Withdrawal { generation: *generation, why, content: None });
            return match record.committed().remove(plugin) {
                Some(left) if left != versions => {
                    load_first(workshop, record, plugin, &left, (serving, Some(withdraw)))
                }
                _ => Found::Nothing,
            };
        }
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

/// Nothing gets past the loader in this process any more, so nobody else would come up: it ends, and
/// leaves word of who is to stand aside at the next start. One that serves already goes on, as does
/// one without anybody to leave word to.
fn forsake(plugin: &PluginName, version: &VersionEntry, error: &LoadError) {
    let end = fault::End::Call(fault::DLOPEN, 0);
    // The note tells the content as well: the number may be another one at the next start.
    let VersionEntry { generation, ref label, digest, .. } = *version;
    let loading = Version { generation, label: label.clone(), digest };
    let _loading = Loading::begin(plugin, &loading, None);
    if fault::has_served() || !fault::leave(end, version.generation.0) {
        return;
    }
    tracing::error!(
        %plugin, generation = generation.0, %label, %error,
        "{end}: a committed version does not load, and nothing else can; the process ends, and the \
         next one leaves it aside"
    );
    log::flush();
    exit_now(1)
}

fn load(
    workshop: &Workshop,
    plugin: &PluginName,
    version: &VersionEntry,
) -> Result<Loaded, CandidateError> {
    let waiting = workshop.waiting();
    // It goes on with what it was given before.
    let settings = workshop.settings.kept(plugin)?;
    let bytes = workshop.store.read(version.digest)?;
    let subject = Subject {
        order: None,
        verb: None,
        plugin: plugin.clone(),
        label: version.label.clone(),
        digest: version.digest,
        generation: version.generation,
    };
    let candidate = Candidate { subject, bytes, author: None, notes: Vec::new(), settings };
    workshop.load(workshop.preflight_again(waiting, candidate, true)?)
}
