//! Whether this binary can go on with the plugins of a running host.
//!
//! Owns the question that comes before an upgrade, asked of what the master has open and of the
//! state folder, which is only read: its host has the lock. Each committed version is tried in a preflight child of this binary,
//! straight from where it is kept: a process that ends needs no private copy, which could meet a
//! full disk or a temporary folder from which nothing may be mapped.
//! Invariant: what is accepted here is accepted at the start of a worker with the same settings.

use hotseat_plugin_api::abi::{ABI_MAJOR, ABI_MINOR};

use super::carried::Carried;
use crate::{
    artifact::{
        elf::{self, ElfError, marks},
        store::{self, StoreError},
    },
    cells,
    config::{
        Config,
        plugin::{SecretError, Secrets, settings_of},
    },
    error::{Coded, Kind},
    ids::{Label, PluginName},
    plugin::preflight::{self, Given, PreflightError, PreflightRequest},
    route::{MountTaken, check_mount},
    state::{Manifest, ManifestError, VersionEntry},
    sys::{mount::forbids_running, private::PrivateFile},
};

/// Why an upgrade to this binary would lose something.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    /// What serves cannot be found out.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// One that serves would not.
    #[error(
        "plugin {plugin} {} (generation {}) does not load with this binary: {reason}",
        version.label,
        version.generation
    )]
    Version { plugin: PluginName, version: Box<VersionEntry>, reason: Box<Reason> },
}

/// Why one version would not serve.
#[derive(Debug, thiserror::Error)]
pub(super) enum Reason {
    #[error(transparent)]
    Mount(#[from] MountTaken),
    #[error(transparent)]
    Bytes(#[from] StoreError),
    #[error(transparent)]
    Elf(#[from] ElfError),
    #[error(transparent)]
    Settings(#[from] SecretError),
    #[error("{error}{}", versions(*.abi))]
    Preflight { error: PreflightError, abi: Option<(u16, u16)> },
}

/// Of both sides, where the difference alone does not say them.
fn versions(plugin: Option<(u16, u16)>) -> String {
    plugin.map_or_else(String::new, |(major, minor)| {
        format!(" (built for ABI {major}.{minor}, this binary has {ABI_MAJOR}.{ABI_MINOR})")
    })
}

impl Reason {
    fn coded(&self) -> &dyn Coded {
        match self {
            Self::Mount(error) => error,
            Self::Bytes(error) => error,
            Self::Elf(error) => error,
            Self::Settings(error) => error,
            Self::Preflight { error, .. } => error,
        }
    }
}

impl Coded for Unfit {
    fn code(&self) -> &'static str {
        match self {
            Self::Manifest(error) => error.code(),
            Self::Version { reason, .. } => reason.coded().code(),
        }
    }

    fn kind(&self) -> Kind {
        Kind::Refused
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Manifest(error) => error.hint(),
            Self::Version { plugin, reason, .. } => reason.coded().hint().or_else(|| {
                Some(format!(
                    "load a version that fits both, or take it out with `hotseat unload {plugin}`"
                ))
            }),
        }
    }
}

/// Tries every version that a host with these settings goes on with. Without a manifest: nothing.
///
/// # Errors
/// [`Unfit`], of the first that does not fit.
pub(super) fn try_active(config: &Config, carried: &Carried) -> Result<(), Unfit> {
    let Some(manifest) = Manifest::read(&config.state_dir)? else { return Ok(()) };
    for (plugin, versions) in &manifest.plugins {
        let Some(version) = versions.active() else { continue };
        try_version(config, carried, plugin, version).map_err(|reason| Unfit::Version {
            plugin: plugin.clone(),
            version: Box::new(version.clone()),
            reason: Box::new(reason),
        })?;
    }
    Ok(())
}

fn try_version(
    config: &Config,
    carried: &Carried,
    plugin: &PluginName,
    version: &VersionEntry,
) -> Result<(), Reason> {
    check_mount(&config.mounts, plugin)?;
    // A worker prefers what the master has open, too.
    let (bytes, path) = match carried.find(version.digest) {
        Some(found) => found,
        None => {
            let kept = store::find(&config.state_dir, version.digest)?;
            (kept.bytes, kept.path)
        }
    };
    let facts = match elf::verify(&bytes) {
        // What it says of itself is enough: nothing of it needs to run.
        Err(error @ (ElfError::AbiMismatch { .. } | ElfError::FeatureUnknown { .. })) => {
            return Err(error.into());
        }
        // It was verified when it was deployed, and a start does not do so again.
        facts => facts.ok(),
    };
    let named = (plugin.clone(), version.label.clone());
    // Read anew, as the worker will.
    let settings = settings_of(&config.plugins, plugin, &Secrets::new())?;
    let given = Given { settings: &settings, config, cells: carried.place(cells::CARGO) };
    if unloads_unmarked(&given, &bytes, &named) {
        return Ok(());
    }
    // Where nothing may be run, a worker loads by way of memory; where that fails, it is the loader that
    // says why.
    let memory = forbids_running(&path)
        .and_then(|_| PrivateFile::in_memory("hotseat-trial.so", &bytes).ok())
        .filter(|memory| memory.path().exists());
    let path = memory.as_ref().map_or(path, |memory| memory.path().to_owned());
    let request = PreflightRequest::new(path, named, &given);
    preflight::run(&request).map(drop).map_err(|error| {
        // The other codes of that kind name both versions themselves.
        let layout = error.code() == "layout_mismatch";
        Reason::Preflight { abi: facts.filter(|_| layout).map(|it| it.manifest.abi), error }
    })
}

/// Whether a library that is marked to stay comes through without its marks, as a worker loads it then.
fn unloads_unmarked(given: &Given<'_>, bytes: &[u8], named: &(PluginName, Label)) -> bool {
    let Some(unmarked) = marks::without(bytes) else { return false };
    let memory = PrivateFile::in_memory("hotseat-trial.so", &unmarked.bytes);
    let Ok(memory) = memory.map(|it| it.path().to_owned()) else { return false };
    memory.exists()
        && preflight::run(&PreflightRequest::new(memory, named.clone(), given))
            .is_ok_and(|verdict| verdict.unmapped)
}
