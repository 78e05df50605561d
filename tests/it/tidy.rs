//! The rules of the tree that no compiler keeps.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

mod growing;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Every Rust file of ours below `folder`.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
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

/// The floors of ARCHITECTURE.md: rows of a table whose first column is a number and whose second
/// names rooms as `` `room` ``.
fn floors() -> BTreeMap<String, u32> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut floors = BTreeMap::new();
    for line in text.lines() {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, floor, rooms, ..] = cells[..] else { continue };
        let Some(floor) = floor.split(' ').next().and_then(|it| it.parse().ok()) else { continue };
        for room in rooms.split('`').skip(1).step_by(2) {
            let room = room.trim_end_matches('/').trim_end_matches(".rs");
            floors.insert(room.to_owned(), floor);
        }
    }
    floors
}

/// The room of a path below `host/src`: `deploy/order` where the table names that one by itself,
/// else `deploy`.
fn room_of(floors: &BTreeMap<String, u32>, parts: &[&str]) -> String {
    let inner = parts.iter().take(2).copied().collect::<Vec<_>>().join("/");
    if floors.contains_key(&inner) { inner } else { parts[0].to_owned() }
}

/// A room imports from lower floors and from itself (the words of floor 0 from each other); the
/// table in ARCHITECTURE.md says which floor each is on.
#[test]
fn imports_go_down() {
    let floors = floors();
    assert!(floors.len() > 5, "ARCHITECTURE.md has a table of floors: {floors:?}");
    let source = root().join("host/src");
    let mut found = Vec::new();
    for (path, text) in sources("host/src") {
        let inside = path.strip_prefix(&source).unwrap().with_extension("");
        let parts: Vec<_> = inside.iter().filter_map(|part| part.to_str()).collect();
        if ["lib", "main"].contains(&parts[0]) {
            continue;
        }
        let room = room_of(&floors, &parts);
        let Some(floor) = floors.get(&room) else {
            found.push(format!("`{room}` is on no floor of ARCHITECTURE.md"));
            continue;
        };
        for line in imports(&text) {
            let other = room_of(&floors, &line.split("::").collect::<Vec<_>>());
            // The words of floor 0 are one vocabulary; else the same floor is a stranger.
            let lower = |below: &u32| below < floor || *floor == 0 && *below == 0;
            let own = other.split('/').next() == Some(parts[0]);
            if !own && !floors.get(&other).is_some_and(lower) {
                found.push(format!("{}: `{room}` (floor {floor}) uses `{line}`", path.display()));
            }
        }
    }
    found.sort();
    found.dedup();
    assert_none(&found);
}

/// What a file names by `crate::`, also within `use crate::{..}`.
fn imports(text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut all = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        let rest = &code[at + prefix.len()..];
        if before.is_some_and(|c| c == '$' || c == '_' || c.is_alphanumeric()) {
            continue;
        }
        if let Some(list) = rest.strip_prefix('{') {
            all.extend(items(list));
        } else {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
            all.push(rest[..end.unwrap_or(rest.len())].to_owned());
        }
    }
    all.iter().map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
}

/// The items of a list behind its opening brace; inner lists are left out.
fn items(list: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut depth = 0_usize;
    let mut item = String::new();
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => all.push(std::mem::take(&mut item)),
            c if depth == 0 => item.push(c),
            _ => {}
        }
    }
    all.push(item);
    all
}
