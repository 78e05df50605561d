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
        plugin::{Secrets, settings_of},
    },
    deploy::{
        desk::Refusal,
        tried::{Tried, try_library},
    },
    error::{Coded, Kind},
    ids::Generation,
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
    let Tried { verdict, notes, .. } = tried.map_err(|error| -> Refusal { Arc::new(error) })?;
    let broken = hooks::complaint().map(str::to_owned);
    let notes = staged.notes.into_iter().chain(notes).chain(verdict.left_behind());
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
