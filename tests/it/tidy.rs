//! The rules of the tree that no compiler keeps.

use std::{
    fs,
    path::{Path, PathBuf},
};

mod crossings;
mod dependencies;
mod growing;
mod imports;
mod logging;
mod sdk_table;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Every Rust file of ours below `folder`.
pub(crate) fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, all: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                walk(&path, all);
            } else if path.extension().is_some_and(|it| it == "rs") {
                all.push(path);
            }
        }
    }
    let mut all = Vec::new();
    walk(&root().join(folder), &mut all);
    all.sort();
    assert!(!all.is_empty(), "`{folder}` has sources");
    all.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

fn everything() -> Vec<(PathBuf, String)> {
    ["host", "plugin-api", "plugins", "tests"].iter().flat_map(|it| sources(it)).collect()
}

/// `foo/tests.rs` and what is below `foo/tests/`, in the source of a package.
fn is_unit_test(path: &Path) -> bool {
    let inside: Vec<_> = path.strip_prefix(root()).unwrap().iter().skip(1).collect();
    inside.iter().any(|part| *part == "tests" || *part == "tests.rs")
}

#[track_caller]
fn assert_none(found: &[String]) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// Every file says what it owns; for unit tests the module that they belong to has said it.
#[test]
fn every_file_begins_with_its_purpose() {
    let without: Vec<_> = everything()
        .iter()
        .filter(|(path, text)| !text.starts_with("//! ") && !is_unit_test(path))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert_none(&without);
}

/// A test waits for something, not for time to pass.
#[test]
fn no_test_sleeps() {
    let word = concat!("sle", "ep(");
    let mut found = Vec::new();
    for (path, text) in sources("tests/it") {
        for (number, line) in (1..).zip(text.lines()) {
            if line.contains(word) {
                found.push(format!("{}:{number}: {line}", path.display()));
            }
        }
    }
    assert_none(&found);
}

/// What is not built yet has an issue, and no test is switched off.
#[test]
fn nothing_is_left_for_later() {
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("#[ig", "nore"),
        concat!("#[should_", "panic"),
    ];
    let mut found = Vec::new();
    for (path, text) in everything() {
        for (number, line) in (1..).zip(text.lines()) {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{number}: {line}", path.display()));
            }
        }
    }
    assert_none(&found);
}

/// A module with children is `foo.rs` beside `foo/`.
#[test]
fn no_mod_rs() {
    let found: Vec<_> = everything()
        .iter()
        .filter(|(path, _)| path.file_name().is_some_and(|name| name == "mod.rs"))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert_none(&found);
}

/// The documents that a newcomer looks for.
#[test]
fn the_documents_are_there() {
    let missing: Vec<_> = [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "docs/dependencies.md",
        "docs/plugin.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "Makefile",
    ]
    .into_iter()
    .filter(|name| fs::metadata(root().join(name)).map_or(true, |it| it.len() == 0))
    .map(ToOwned::to_owned)
    .collect();
    assert_none(&missing);
}
