//! What a plugin's source says of itself.
//!
//! Owns the form: the first lines tell which dependency it is and how it is used (`//! name: how`),
//! after `//! Note: ` what stays or grows, and why, and after `//! Recipe: ` what an author does.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// One plugin with a real dependency.
#[derive(Debug)]
pub(crate) struct Plugin {
    /// As its file is called.
    pub(crate) name: String,
    /// That file.
    pub(crate) source: PathBuf,
    /// What it depends on.
    pub(crate) dependency: String,
    /// How it uses that.
    pub(crate) how: String,
    /// Why it is not unmapped and flat, where it is not.
    pub(crate) note: Option<String>,
    /// What an author does, where something is to be done.
    pub(crate) recipe: Option<String>,
    /// Where its library is, once it is built.
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
        plugins.push(read(&path, name, library)?);
    }
    Ok(plugins)
}

fn read(path: &Path, name: &str, library: PathBuf) -> anyhow::Result<Plugin> {
    let text = std::fs::read_to_string(path)?;
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    let head = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    let (head, recipe) = split(&head, " Recipe: ");
    let (what, note) = split(head, " Note: ");
    let (dependency, how) =
        what.split_once(": ").with_context(|| format!("{}: `//! name: how`", path.display()))?;
    Ok(Plugin {
        name: name.to_owned(),
        source: path.to_owned(),
        dependency: dependency.to_owned(),
        how: how.trim().trim_end_matches('.').to_owned(),
        note,
        recipe,
        library,
    })
}

fn split<'a>(text: &'a str, mark: &str) -> (&'a str, Option<String>) {
    match text.split_once(mark) {
        Some((before, after)) => (before, Some(sentence(after))),
        None => (text, None),
    }
}

/// With a capital letter.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_taken_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.rs");
        let check = |text: &str, expected: [Option<&str>; 4]| {
            std::fs::write(&path, text).unwrap();
            let it = read(&path, "it", PathBuf::new()).unwrap();
            let found = [Some(&it.dependency), Some(&it.how), it.note.as_ref(), it.recipe.as_ref()];
            assert_eq!(found.map(|it| it.map(String::as_str)), expected);
        };
        check("//! one: as it is.\n\nuse x;\n", [Some("one"), Some("as it is"), None, None]);
        check(
            "//! one: in\n//! two lines.\n//! Note: it stays.\n//! Recipe: end\n//! it.\n",
            [Some("one"), Some("in two lines"), Some("It stays."), Some("End it.")],
        );
        std::fs::write(&path, "//! nothing\n").unwrap();
        read(&path, "it", PathBuf::new()).unwrap_err();
    }
}
