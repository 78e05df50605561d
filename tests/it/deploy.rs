//! Swapping: the POST and what it promises.

use hotseat_test_support::{Deploy, eventually, fault, host, library, wire};
use serde_json::json;

/// Success is answered only once new requests meet the new code, and none failed meanwhile.
#[test]
fn a_post_swaps_under_load() {
    let host = crate::plain_host();
    let traffic = host.traffic("/");
    traffic.wait_for(20);
    host.home().place(&fault("plain_v2"), "libhandler_v2.so");

    let answer = host.control().post("./libhandler_v2.so");
    host.get("/").assert_status(200).assert_contains("v2");
    answer.assert_status(200);
    let line = answer.text().lines().next().unwrap().to_owned();
    assert!(line.starts_with("handler v2 is serving (generation 2, sha256 "), "{line}");
    assert!(line.ends_with("; was v1)"), "{line}");

    traffic.wait_for(20);
    let bodies = traffic.finish();
    assert_eq!(bodies.keys().map(String::as_str).collect::<Vec<_>>(), ["v1", "v2"]);
}

/// A request meets one generation: begun on the old version, it ends on it, with its whole body.
#[test]
fn a_request_in_flight_ends_on_its_version() {
    let host = crate::gate_host();
    let whole = host.hold("/");
    let streamed = host.hold("/stream");
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    host.get("/").assert_status(200).assert_contains("v2");
    whole.release().assert_status(200).assert_contains("gate 1");
    let body = streamed.release();
    body.assert_status(200);
    assert_eq!(body.text(), "gate 1;gate 1;");
}

/// A deploy never waits for an older generation's drain.
#[test]
fn a_swap_does_not_wait_for_the_drain() {
    let host = crate::gate_host();
    let held: Vec<_> = (2..6)
        .map(|version| {
            let held = host.hold("/");
            let name = format!("libhandler_v{version}.so");
            let bytes = [hotseat_test_support::library::bytes(&fault("gate")), vec![version]];
            let swapped = host.deploy_bytes(&bytes.concat(), &name).swapped();
            assert_eq!(swapped.generation, u64::from(version));
            held
        })
        .collect();
    for (generation, held) in (1..).zip(held) {
        held.release().assert_status(200).assert_contains(&format!("gate {generation}"));
    }
}

/// Content that serves already makes no new generation; with force it does, a fresh instance.
#[test]
fn the_same_again_changes_nothing() {
    let host = crate::plain_host();
    let again = host.deploy(&fault("plain_v1"), "libhandler_v1.so").swapped();
    assert_eq!((again.change.as_str(), again.generation), ("already_serves", 1));
    let text = host.control().post("./libhandler_v1.so").assert_status(200).text();
    assert!(text.starts_with("handler v1 already serves (generation 1)"), "{text}");
    assert_eq!(host.active("handler"), 1);

    let body = serde_json::json!({ "path": "./libhandler_v1.so", "force": true });
    host.control().post_json("/v1/deploys", &body);
    eventually!(host.active("handler") > 1, "{}", host.status());
}

/// Known content that does not serve at the moment is deployed like any other.
#[test]
fn an_older_version_is_deployed_as_a_downgrade() {
    let host = crate::plain_host();
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    let back = host.deploy(&fault("plain_v1"), "libhandler_v1.so").swapped();
    assert_eq!((back.generation, back.label.as_str()), (3, "1"));
    assert!(back.notes.contains("downgrade"), "{back:?}");
    host.get("/").assert_contains("v1");
}

/// The same label with other bytes: deployed, and the answer tells the digests apart.
#[test]
fn the_same_label_with_other_bytes() {
    let host = crate::plain_host();
    let swapped = host.deploy(&fault("plain_v2"), "libhandler_v1.so").swapped();
    assert_eq!(swapped.generation, 2);
    let text = swapped.json.to_string();
    let plugin = wire::plugin(&host.status(), "handler");
    let now = wire::text(&plugin, "/active/digest");
    let before = wire::text(&plugin, "/kept/0/digest");
    assert_ne!(now, before);
    assert!(text.contains(&now[..6]) && text.contains(&before[..6]), "{text}");
}

/// A file name without a version: name and version come from the manifest. One that differs from
/// the manifest wins, and the answer says so.
#[test]
fn names_come_from_the_file_else_from_the_manifest() {
    let host = hotseat_test_support::start_host!();
    let named = host.deploy(&hotseat_test_support::plugin("handler_v1"), "anything.so").swapped();
    assert_eq!((named.plugin.as_str(), named.label.as_str()), ("handler", "1"));
    let named =
        host.deploy(&hotseat_test_support::plugin("handler_v2"), "libother_v7.so").swapped();
    assert_eq!((named.plugin.as_str(), named.label.as_str()), ("other", "7"));
    assert!(named.notes.contains("handler"), "{named:?}");
}

/// Every load is a library of its own, also for equal bytes: statics belong to one generation.
#[test]
fn statics_belong_to_one_generation() {
    let host = hotseat_test_support::host!().arg("--threads=1");
    let host = host.with(fault("tls_destructor"), "libhandler_v1.so").start();
    let mut connection = host.connect();
    connection.get("/").unwrap().assert_contains("tls_destructor 1");
    connection.get("/").unwrap().assert_contains("tls_destructor 2");
    let bytes = [hotseat_test_support::library::bytes(&fault("tls_destructor")), vec![0]].concat();
    host.deploy_bytes(&bytes, "libhandler_v2.so").swapped();
    connection.get("/").unwrap().assert_contains("tls_destructor 1");
}

/// The original file is overwritten in place, truncated and removed while it serves: harmless.
#[test]
fn the_original_file_is_never_the_one_that_runs() {
    let host = crate::plain_host();
    let path = host.home().place(&fault("plain_v2"), "libhandler_v2.so");
    host.control().deploy(&path).swapped();
    let traffic = host.traffic("/");
    for bytes in [vec![0xcc; 1 << 20], b"tiny".to_vec(), Vec::new()] {
        std::fs::write(&path, bytes).unwrap();
        traffic.wait_for(50);
    }
    std::fs::remove_file(&path).unwrap();
    traffic.wait_for(50);
    assert_eq!(traffic.finish().keys().collect::<Vec<_>>(), ["v2"]);
}

/// A newer library under the same path is the newer library.
#[test]
fn a_newer_library_under_the_same_path() {
    let host = crate::plain_host();
    for (generation, name) in (2..).zip(["plain_v2", "plain_v1", "plain_v2"]) {
        let path = host.home().path().join("libhandler_v5.so");
        // In place: the same inode, as `cp` over an existing file leaves it.
        std::fs::write(&path, hotseat_test_support::library::bytes(&fault(name))).unwrap();
        let swapped = host.control().deploy("./libhandler_v5.so");
        assert_eq!(swapped.swapped().generation, generation);
        host.get("/").assert_status(200).assert_contains(&name[6..]);
    }
}

/// The phases of one order come in their order, and each is true when it is told.
#[test]
fn events_tell_the_phases() {
    let host = crate::plain_host();
    let mut events = host.events();
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    events.wait_generation(1, "unloaded");
    let phases: Vec<_> = events.seen().iter().map(|it| it.phase.as_str()).collect();
    let wanted = ["queued", "staged", "verified", "passed", "loaded", "committed", "unloaded"];
    let mut rest = phases.iter();
    for phase in wanted {
        assert!(rest.any(|it| *it == phase), "`{phase}` is missing or early: {phases:?}");
    }
    assert_eq!(host.loaded().len(), 1, "`unloaded` is told when it is true");
}

/// An order that expects another generation than the one that serves is refused, whichever way it is
/// said, and the refusal names what serves.
#[test]
fn an_order_that_expects_something_else_is_refused() {
    let host = crate::plain_host();
    let path = host.home().place(&fault("plain_v2"), "libhandler_v2.so");
    let path = path.to_str().unwrap();
    let control = host.control();
    let json = "Accept: application/json\r\n";
    let order = |method: &str, target: &str, condition: &str, body: &str| {
        let headers = format!("{json}{condition}");
        Deploy::from(control.request(method, target, &headers, body.as_bytes()))
    };
    let deploy = json!({ "path": path, "if_generation": 7 }).to_string();
    for (method, target, condition, body) in [
        ("POST", "/", "If-Match: \"7\"\r\n", path),
        ("POST", "/", "If-None-Match: *\r\n", path),
        ("POST", "/v1/deploys", "", &deploy),
        ("POST", "/v1/rollback", "If-Match: \"0\"\r\n", ""),
        ("POST", "/v1/rollback", "", r#"{"if_generation": 7}"#),
        ("DELETE", "/v1/plugins/handler", "If-Match: \"7\"\r\n", ""),
        ("DELETE", "/v1/plugins/handler?if_generation=7", "", ""),
        ("DELETE", "/v1/plugins/nobody", "If-Match: *\r\n", ""),
    ] {
        let refused = order(method, target, condition, body);
        let tag = if target.ends_with("nobody") { "\"0\"" } else { "\"1\"" };
        assert_eq!(refused.answer.header("etag"), Some(tag), "{method} {target}");
        let refused = refused.assert_refused(412, "precondition_failed");
        let says = if tag == "\"0\"" { "nothing serves" } else { "generation 1 (v1) serves" };
        assert!(refused.text.starts_with(says), "{refused:?}");
        assert_eq!(host.active("handler"), 1);
    }
    let there = control.get("/v1/plugins/handler");
    assert_eq!(there.header("etag"), Some("\"1\""));
    let done = order("POST", "/", "If-Match: \"1\"\r\n", path);
    assert_eq!(done.answer.header("etag"), Some("\"2\""));
    assert_eq!(done.swapped().generation, 2);
    // Also where it would change nothing.
    order("POST", "/", "If-Match: \"1\"\r\n", path).assert_refused(412, "precondition_failed");
    order("POST", "/v1/rollback", "If-Match: \"2\"\r\n", "").swapped();
    let done = order("DELETE", "/v1/plugins/handler", "If-Match: *\r\n", "");
    assert_eq!((done.answer.status, done.answer.header("etag")), (200, Some("\"0\"")));
    let done = order("POST", "/", "If-Match: \"0\"\r\n", path);
    assert_eq!(done.swapped().label, "2");
}

/// The commands say it, too.
#[test]
fn the_commands_take_a_condition() {
    let host = crate::plain_host();
    let path = host.home().place(&fault("plain_v2"), "libhandler_v2.so");
    let path = path.to_str().unwrap();
    let control = host.control().address.to_string();
    let run = |args: &[&str]| host!().env("HOTSEAT_CONTROL", &control).run(args).status.code();
    assert_eq!(run(&["load", path, "--if-generation", "2"]), Some(2));
    assert_eq!(run(&["load", path, "--if-generation", "1"]), Some(0));
    assert_eq!(run(&["rollback", "--if-generation", "1"]), Some(2));
    assert_eq!(run(&["rollback", "--if-generation", "2"]), Some(0));
    assert_eq!(run(&["unload", "handler", "--if-generation", "2"]), Some(2));
    assert_eq!(run(&["unload", "handler", "--if-generation", "3"]), Some(0));
    assert_eq!(run(&["load", path, "--if-generation", "0"]), Some(0));
}

/// Of orders that all expect what serves now, one is carried out: what counts is what serves when
/// its turn comes, not when it arrives.
#[test]
fn of_those_who_expect_the_same_one_wins() {
    let host = crate::plain_host();
    let bytes = library::bytes(&fault("plain_v2"));
    let paths: Vec<_> = (2..8_u8)
        .map(|version| {
            let content = [&bytes[..], &[version]].concat();
            host.home().write(&format!("libhandler_v{version}.so"), &content)
        })
        .collect();
    let control = host.control();
    let codes: Vec<u16> = std::thread::scope(|scope| {
        let ask = |path: &std::path::PathBuf| {
            let wish = json!({ "path": path, "if_generation": 1 });
            scope.spawn(move || control.post_json("/v1/deploys", &wish).status)
        };
        let asked: Vec<_> = paths.iter().map(ask).collect();
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(codes.iter().filter(|code| **code == 200).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 412).count(), 5, "{codes:?}");
}

/// A deploy has its preflight child at hand before the library is read. However the order ends, none is
/// there when it has been answered.
#[test]
fn no_preflight_child_outlives_its_order() {
    let host = crate::plain_host();
    let children = || hotseat_test_support::procfs::children(host.worker_pid());
    assert_eq!(children(), [0; 0], "before");
    host.home().place(&fault("plain_v1"), "libhandler_v1.so");
    host.home().place(&fault("plain_v2"), "libhandler_v2.so");
    host.home().write("libhandler_v3.so", b"no library");
    for (order, status) in [
        ("./libhandler_v1.so", 200),
        ("./libhandler_v3.so", 422),
        ("./nowhere_v1.so", 404),
        ("./libhandler_v2.so", 200),
    ] {
        let answer = host.control().post(order);
        assert_eq!(answer.status, status, "{order}: {}", answer.text());
        assert_eq!(children(), [0; 0], "{order}");
    }
}
