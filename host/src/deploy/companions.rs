//! The libraries that a plugin needs: the ones that lie beside its author's file, and other copies that
//! this process has.
//!
//! A digest names one file, and what boots, goes back or moves to another process is what it names: so
//! nothing is kept of a library beside it. Owns what is said of those, and to whom a copy belongs that is
//! in the way.

use std::{
    fs,
    path::{Path, PathBuf},
};

use hotseat_unload::resolved::{self, Image, OtherCopy, Resolved};

use super::{candidate::CandidateError, pipeline::Pipeline};
use crate::{
    artifact::elf::places::{self, Beside, OnDisk},
    error::{Coded, Kind},
    plugin::library::{LoadError, LoadProblem},
    sys::start::start,
};

/// A plugin would run with another copy than the one that lies beside its file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it has `$ORIGIN` in its path, by which it finds {yours} as `{wanted}`; the host loads a private \
     copy elsewhere, which was given {given}"
)]
pub struct NotTaken {
    wanted: String,
    yours: Box<Image>,
    given: Box<Image>,
}

impl Coded for NotTaken {
    fn code(&self) -> &'static str {
        "companion_not_taken"
    }

    fn kind(&self) -> Kind {
        Kind::Refused
    }

    fn hint(&self) -> Option<String> {
        let folder = Path::new(&self.yours.path).parent().unwrap_or(Path::new("/"));
        Some(places::remedy(folder))
    }
}

/// Holds what the library with content `bytes` was `given` against what lies beside its author's file.
/// Lines about what the host itself has, in whose place nothing can be.
///
/// # Errors
/// The first library of which another copy was taken.
pub(super) fn compare(
    bytes: &[u8],
    author: &Path,
    given: &[Resolved],
) -> Result<Vec<String>, NotTaken> {
    let mut notes = Vec::new();
    let Some(folder) = folder_of(author) else { return Ok(notes) };
    for Beside { wanted, path, first } in places::beside(bytes, &folder) {
        let found = given.iter().find(|it| it.wanted == wanted).map(|it| &it.image);
        let Some(given) = found.filter(|it| first || !is_by_environment(&it.path)) else {
            continue;
        };
        let path = fs::canonicalize(&path).unwrap_or(path);
        if fs::canonicalize(&given.path).is_ok_and(|it| it == path) {
            continue;
        }
        let OnDisk { file, build_id } = OnDisk::of(&path);
        let path = path.display().to_string();
        let yours = Image { path, file, build_id, own: false };
        if yours.is_same(given) {
            continue;
        }
        if !given.own {
            return Err(NotTaken { wanted, yours: yours.into(), given: given.clone().into() });
        }
        notes.push(format!("{yours} is not taken as `{wanted}`: the host needs {given} itself"));
    }
    Ok(notes)
}

/// Lines about what this process began with and a process that begins now has another copy of.
pub(super) fn replaced(given: &[Resolved]) -> Vec<String> {
    let line = |OtherCopy { wanted, tried, here, .. }| {
        format!(
            "it was tried with {tried} as `{wanted}`, where this process began with {here}: \
             `hotseat upgrade` starts one that is up to date"
        )
    };
    resolved::replaced(given).into_iter().map(line).collect()
}

/// Whether the environment of the start has the loader look there.
fn is_by_environment(path: &str) -> bool {
    let list = start().variable("LD_LIBRARY_PATH").unwrap_or_default().to_string_lossy();
    let folder = Path::new(path).parent();
    list.split([':', ';']).any(|it| !it.is_empty() && Some(Path::new(it)) == folder)
}

/// The folder of the author's file, as the loader would know it.
pub(super) fn folder_of(author: &Path) -> Option<PathBuf> {
    start().absolute(author).ok()?.parent().map(Path::to_owned)
}

impl Pipeline {
    /// With the names of what is in a candidate's way.
    pub(super) fn named(&self, mut error: CandidateError) -> CandidateError {
        if let CandidateError::Load(LoadError { problem: LoadProblem::OtherCopy(copies), .. }) =
            &mut error
        {
            let retired = self.workshop.roster.list();
            copies.name_holders(|generation| {
                let active = self.active.values().flatten();
                let active =
                    active.map(|it| (it.version.generation, &it.plugin, &it.version.label));
                let retired = retired.iter().map(|it| (it.generation, &it.plugin, &it.label));
                let found = active.chain(retired).find(|(number, ..)| *number == generation);
                found.map(|(_, plugin, label)| format!("{plugin} {label}"))
            });
        }
        error
    }
}
