//! Values that plugins keep with their host: beyond swaps, upgrades, crashes and, if so wanted, the
//! end of the host.
//!
//! Owns how the scenarios ask the plugin `cells`. What the file itself promises is tested where it
//! is, step by step.

use hotseat_test_support::{Answer, Builder, Connection, Host, fault, host, library};

mod disk;
mod operator;
mod workers;

/// A host whose `handler` v1 does with cells what it is asked for.
fn builder() -> Builder {
    host!().with(fault("cells"), "libhandler_v1.so")
}

/// Another version of the same code.
fn version(label: u8) -> Vec<u8> {
    [library::bytes(&fault("cells")), vec![label]].concat()
}

#[track_caller]
fn ask(host: &Host, method: &str, target: &str, body: &str) -> Answer {
    let mut connection = host.connect();
    ask_on(&mut connection, method, target, body)
}

#[track_caller]
fn ask_on(connection: &mut Connection, method: &str, target: &str, body: &str) -> Answer {
    let head = format!("Content-Length: {}\r\n", body.len());
    connection.send_request(method, target, &head).unwrap();
    connection.send(body).unwrap();
    connection.read_answer().unwrap()
}

#[track_caller]
fn count(host: &Host) -> u64 {
    host.get("/count/visits").assert_status(200).text().parse().unwrap()
}

#[track_caller]
fn set(host: &Host, key: &str, value: &str) -> u64 {
    let answer = ask(host, "PUT", &format!("/{key}"), value);
    answer.assert_status(200);
    answer.header("x-version").unwrap().parse().unwrap()
}

/// The status and the kind of an error.
#[track_caller]
fn refused(answer: &Answer) -> String {
    answer.assert_status(409);
    answer.header("x-error").unwrap().to_owned()
}

/// Values belong to the plugin, and not to its version; they stay when it is unloaded.
#[test]
fn a_value_outlives_its_version() {
    let host = builder().start();
    assert_eq!((count(&host), count(&host)), (1, 2));
    host.get("/typed").assert_status(200);
    host.deploy_bytes(&version(2), "libhandler_v2.so").swapped();
    assert_eq!(count(&host), 3);
    host.get("/typed").assert_contains("generation 1\ngeneration 2");
    assert_eq!(host.get("/keys").text(), "typed\nvisits");
    host.control().unload("handler").assert_status(200);
    host.deploy_bytes(&version(3), "libhandler_v3.so").swapped();
    assert_eq!(count(&host), 4);
    host.deploy_bytes(&version(4), "libother_v1.so").swapped();
    host.get("/other/visits").assert_status(404);
}

/// A change with a condition says what is there instead.
#[test]
fn a_condition_holds_or_says_what_is_there() {
    let host = builder().start();
    let first = set(&host, "a", "one");
    let target = format!("/a?if={first}");
    let second = ask(&host, "PUT", &target, "two");
    second.assert_status(200);
    assert_eq!(refused(&ask(&host, "PUT", &target, "three")), "conflict");
    assert_eq!(refused(&ask(&host, "DELETE", &target, "")), "conflict");
    let now = host.get("/a");
    assert_eq!((now.text().as_str(), now.header("x-version")), ("two", second.header("x-version")));
    ask(&host, "DELETE", "/a", "").assert_status(404);
    host.get("/a").assert_status(404);
    assert!(set(&host, "a", "") > first, "no version comes twice");
    host.get("/a").assert_status(200);
}

/// What has no room is refused, told once in the log, and changes nothing.
#[test]
fn there_is_an_end_to_it() {
    let bounds = ["--cells-count=2", "--cell-bytes=1KiB", "--cells-bytes=2KiB"];
    let builder = bounds.into_iter().fold(builder(), Builder::arg);
    let host = builder.arg("--log-repeat-count=1").start();
    set(&host, "a", &"x".repeat(1024));
    assert_eq!(refused(&ask(&host, "PUT", "/a", &"x".repeat(1025))), "too-long");
    for _ in 0..5 {
        assert_eq!(refused(&ask(&host, "PUT", "/b", &"x".repeat(1024))), "full");
    }
    set(&host, "b", "small");
    assert_eq!(refused(&ask(&host, "PUT", "/c", "")), "full");
    host.get("/a").assert_contains(&"x".repeat(1024));
    host.assert_logged("a plugin's cells are full");
    let lines = host.home().read_log().matches("cells_bytes").count();
    assert_eq!(lines, 1, "{}", host.log_end());
    assert_eq!(refused(&host.get(&format!("/{}", "k".repeat(129)))), "bad-key");
}

/// A preflight sees what serves, and what it writes nobody sees.
#[test]
fn a_preflight_reads_and_changes_nothing() {
    let host = builder().start();
    host.deploy_bytes(&version(2), "libhandler_v2.so").swapped();
    host.get("/tried").assert_status(404);
    set(&host, "refuse", "");
    let refused = host.deploy_bytes(&version(3), "libhandler_v3.so").refused();
    assert_eq!(refused.code, "new_failed", "{refused:?}");
    assert!(refused.text.contains("the cell `refuse` is there"), "{refused:?}");
    // So does the check before an upgrade.
    let upgrade = host.upgrade(&["--wait"]);
    upgrade.assert_code(3).assert_says("the cell `refuse` is there");
    ask(&host, "DELETE", "/refuse", "").assert_status(404);
    host.upgrade(&["--wait"]).assert_code(0);
    host.get("/tried").assert_status(404);
}

/// A child that a plugin forks has no part in the locks, and is told so.
#[test]
fn a_forked_child_is_refused() {
    let host = builder().start();
    assert_eq!(host.get("/forked").text(), "7");
    host.get("/forked").assert_status(200);
    assert_eq!(count(&host), 1);
}

/// Without a master as well.
#[test]
fn a_host_in_one_process_has_them() {
    let mut host = builder().arg("--single").arg("--cells-on-disk=handler").start();
    assert_eq!((count(&host), count(&host)), (1, 2));
    host.deploy_bytes(&version(2), "libhandler_v2.so").swapped();
    assert_eq!(count(&host), 3);
    host.restart();
    assert_eq!(count(&host), 4);
}
