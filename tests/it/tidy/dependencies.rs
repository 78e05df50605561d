//! The table of dependencies tells of the plugins that there are.

use std::{collections::BTreeSet, fs};

use super::root;

/// Each plugin of the folder, as the table links it.
fn plugins(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap().map(|it| it.unwrap().file_name());
    let names = entries.map(|it| it.into_string().unwrap());
    let plugins = names.filter(|name| name.ends_with(".rs") && name != "lib.rs");
    plugins.map(|name| format!("{folder}/{name}")).collect()
}

#[test]
fn the_table_has_a_row_for_each_plugin() {
    let there = &plugins("tests/real") | &plugins("tests/real/heavy");
    let table = fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
    let link = |row: &str| Some(row.split_once("](../")?.1.split_once(") | ")?.0.to_owned());
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| [")).collect();
    let told: BTreeSet<_> = rows.iter().filter_map(|row| link(row)).collect();
    assert_eq!(told, there, "`make real-plugins` writes it anew");
    assert_eq!(rows.len(), there.len());
}

/// Those that build quickly are swapped in the tests.
#[test]
fn quick_plugins_are_tested() {
    let source = fs::read_to_string(root().join("tests/it/unload/real.rs")).unwrap();
    let (_, list) = source.split_once("unloads! {\n").unwrap();
    let (list, _) = list.split_once('}').unwrap();
    let tested = list.split_whitespace().map(|name| format!("tests/real/{name}.rs")).collect();
    assert_eq!(plugins("tests/real"), tested);
}

/// The slow plugins are a workspace of their own, whose lock only `make real-plugins` reads: what a
/// package of ours needs since has to be in it.
#[test]
fn the_lock_of_slow_plugins_is_up_to_date() {
    let read = |path: &str| -> toml::Table {
        fs::read_to_string(root().join(path)).unwrap().parse().unwrap()
    };
    let sdk = read("plugin-api/Cargo.toml");
    let features = sdk["features"].as_table().unwrap();
    let mut needed: BTreeSet<&str> = sdk["dependencies"]
        .as_table()
        .unwrap()
        .iter()
        .filter(|(_, it)| it.get("optional").is_none())
        .map(|(name, _)| name.as_str())
        .collect();
    let list = |feature: &str| features[feature].as_array().unwrap().iter();
    let mut enabled: Vec<&str> = list("default").map(|it| it.as_str().unwrap()).collect();
    while let Some(name) = enabled.pop() {
        match name.strip_prefix("dep:") {
            Some(package) => drop(needed.insert(package)),
            None => enabled.extend(list(name).map(|it| it.as_str().unwrap())),
        }
    }
    let lock = read("tests/real/heavy/Cargo.lock");
    let packages = lock["package"].as_array().unwrap();
    let entry = packages.iter().find(|it| it["name"].as_str() == Some("hotseat-plugin-api"));
    let locked = entry.unwrap()["dependencies"].as_array().unwrap();
    // `name version` where there is more than one of them.
    let locked = locked.iter().map(|it| it.as_str().unwrap().split(' ').next().unwrap()).collect();
    assert_eq!(needed, locked, "`cargo update --workspace` in tests/real/heavy");
}
