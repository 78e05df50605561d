//! What a library is called: its plugin's name and its label.
//!
//! Owns the rule: a file name `lib<NAME>_v<LABEL>.so` counts before the manifest; in the manifest,
//! what the author gave counts before the crate's name, and that before the package's.

use std::path::{Path, PathBuf};

use super::{manifest::PluginManifest, quoted, shown};
use crate::{
    error::{Coded, Kind},
    ids::{self, Label, PluginName},
};

/// What a library is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The plugin it belongs to.
    pub plugin: PluginName,
    /// Its version label.
    pub label: Label,
    /// A line for the answer where the file name and the manifest differ.
    pub notes: Vec<String>,
}

/// Neither the file name nor the manifest gives a name and a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` has no plugin name: {reason}", shown(.path))]
pub struct NameError {
    /// As it was given.
    pub path: PathBuf,
    /// What the manifest says instead.
    pub reason: String,
}

impl Coded for NameError {
    fn code(&self) -> &'static str {
        "no_name"
    }

    fn kind(&self) -> Kind {
        Kind::Refused
    }

    fn hint(&self) -> Option<String> {
        let folder = self.path.parent().unwrap_or_else(|| Path::new(""));
        Some(format!(
            "name the file like `{}`: lib, a name of a-z, 0-9, `_` and `-`, `_v`, a version",
            quoted(&folder.join("libhandler_v2.so"))
        ))
    }
}

/// Finds name and label of the library at `path`.
///
/// # Errors
/// [`NameError`] when neither source gives valid ones.
pub fn derive(path: &Path, manifest: &PluginManifest) -> Result<Named, NameError> {
    let inside = from_manifest(manifest);
    let Some((plugin, label)) = from_file_name(path) else {
        let (plugin, label) =
            inside.map_err(|reason| NameError { path: path.to_owned(), reason })?;
        return Ok(Named { plugin, label, notes: Vec::new() });
    };
    let notes = match inside {
        Ok((p, l)) if (&p, &l) != (&plugin, &label) => vec![format!(
            "the file name says {plugin} {label}, the manifest inside says {p} {l}: the file name \
             counts"
        )],
        _ => Vec::new(),
    };
    Ok(Named { plugin, label, notes })
}

/// Name and label by the file name alone.
#[must_use]
pub fn from_file_name(path: &Path) -> Option<(PluginName, Label)> {
    ids::split_file_name(path.file_name()?.to_str()?)
}

fn from_manifest(manifest: &PluginManifest) -> Result<(PluginName, Label), String> {
    let split = ids::split_versioned(&manifest.crate_name);
    let plugin = match &split {
        _ if !manifest.name.is_empty() => manifest.name.parse(),
        Some((plugin, _)) => Ok(plugin.clone()),
        None => manifest.package.parse(),
    };
    let label = match split {
        _ if !manifest.label.is_empty() => manifest.label.parse(),
        Some((_, label)) => Ok(label),
        None => manifest.version.parse(),
    };
    Ok((plugin.map_err(|e| e.to_string())?, label.map_err(|e| e.to_string())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(crate_name: &str, package: &str, name: &str, label: &str) -> PluginManifest {
        let text = format!(
            "hotseat-manifest 1\nabi=1.0\nrequires=0x0000000000000001\ncrate={crate_name}\n\
             package={package}\nversion=0.3.1\nname={name}\nlabel={label}\npanic=unwind\n\0"
        );
        PluginManifest::parse(text.as_bytes()).unwrap()
    }

    #[track_caller]
    fn check(file: &str, manifest: &PluginManifest, plugin: &str, label: &str, notes: usize) {
        let named = derive(Path::new(file), manifest).unwrap();
        assert_eq!((named.plugin.as_str(), named.label.as_str()), (plugin, label));
        assert_eq!(named.notes.len(), notes, "{:?}", named.notes);
    }

    #[test]
    fn the_file_name_counts_first_and_differences_are_said() {
        let crate_v2 = manifest("handler_v2", "greeting", "", "");
        check("/x/libhandler_v2.so", &crate_v2, "handler", "2", 0);
        check("libhandler_v3.so", &crate_v2, "handler", "3", 1);
        check("libother_v2.so", &crate_v2, "other", "2", 1);
        let nameless = manifest("", "Not A Name", "", "");
        check("libother_v2.so", &nameless, "other", "2", 0);
    }

    #[test]
    fn the_manifest_names_what_the_file_name_does_not() {
        check("libx.so", &manifest("handler_v2", "greeting", "", ""), "handler", "2", 0);
        check("libx.so", &manifest("greeting", "greeting", "", ""), "greeting", "0.3.1", 0);
        check("libx.so", &manifest("handler_v2", "p", "given", "9"), "given", "9", 0);
        check("libx.so", &manifest("handler_v2", "p", "given", ""), "given", "2", 0);
        check("libX_v2.so", &manifest("a", "a-b", "", "7"), "a-b", "7", 0);
    }

    #[test]
    fn a_file_without_a_name_is_refused() {
        let error = derive(Path::new("x.so"), &manifest("", "Big", "", "")).unwrap_err();
        assert_eq!(error.code(), "no_name");
        assert!(error.to_string().contains("`Big`"), "{error}");
        let error = derive(Path::new("x.so"), &manifest("a", "a", "", "v2")).unwrap_err();
        assert!(error.to_string().contains("`v2`"), "{error}");
    }
}
