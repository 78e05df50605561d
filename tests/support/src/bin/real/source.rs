//! What a plugin's source says of itself.
//!
//! Owns the form: the first lines tell which dependency it is and how it is used (`//! name: how`),
//! and after `//! Recipe: ` what an author does to have it unload.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// One plugin with a real dependency.
#[derive(Debug)]
pub(crate) struct Plugin {
    /// As its file is called.
    pub(crate) name: String,
    /// What it depends on.
    pub(crate) dependency: String,
    /// How it uses that.
    pub(crate) how: String,
    /// What an author does, where something is to be done.
    pub(crate) recipe: Option<String>,
    /// The built library.
    pub(crate) library: PathBuf,
}

/// Every plugin of the folder.
pub(crate) fn all(sources: &Path, libraries: &Path) -> anyhow::Result<Vec<Plugin>> {
    let entries = sources.read_dir().with_context(|| format!("read {}", sources.display()))?;
    let mut plugins = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_stem().and_then(|it| it.to_str()).unwrap_or_default();
        if path.extension().is_none_or(|it| it != "rs") || name == "lib" {
            continue;
        }
        let library = libraries.join(format!("libreal_{name}.so"));
        ensure!(library.is_file(), "`{}` is not built: run `make real-plugins`", library.display());
        plugins.push(read(&path, name, library)?);
    }
    Ok(plugins)
}

fn read(path: &Path, name: &str, library: PathBuf) -> anyhow::Result<Plugin> {
    let text = std::fs::read_to_string(path)?;
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    let head = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    let (what, recipe) = match head.split_once("Recipe: ") {
        Some((what, recipe)) => (what, Some(recipe.to_owned())),
        None => (&*head, None),
    };
    let (dependency, how) =
        what.split_once(": ").with_context(|| format!("{}: `//! name: how`", path.display()))?;
    Ok(Plugin {
        name: name.to_owned(),
        dependency: dependency.to_owned(),
        how: how.trim().trim_end_matches('.').to_owned(),
        recipe,
        library,
    })
}
