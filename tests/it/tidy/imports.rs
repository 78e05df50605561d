//! Who imports from whom: rooms from lower floors, files from those before them.

use std::{collections::BTreeMap, fs};

use super::{assert_none, is_unit_test, root, sources};

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
        for named in uses(&text) {
            let Some(line) = named.strip_prefix("crate::") else { continue };
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

/// The order that a room's own documentation gives: the names in a list under a heading, up to the
/// colon of each point.
fn order(room: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(format!("host/src/{room}.rs"))).unwrap();
    let list = text.split("//! # Order of the files\n").nth(1).unwrap_or_default();
    let list = list.lines().take_while(|line| line.starts_with("//!") && !line.contains("# "));
    let points = list.filter_map(|line| line.strip_prefix("//! - ")?.split(':').next());
    let names = points.flat_map(|names| names.split('`').skip(1).step_by(2));
    names.map(ToOwned::to_owned).collect()
}

/// Within these rooms a file imports from those that stand before it in the room's documentation. A
/// file's children are part of it, and what the room's own file defines is everybody's.
#[test]
fn files_import_from_those_before() {
    let mut found = Vec::new();
    for room in ["serve", "plugin", "master"] {
        let order = order(room);
        let place = |file: &str| order.iter().position(|it| it == file);
        let folder = root().join("host/src").join(room);
        let text = fs::read_to_string(folder.with_extension("rs")).unwrap();
        // By these names the files may have each other's things from the room itself.
        let names: BTreeMap<_, _> = uses(&text)
            .iter()
            .filter_map(|it| {
                let inside = it.strip_prefix("self::")?;
                Some((
                    inside.rsplit("::").next()?.to_owned(),
                    inside.split("::").next()?.to_owned(),
                ))
            })
            .collect();
        let mut listed = order.clone();
        for (path, text) in sources(&format!("host/src/{room}")) {
            let inside = path.strip_prefix(&folder).unwrap().with_extension("");
            let parts: Vec<_> = inside.iter().filter_map(|part| part.to_str()).collect();
            let file = parts[0];
            listed.retain(|it| it != file);
            if is_unit_test(&path) {
                continue;
            }
            let Some(own) = place(file) else {
                found.push(format!("`{file}` is not in the order of `{room}`"));
                continue;
            };
            for line in uses(without_tests(&text)) {
                let Some(target) = within(room, &parts, &line) else { continue };
                let target = names.get(&target).unwrap_or(&target);
                if place(target).is_some_and(|it| it > own) {
                    found.push(format!("{}: `{file}` stands before `{line}`", path.display()));
                }
            }
        }
        found.extend(listed.iter().map(|it| format!("`{room}` has no file `{it}`")));
    }
    found.sort();
    found.dedup();
    assert_none(&found);
}

/// The part of a file before its tests.
pub(super) fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

/// What `line`, in the file at `parts` of `room`, names of the room; `None` if that is elsewhere.
fn within(room: &str, parts: &[&str], line: &str) -> Option<String> {
    let mut module: Vec<_> = [&[room], parts].concat();
    let mut steps = line.split("::").peekable();
    if steps.next_if_eq(&"crate").is_some() {
        module.clear();
    }
    while steps.next_if_eq(&"super").is_some() {
        module.pop();
    }
    module.extend(steps);
    (module.len() > 1 && module[0] == room).then(|| module[1].to_owned())
}

/// What a file names by a path from `crate`, `super` or `self`, lists taken apart.
fn uses(text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut all = Vec::new();
    for root in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if !before.is_some_and(|c| c == '$' || c == '_' || c == ':' || c.is_alphanumeric()) {
                take_apart(&code[at..], "", &mut all);
            }
        }
    }
    all
}

/// Reads the path, or the tree of paths, at the beginning of `code`; returns what is behind it.
fn take_apart<'a>(code: &'a str, before: &str, all: &mut Vec<String>) -> &'a str {
    let code = code.trim_start();
    if let Some(mut list) = code.strip_prefix('{') {
        loop {
            list = take_apart(list, before, all).trim_start();
            match list.strip_prefix(',') {
                Some(rest) => list = rest,
                None => return list.strip_prefix('}').unwrap_or(list),
            }
        }
    }
    let end = code.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(code.len());
    let (step, rest) = code.split_at(end);
    let path = format!("{before}{step}");
    match rest.strip_prefix("::") {
        Some(rest) => return take_apart(rest, &format!("{path}::"), all),
        None if step.is_empty() => {}
        None => all.push(path),
    }
    // It may get another name here.
    let word = |c: char| c.is_alphanumeric() || c == '_';
    rest.trim_start().strip_prefix("as ").map_or(rest, |rest| rest.trim_start_matches(word))
}

#[test]
fn paths_are_taken_apart() {
    let text =
        "use super::{a::{self, B as _}, c,\n};\nlet x = crate::d::e(1); // super::no\n$crate::f";
    assert_eq!(
        uses(text),
        ["crate::d::e", "super::a::self", "super::a::B", "super::c", "super::no"]
    );
    assert_eq!(within("serve", &["connection", "h1"], "super::super::conn::Conn").unwrap(), "conn");
    assert_eq!(within("serve", &["conn"], "super::super::route::View"), None);
    assert_eq!(within("serve", &["conn"], "crate::serve::own::Own").unwrap(), "own");
}
