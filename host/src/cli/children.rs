//! The hidden children of a master: one reads the settings, one keeps a copy of a binary.
//!
//! What they find is one line of JSON on standard output; what is wrong goes to standard error.
//! They run in processes of their own so that nothing of a candidate is parsed, loaded or run by
//! the master.

use std::{ffi::OsString, path::Path};

use serde::Serialize;

use super::{
    DONE, FAILED, REFUSED, USAGE, complain_to_master, explain, say, settings::serve_settings,
};
use crate::{
    artifact::binary,
    link::{
        ConfigFile, MEMORY_SCHEMA, PROTO, Settings,
        wire::{Checked, StagedBinary},
    },
};

mod active;
mod carried;
mod room;

/// What a master needs of the settings of `hotseat serve ARGS`, once every plugin that serves has
/// been tried; the first argument is its token.
pub(super) fn settings(arguments: &[OsString]) -> u8 {
    let Some((token, args)) = arguments.split_first() else { return USAGE };
    let found = match serve_settings(args, None) {
        Ok(found) => found,
        Err(error) => return complain_to_master(&error, USAGE),
    };
    let carried = carried::Carried::take();
    if let Err(no_room) = room::look(&found.loaded.config, &carried) {
        return complain_to_master(&no_room, REFUSED);
    }
    if let Err(unfit) = active::try_active(&found.loaded.config, &carried) {
        return complain_to_master(&unfit, REFUSED);
    }
    answer(&Checked {
        token: token.to_string_lossy().into_owned(),
        proto: PROTO,
        memory: MEMORY_SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        settings: Settings::of(&found.loaded),
        file: ConfigFile::read_now(found.file.path, found.file.text),
        warnings: found.loaded.config.warnings(),
    })
}

/// Keeps a copy of a binary: arguments are the file and the folder.
pub(super) fn stage(arguments: &[OsString]) -> u8 {
    let [source, folder] = arguments else { return USAGE };
    match binary::keep(Path::new(source), Path::new(folder)) {
        Ok(kept) => answer(&StagedBinary { path: kept.path, digest: kept.digest.to_string() }),
        Err(error) => complain_to_master(&error, REFUSED),
    }
}

fn answer(found: &impl Serialize) -> u8 {
    match serde_json::to_string(found) {
        Ok(line) => say(&format!("{line}\n"), DONE),
        Err(error) => {
            explain(&error.to_string(), None);
            FAILED
        }
    }
}
