//! Which plugin a request meets, and what it sees of the path.

use hotseat_test_support::{Host, fault, host, wire};

/// `handler` at `/`, `reflect` at `/reflect`.
fn two_plugins() -> Host {
    host!()
        .with(fault("plain_v1"), "libhandler_v1.so")
        .with(fault("reflect"), "libreflect_v1.so")
        .start()
}

/// Default mounts: whole segments, the prefix removed, the query kept, the original to be had.
#[test]
fn default_mounts() {
    let host = two_plugins();
    for (target, path) in [
        ("/reflect", "/"),
        ("/reflect/", "/"),
        ("/reflect/x", "/x"),
        ("/reflect//x", "//x"),
        ("/reflect/%2e%2e/x", "/%2e%2e/x"),
    ] {
        let answer = host.get(&format!("{target}?a=b&c=%20"));
        answer.assert_status(200);
        answer.assert_contains(&format!("\npath={path}\nquery=a=b&c=%20\noriginal={target}\n"));
    }
    for target in ["/reflections", "/Reflect", "/reflect%2fx", "/", "/x"] {
        host.get(target).assert_status(200).assert_contains("v1");
    }
}

/// Configured mounts: the longest prefix wins, a host name beats none, and a plugin that is named
/// is mounted only there.
#[test]
fn configured_mounts() {
    let host = host!()
        .arg("--mount=/=handler")
        .arg("--mount=/api=reflect")
        .arg("--mount=/api/v2=handler")
        .arg("--mount=api.example/=reflect")
        .with(fault("plain_v1"), "libhandler_v1.so")
        .with(fault("reflect"), "libreflect_v1.so")
        .start();
    host.get("/api/x").assert_contains("path=/x");
    host.get("/api/v2/x").assert_contains("v1");
    host.get("/reflect/x").assert_contains("v1");
    let named = host.raw("GET /y HTTP/1.1\r\nHost: API.example:8080\r\n\r\n");
    named.assert_contains("path=/y\n");
    assert!(named.text().to_ascii_lowercase().contains("host=api.example\n"), "{}", named.text());
}

/// No mount matches: the host's own 404. A mount without a generation: 503 with Retry-After.
#[test]
fn nothing_there() {
    let host = host!()
        .arg("--mount=/only=reflect")
        .arg("--mount=/later=later")
        .with(fault("reflect"), "libreflect_v1.so")
        .start();
    host.get("/only/x").assert_status(200);
    host.get("/elsewhere").assert_error(404, "no_mount");
    let answer = host.get("/later");
    answer.assert_error(503, "no_generation");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    let ready = host.control().get("/readyz");
    ready.assert_status(503).assert_contains("later");
}

/// A default mount that a configured one has taken refuses the deploy.
#[test]
fn a_taken_mount_refuses_the_deploy() {
    let host =
        host!().arg("--mount=/reflect=handler").with(fault("plain_v1"), "libhandler_v1.so").start();
    let offered = host.deploy(&fault("reflect"), "libreflect_v1.so");
    offered.assert_refused(409, "mount_taken");
    assert!(wire::try_plugin(&host.status(), "reflect").is_none());
    host.get("/reflect").assert_contains("v1");
}

/// A change to one mount leaves the others alone: same generation, same streams.
#[test]
fn a_change_to_one_mount_leaves_the_others_alone() {
    let host = host!()
        .with(fault("gate"), "libhandler_v1.so")
        .with(fault("reflect"), "libreflect_v1.so")
        .start();
    let before = host.active("handler");
    let held = host.hold("/stream");
    let bytes = [hotseat_test_support::library::bytes(&fault("reflect")), vec![0]].concat();
    host.deploy_bytes(&bytes, "libreflect_v2.so").swapped();
    assert_eq!(host.active("handler"), before);
    assert_eq!(held.release().text(), format!("gate {before};").repeat(2));
}

/// `hotseat unload` and DELETE: no new requests, what runs ends, unmapped, forgotten at boot.
#[test]
fn a_removed_plugin_is_gone_also_after_a_restart() {
    let mut host = host!()
        .with(fault("plain_v1"), "libhandler_v1.so")
        .with(fault("gate"), "libgate_v1.so")
        .start();
    let mut events = host.events();
    let generation = host.active("gate");
    let held = host.hold("/gate/");
    host.control().unload("gate").assert_status(200);
    host.get("/gate/").assert_contains("v1");
    held.release().assert_status(200).assert_contains("gate ");
    events.wait_generation(generation, "unloaded");
    host.control().unload("gate").assert_status(404);
    host.restart();
    assert!(wire::active(&host.status(), "gate").is_none(), "{}", host.status());
    host.get("/gate/").assert_contains("v1");
}

/// Health paths on the data plane are off unless they are asked for.
#[test]
fn health_on_the_data_plane_is_an_option() {
    let host = two_plugins();
    host.get("/livez").assert_contains("v1");
    let host =
        host!().arg("--health-path=/health").with(fault("plain_v1"), "libhandler_v1.so").start();
    let answer = host.get("/health/readyz");
    answer.assert_status(200);
    assert_ne!(answer.text(), "v1");
    host.get("/livez").assert_contains("v1");
}
