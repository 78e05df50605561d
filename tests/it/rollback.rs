//! Going back: a new generation from the kept bytes of the committed one before.

use std::time::SystemTime;

use hotseat_test_support::{Deploy, Host, fault, host, library, wire};
use serde_json::{Value, json};

/// Three versions of `handler`, generations 1 to 3; the third serves.
fn three_versions() -> Host {
    let host = crate::plain_host();
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    let bytes = [library::bytes(&fault("plain_v2")), vec![3]].concat();
    host.deploy_bytes(&bytes, "libhandler_v3.so").swapped();
    host
}

/// Each rollback goes one further back, never forward, and makes a generation of its own.
#[test]
fn each_one_goes_one_further_back() {
    let host = three_versions();
    let back = host.control().rollback(Some("handler"), None).swapped();
    assert_eq!(
        (back.change.as_str(), back.generation, back.label.as_str()),
        ("rolled_back", 4, "2")
    );
    assert_eq!(wire::number(&back.json, "/from"), 2);
    host.get("/").assert_contains("v2");
    let back = host.control().rollback(Some("handler"), None).swapped();
    assert_eq!((back.generation, back.label.as_str()), (5, "1"));
    host.get("/").assert_contains("v1");
    host.control().rollback(Some("handler"), None).assert_refused(409, "nothing_to_roll_back");
    host.get("/").assert_contains("v1");
}

/// The files may be gone: the kept bytes are what is loaded.
#[test]
fn the_files_are_not_needed() {
    let host = three_versions();
    for version in 1..=3 {
        let _ = std::fs::remove_file(host.home().path().join(format!("libhandler_v{version}.so")));
        let _ =
            std::fs::remove_file(host.home().plugins().join(format!("libhandler_v{version}.so")));
    }
    host.control().rollback(None, None).swapped();
    host.get("/").assert_contains("v2");
}

/// To a named generation; one that never was is refused.
#[test]
fn to_a_named_generation() {
    let host = three_versions();
    let back = host.control().rollback(Some("handler"), Some(1)).swapped();
    assert_eq!((back.generation, wire::number(&back.json, "/from")), (4, 1));
    host.get("/").assert_contains("v1");
    let refused = host.control().rollback(Some("handler"), Some(99)).refused();
    assert!((400..500).contains(&refused.status), "{refused:?}");
    assert_eq!(host.active("handler"), 4);
}

/// Loading the same bytes again, by force or under another label, is no step: it neither is what a
/// rollback leads to nor pushes out what is, however few versions are kept.
#[test]
fn to_other_bytes_however_often_the_same_were_loaded() {
    let config = "[limits]\nkept_count = 1\n";
    let builder = host!().config(config).with(fault("plain_v1"), "libhandler_v1.so");
    let host = builder.start();
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    let again = json!({"path": "./libhandler_v2.so", "force": true});
    for _ in 0..4 {
        Deploy::from(host.control().post_json("/v1/deploys", &again)).swapped();
    }
    host.home().place(&fault("plain_v2"), "libhandler_v3.so");
    let again = json!({"path": "./libhandler_v3.so", "force": true});
    Deploy::from(host.control().post_json("/v1/deploys", &again)).swapped();
    host.get("/").assert_contains("v2");
    let back = host.control().rollback(Some("handler"), None).swapped();
    assert_eq!((back.label.as_str(), wire::number(&back.json, "/from")), ("1", 1));
    host.get("/").assert_contains("v1");
    let refused = host.control().rollback(None, None).assert_refused(409, "nothing_to_roll_back");
    assert!(refused.text.contains("`handler`"), "{refused:?}");
    assert!(refused.hint.contains("rollback handler --to"), "{refused:?}");
}

/// Two plugins, each with something to go back to.
fn two_plugins() -> Host {
    let host = three_versions();
    let reflect = library::bytes(&fault("reflect"));
    host.deploy_bytes(&reflect, "libreflect_v1.so").swapped();
    host.deploy_bytes(&[reflect, vec![0]].concat(), "libreflect_v2.so").swapped();
    host
}

/// Has the manifest of a host that is down say that a plugin changed so long ago.
fn change_time(host: &Host, plugin: &str, seconds_ago: i64) {
    let path = host.state_file("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&library::bytes(&path)).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let at = i64::try_from(now.as_millis()).unwrap() - seconds_ago * 1000;
    manifest["plugins"][plugin]["changed_at_ms"] = at.into();
    std::fs::write(path, manifest.to_string()).unwrap();
}

/// Without a name it concerns the plugin that changed last, and says which; where another one has
/// changed within the last minute, too, nothing is guessed. A restart does not forget that.
#[test]
fn without_a_name_the_plugin_changed_last_or_none() {
    let mut host = two_plugins();
    let check_refused = |host: &Host| {
        let refused = host.control().rollback(None, None).assert_refused(409, "ambiguous_rollback");
        assert!(refused.text.contains("`reflect`, `handler` changed"), "{refused:?}");
        assert!(refused.hint.contains("`hotseat rollback handler`"), "{refused:?}");
        assert_eq!((host.active("handler"), host.active("reflect")), (3, 5));
    };
    check_refused(&host);
    host.restart();
    check_refused(&host);
    assert!(host.stop().success());
    // As if the clock had been set back since.
    change_time(&host, "handler", -86_400);
    host.start_again();
    check_refused(&host);
    assert!(host.stop().success());
    change_time(&host, "handler", 61);
    host.start_again();
    let back = host.control().rollback(None, None).swapped();
    assert_eq!((back.plugin.as_str(), back.label.as_str()), ("reflect", "1"));
    assert!(back.notes.contains("`reflect` changed last"), "{}", back.notes);
    // What was unloaded has changed like any other.
    host.control().unload("handler").assert_status(200);
    host.control().rollback(None, None).assert_refused(409, "ambiguous_rollback");
    let back = host.control().rollback(Some("handler"), None).swapped();
    assert_eq!(back.label, "3", "what served last");
}

/// A plugin that is not there has nothing to go back to.
#[test]
fn of_an_unknown_plugin() {
    let host = crate::plain_host();
    let refused = host.control().rollback(Some("nobody"), None).refused();
    assert!([404, 409].contains(&refused.status), "{refused:?}");
}

/// No request fails, and what was left is marked.
#[test]
fn under_load() {
    let host = three_versions();
    let traffic = host.traffic("/");
    traffic.wait_for(20);
    host.control().rollback(Some("handler"), Some(1)).swapped();
    traffic.wait_for(20);
    traffic.finish();
    let history = host.control().history();
    assert_eq!(history.first().map(|it| it["verb"] == "rollback"), Some(true), "{history:?}");
}

/// A restart goes on with what the rollback chose.
#[test]
fn a_restart_keeps_it() {
    let mut host = three_versions();
    host.control().rollback(None, None).swapped();
    host.restart();
    host.get("/").assert_contains("v2");
    host.control().rollback(None, None).swapped();
    host.get("/").assert_contains("v1");
}
