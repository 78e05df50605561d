//! A handler that blocks its thread: named, and nobody else has to wait.

use hotseat_test_support::{Host, eventually, fault, host, wire};

/// What the status says of the thread that is blocked, if one is.
pub(crate) fn blocked_entry(host: &Host) -> Option<serde_json::Value> {
    let cores = wire::list(&host.status(), "/cores");
    cores.into_iter().map(|core| core["blocked"].clone()).find(|it| !it.is_null())
}

/// It blocks for 5 s: status names plugin, generation and path; other connections are served
/// meanwhile, and so are new ones.
#[test]
fn a_blocking_handler_is_named_and_others_are_served() {
    let host = host!()
        .arg("--threads=2")
        .with(fault("blocks_thread"), "libhandler_v1.so")
        .with(fault("plain_v1"), "libother_v1.so")
        .start();
    let generation = host.active("handler");
    let mut blocked = host.connect();
    blocked.send_request("GET", "/?block=5", "").unwrap();
    let found = || blocked_entry(&host);
    eventually!(found().is_some(), "the blocked thread in {}", host.status());
    let entry = found().expect("it blocks for longer than one look at the status takes");
    assert_eq!(entry["plugin"], "handler", "{entry}");
    assert_eq!(entry["generation"], generation, "{entry}");
    assert!(entry["path"].as_str().is_some_and(|path| path.starts_with('/')), "{entry}");

    // New connections go to the other thread, all of them.
    for _ in 0..20 {
        host.get("/other").assert_status(200).assert_contains("v1");
    }
    assert!(found().is_some(), "all that was answered while the other thread was blocked");
    let warns =
        |line: &str| line.contains("blocks its thread") && line.contains("plugin=\"handler\"");
    let line = || host.home().read_log().lines().find(|it| warns(it)).map(str::to_owned);
    eventually!(line().is_some(), "a line in the log: {}", host.log_end());
    let line = line().unwrap();
    for way in ["`Context::blocking`", "`spawn_blocking`", "`BlockingHandler`"] {
        assert!(line.contains(way), "{line}");
    }
    blocked.read_answer().unwrap().assert_status(200);
    eventually!(found().is_none(), "{}", host.status());
}

/// A swap does not wait for the blocked thread: its generation alone stays pending.
#[test]
fn a_swap_goes_on_while_a_thread_is_blocked() {
    let host = host!().arg("--threads=2").with(fault("blocks_thread"), "libhandler_v1.so").start();
    let mut blocked = host.connect();
    blocked.send_request("GET", "/?block=3", "").unwrap();
    eventually!(blocked_entry(&host).is_some(), "{}", host.status());
    let mut events = host.events();
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    host.deploy(&fault("plain_v1"), "libhandler_v3.so").swapped();
    host.get("/").assert_status(200).assert_contains("v1");
    blocked.read_answer().unwrap().assert_status(200).assert_contains("blocks_thread");
    events.wait_generation(1, "unloaded");
}
