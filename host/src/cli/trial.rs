//! What `hotseat check` does: all that a deploy does before it loads, without a host.
//!
//! Owns a folder of its own for the time of the check. Touches no state and no running host.

use std::{
    fs::Permissions,
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::check::CheckReport;
use crate::{
    artifact::{StageRules, Store, StoreError, VerifyError, stage},
    config::{
        Config,
        plugin::{Secrets, near::is_near, settings_of},
    },
    deploy::{
        candidate::NotWith,
        desk::Refusal,
        tried::{Tried, try_library},
    },
    error::{Coded, Kind},
    ids::{Generation, PluginName, split_file_name},
    plugin::{
        hooks,
        preflight::{Given, Waiting},
    },
};

/// The folder for the private copy cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a folder in `{}`: {source}", .parent.display())]
struct NoFolder {
    parent: PathBuf,
    source: io::Error,
}

impl Coded for NoFolder {
    fn code(&self) -> &'static str {
        "no_temporary_folder"
    }

    fn kind(&self) -> Kind {
        Kind::Host
    }

    fn hint(&self) -> Option<String> {
        Some("set TMPDIR to a folder that you can write to".to_owned())
    }
}

/// A folder that only this user can enter; removed with the value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, NoFolder> {
        let parent = std::env::temp_dir();
        let path = parent.join(format!("hotseat-check-{}", std::process::id()));
        // An existing folder may be somebody else's: it is never taken over.
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        // Said again for what the umask has taken.
        let made =
            made.and_then(|()| std::fs::set_permissions(&path, Permissions::from_mode(0o700)));
        made.map_err(|source| NoFolder { parent, source })?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in a temporary folder is removed by the system some day.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Stages, verifies and preflights the library at `path`.
///
/// # Errors
/// The refusal that a deploy would get.
pub fn run(path: &Path, config: &Config) -> Result<CheckReport, Refusal> {
    let rules = StageRules {
        library_bytes: config.limits.library_bytes,
        trusted_owners: config.trusted_owners.clone(),
        follow_links: config.follow_links,
    };
    let read = stage(path, &rules).map_err(|error| -> Refusal { Arc::new(error) })?;
    let staged = read.verify().map_err(|error: VerifyError| -> Refusal { Arc::new(error) })?;
    let folder = Folder::new().map_err(|error| -> Refusal { Arc::new(error) })?;
    let store =
        Store::open(&folder.0).map_err(|error: StoreError| -> Refusal { Arc::new(error) })?;
    let copy = |bytes: &[u8]| store.private_copy(Generation(0), staged.digest, bytes);
    let version = (staged.plugin.clone(), staged.label.clone());
    let settings = settings_of(&config.plugins, &staged.plugin, &Secrets::new());
    let settings = settings.map_err(|error| -> Refusal { Arc::new(error.of_check()) })?;
    let waiting = Waiting::start(config.limits.static_tls);
    let given = Given { settings: &settings, config, cells: None };
    let tried = try_library(waiting, (&staged.bytes, Some(path)), copy, version, &given);
    let about = mistyped_table(&staged.plugin, config);
    let Tried { verdict, notes, .. } = tried.map_err(|error| -> Refusal {
        Arc::new(NotWith::new(error, about.clone().into_iter().collect()))
    })?;
    let broken = hooks::complaint().map(str::to_owned);
    let notes = staged.notes.into_iter().chain(about).chain(notes).chain(verdict.left_behind());
    let notes = notes.chain(broken).collect();
    Ok(CheckReport {
        plugin: staged.plugin,
        label: staged.label,
        digest: staged.digest,
        preflight: verdict.took,
        unmapped: verdict.unmapped,
        hazards: verdict.hazards,
        notes,
    })
}

/// A word about tables that may be meant for `plugin`, which has none. A host says which tables it gives to
/// nobody; here nothing is loaded, so it is about names that are near, and of no other plugin that is
/// mounted or lies in the folder.
fn mistyped_table(plugin: &PluginName, config: &Config) -> Option<String> {
    if config.plugins.contains_key(plugin) {
        return None;
    }
    let mut others: Vec<_> = config.mounts.iter().map(|mount| mount.plugin.clone()).collect();
    // Without a folder nobody lies there.
    let files = config.plugins_dir.iter().flat_map(std::fs::read_dir).flatten().flatten();
    let names = files.filter_map(|file| split_file_name(file.file_name().to_str()?));
    others.extend(names.map(|(name, _)| name));
    let near = config.plugins.keys().filter(|it| is_near(it.as_str(), plugin.as_str()));
    let near = near.filter(|it| !others.contains(it)).map(|it| format!("[plugin.{it}]"));
    let near: Vec<_> = near.collect();
    (!near.is_empty())
        .then(|| format!("there is no [plugin.{plugin}]; is {} meant for it?", near.join(" or ")))
}
