//! What a load leaves that has failed in the serving process alone is told and counted like any library
//! that stays, and is unloaded as soon as nothing holds it any more.

use hotseat_test_support::{Builder, Host, eventually, fault, host, library, wire};

/// Whose failed loads are held until a file is there.
fn builder() -> Builder {
    let builder = host!().arg("--load-time=1s");
    let until = builder.home().path().join("until");
    builder.config(&format!("[plugin.handler]\nuntil = {until:?}\n"))
}

fn offer(host: &Host, number: u8, how: &str, code: &str) {
    let bytes = [&library::bytes(&fault("new_fails_kept"))[..], &[number]].concat();
    let name = format!("libhandler_v{number}{how}.so");
    let offered = host.deploy_bytes(&bytes, &name);
    assert_eq!(offered.refused().code, code);
}

#[track_caller]
fn resident_libraries(host: &Host) -> u64 {
    let text = host.control().get("/metrics").text().to_owned();
    let line = text.lines().find_map(|it| it.strip_prefix("hotseat_resident_libraries "));
    line.expect("the family is there").parse().expect("a number")
}

#[track_caller]
fn check(how: &str, code: &str) {
    let host = builder().with(fault("plain_v1"), "libhandler_v1.so").start();
    offer(&host, 2, how, code);
    // At once: whoever was refused can see it.
    let status = host.status();
    assert_eq!(wire::number(&status, "/resident_count"), 1, "{status}");
    assert_eq!(resident_libraries(&host), 1);
    let group = wire::list(&status, "/residents").remove(0);
    assert_eq!(group["plugin"], "handler", "{group}");
    assert_eq!(group["generations"], serde_json::json!([2]), "{group}");
    let retired = wire::retired(&status, 2).unwrap();
    assert_eq!(retired["label"], format!("2{how}"), "{retired}");
    let threads = || wire::list(&host.status(), "/residents")[0]["threads"].clone();
    eventually!(threads() == serde_json::json!({ "kept": 1 }), "{}", host.status());
    let shown = host.control().get("/").text().to_owned();
    assert!(shown.contains("handler (generation 2): 1 thread left behind"), "{shown}");
    assert_eq!(host.loaded().len(), 2, "{:?}", host.loaded());
    host.home().write("until", b"");
    let count = || wire::number(&host.status(), "/resident_count");
    eventually!(count() == 0, "{}\n{}", host.status(), host.log_end());
    eventually!(host.loaded().len() == 1, "{:?}", host.loaded());
    assert_eq!(resident_libraries(&host), 0);
    host.get("/").assert_status(200).assert_contains("v1");
}

#[test]
fn what_a_failed_new_leaves_is_resident() {
    check("", "new_failed");
}

#[test]
fn what_a_panicked_new_leaves_is_resident() {
    check(".panics", "new_panicked");
}

#[test]
fn what_a_late_new_leaves_is_resident() {
    check(".late", "load_timeout");
}

/// Refused deploys wear a worker like any others.
#[test]
fn failed_loads_that_stay_renew_the_worker() {
    let host = builder()
        .arg("--recycle=auto")
        .arg("--resident-count=2")
        .arg("--soak-time=100ms")
        .with(fault("plain_v1"), "libhandler_v1.so")
        .start();
    let first = host.worker_pid();
    offer(&host, 2, "", "new_failed");
    offer(&host, 3, "", "new_failed");
    eventually!(host.worker_pid() != first, "another worker\n{}", host.log_end());
    eventually!(wire::number(&host.status(), "/resident_count") == 0, "{}", host.status());
    host.get("/").assert_status(200).assert_contains("v1");
}
