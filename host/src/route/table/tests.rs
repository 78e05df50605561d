//! Which mount takes which path.

use super::*;

fn rule(host: Option<&str>, prefix: &str, plugin: &str) -> MountRule {
    MountRule {
        host: host.map(str::to_owned),
        prefix: prefix.to_owned(),
        plugin: plugin.parse().unwrap(),
        plugin_time: None,
    }
}

fn table(rules: &[MountRule], plugins: &[&str]) -> Table {
    let active = plugins.iter().map(|name| (name.parse().unwrap(), None)).collect();
    Table::build(rules, &active)
}

#[track_caller]
fn check(table: &Table, host: Option<&str>, path: &str, expected: Option<&str>) {
    let found = table.find(host, path).map(|at| table.mounts()[at].rule.plugin.as_str());
    assert_eq!(found, expected, "{host:?} {path}");
}

#[test]
fn defaults_put_handler_at_the_root_and_others_under_their_name() {
    let table = table(&[], &["handler", "echo"]);
    check(&table, None, "/", Some("handler"));
    check(&table, None, "/echo", Some("echo"));
    check(&table, None, "/echo/", Some("echo"));
    check(&table, None, "/echo/x", Some("echo"));
    check(&table, None, "/echoes", Some("handler"));
    check(&table, None, "/%65cho", Some("handler"));
}

#[test]
fn without_a_root_plugin_other_paths_match_nothing() {
    let table = table(&[], &["echo"]);
    check(&table, None, "/", None);
    check(&table, None, "/echo", Some("echo"));
}

#[test]
fn the_longest_prefix_wins_and_a_host_name_beats_none() {
    let rules =
        [rule(None, "/api", "a"), rule(None, "/api/v2", "b"), rule(Some("x.example"), "/", "c")];
    let table = table(&rules, &["a", "b", "c"]);
    check(&table, None, "/api/v1", Some("a"));
    check(&table, None, "/api/v2/q", Some("b"));
    check(&table, Some("X.example"), "/api/v2/q", Some("c"));
    check(&table, Some("y.example"), "/other", None);
}

#[test]
fn a_configured_plugin_is_mounted_only_there() {
    let table = table(&[rule(None, "/e", "echo")], &["echo"]);
    check(&table, None, "/echo", None);
    check(&table, None, "/e", Some("echo"));
}

#[test]
fn a_default_place_that_is_taken_is_refused() {
    let rules = [rule(None, "/echo", "other")];
    assert!(check_mount(&rules, &"echo".parse().unwrap()).is_err());
    assert!(check_mount(&rules, &"other".parse().unwrap()).is_ok());
    assert!(check_mount(&rules, &"third".parse().unwrap()).is_ok());
}
