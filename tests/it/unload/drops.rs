//! An instance is dropped right after its `stop`, and its threads are waited for afterwards. What was
//! built for ABI 1.2 or before is dropped when they have ended.

use std::time::Duration;

use hotseat_test_support::{Gate, Host, elf, eventually, fault, library, start_host, wire};

/// A host whose plugin has left a thread at a gate, and has been swapped out.
#[track_caller]
fn check_order(bytes: &[u8], dropped_first: bool) {
    let host = start_host!();
    host.deploy_bytes(bytes, "libhandler_v1.so").swapped();
    let gate = Gate::new();
    host.get(&format!("/?{}", gate.query())).assert_status(200);
    let waiting = gate.entered();
    let mut events = host.events();
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    let why = || wire::retired(&host.status(), 1).unwrap_or_default().to_string();
    eventually!(why().contains("1 thread left behind"), "why it stays: {}", why());
    if dropped_first {
        host.assert_logged("the handler is dropped");
    }
    waiting.release();
    events.wait_generation(1, "unloaded");
    host.assert_logged("the handler is dropped");
    host.assert_logged("the thread ends");
    let log = host.home().read_log();
    // The first of each is the preflight's, which started no thread.
    let at = |text: &str| log.rfind(text).unwrap();
    let order = at("the handler is dropped") < at("the thread ends");
    assert_eq!(order, dropped_first, "{}", host.log_end());
    assert!(at("the handler is stopped") < at("the handler is dropped"), "{}", host.log_end());
}

#[test]
fn a_handler_is_dropped_before_its_threads_are_waited_for() {
    check_order(&library::bytes(&fault("end_order")), true);
}

/// Its author was promised that no thread can reach the handler when it is dropped.
#[test]
fn a_library_of_before_is_dropped_after_its_threads() {
    check_order(&elf::with_abi_minor(library::bytes(&fault("end_order")), 4, 2), false);
}

/// A runtime, or a worker that is joined on drop, is simply a field.
#[test]
fn threads_in_fields_end_with_the_handler() {
    let host = start_host!(fault("plain_v1"), "libhandler_v1.so");
    let mut events = host.events();
    let bytes = library::bytes(&fault("owns_threads"));
    for version in 2..8_u8 {
        let bytes = [&bytes[..], &[version]].concat();
        let swapped = host.deploy_bytes(&bytes, &format!("libhandler_v{version}.so")).swapped();
        assert!(!swapped.notes.contains("resident"), "it would be unloaded: {swapped:?}");
        host.get("/").assert_status(200).assert_contains("owns_threads");
        events.wait_generation(u64::from(version) - 1, "unloaded");
    }
    assert_eq!(host.loaded().len(), 1, "{:?}", host.loaded());
}

/// The preflight of such a one takes as long as its threads do, not as long as it would wait for one
/// that does not end (0.3 s). The fastest of a few: the machine may be busy.
#[test]
fn a_preflight_waits_for_nothing_that_is_over() {
    let host = start_host!();
    let bytes = library::bytes(&fault("owns_threads"));
    let took = (1..6_u8).map(|version| {
        let bytes = [&bytes[..], &[version]].concat();
        host.deploy_bytes(&bytes, &format!("libhandler_v{version}.so")).swapped().json
    });
    let took = took.map(|json| json["preflight_ms"].as_f64().unwrap());
    let fastest = took.fold(f64::MAX, f64::min);
    assert!(fastest < 250.0, "{fastest} ms");
}

/// A drop that takes long is named, holds up nobody else, and its library goes afterwards.
#[test]
fn a_slow_drop_is_named() {
    let host = start_host!(fault("end_order"), "libhandler_v1.so");
    let gate = Gate::new();
    host.get(&format!("/?drop={}", gate.query().trim_start_matches("gate=")));
    let mut events = host.events();
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    let waiting = gate.entered();
    check_named(&host, "its `drop` has not returned");
    host.deploy(&fault("plain_v1"), "libhandler_v3.so").swapped();
    events.wait_generation(2, "unloaded");
    waiting.release();
    events.wait_generation(1, "unloaded");
}

#[track_caller]
fn check_named(host: &Host, reason: &str) {
    eventually!(host.status().to_string().contains(reason), "`{reason}`: {}", host.status());
}

/// A drop that never comes to its end costs its own library, and the host ends all the same.
#[test]
fn a_drop_that_hangs_does_not_keep_the_host() {
    let mut host = hotseat_test_support::host!()
        .arg("--plugin-stop-time=500ms")
        .with(fault("end_order"), "libhandler_v1.so")
        .start();
    let gate = Gate::new();
    host.get(&format!("/?drop={}", gate.query().trim_start_matches("gate=")));
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    let _waiting = gate.entered();
    check_named(&host, "its `drop` has not returned");
    let began = std::time::Instant::now();
    host.stop();
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}\n{}", began.elapsed(), host.log_end());
}
