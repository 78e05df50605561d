//! What is in traffic, with its bytes, for whoever leads the worker.

use std::collections::BTreeMap;

use super::{Carried, InTraffic};
use crate::{
    artifact::Store,
    deploy::{record::Record, settings::Settings},
    route::Table,
};

/// Everything that whoever leads the worker holds for the next one.
pub(super) fn of(table: &Table, store: &Store, record: &Record, settings: &Settings) -> InTraffic {
    let (manifest, standing) = (record.manifest(), settings.standing());
    InTraffic { carried: carried(table, store), manifest, standing }
}

/// Every plugin that serves, once.
fn carried(table: &Table, store: &Store) -> Vec<Carried> {
    let serving = table.mounts().iter().filter_map(|mount| mount.loaded.as_ref());
    let serving: BTreeMap<_, _> = serving.map(|it| (&it.plugin, &it.version)).collect();
    let carried = serving.into_iter().map(|(plugin, version)| {
        let bytes = store.open_artifact(version.digest).inspect_err(|error| {
            tracing::warn!(%plugin, %error, "its artifact cannot be handed on");
        });
        Carried {
            plugin: plugin.clone(),
            generation: version.generation,
            digest: version.digest,
            bytes: bytes.ok(),
        }
    });
    carried.collect()
}
