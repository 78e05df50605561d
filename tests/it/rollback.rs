//! Going back: a new generation from the kept bytes of the committed one before.

use hotseat_test_support::{Host, fault, library, wire};

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

/// Without a name it concerns the plugin that changed last.
#[test]
fn without_a_name_the_plugin_changed_last() {
    let host = three_versions();
    let reflect = library::bytes(&fault("reflect"));
    host.deploy_bytes(&reflect, "libreflect_v1.so").swapped();
    host.deploy_bytes(&[reflect, vec![0]].concat(), "libreflect_v2.so").swapped();
    let back = host.control().rollback(None, None).swapped();
    assert_eq!((back.plugin.as_str(), back.label.as_str()), ("reflect", "1"));
    assert_eq!(host.active("handler"), 3);
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
