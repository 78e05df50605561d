//! Faults that no preflight can see: they load, answer 500 where they fail, and harm nobody else.

use hotseat_test_support::{Host, eventually, fault, wire};

/// Puts `name` into the seat of a host that serves; generation 2.
#[track_caller]
fn seated(name: &str) -> Host {
    let host = crate::plain_host();
    let swapped = host.deploy(&fault(name), super::OFFERED).swapped();
    assert_eq!(swapped.generation, 2);
    host
}

/// The host is well: the next version takes the seat.
#[track_caller]
fn check_alive(host: &Host) {
    host.deploy(&fault("plain_v2"), "libhandler_v3.so").swapped();
    host.get("/").assert_status(200).assert_contains("v2");
}

/// A panic is a 500 with the host's code, is counted, and its text and place are in the log.
#[test]
fn call_panics() {
    let host = seated("call_panics");
    let mut connection = host.connect();
    for _ in 0..3 {
        connection.get("/").unwrap().assert_error(500, "plugin_panic");
    }
    let plugin = wire::plugin(&host.status(), "handler");
    assert_eq!(wire::number(&plugin, "/counts/panics"), 3);
    eventually!(host.home().read_log().contains("was asked to panic"), "the panic in the log");
    check_alive(&host);
}

/// What is raised again passes no hook on its way: it is told by its own text, and not by that of the
/// panic before it, which was caught.
#[test]
fn a_panic_that_is_raised_again_is_told_as_itself() {
    let host = seated("call_panics");
    host.get("/again").assert_error(500, "plugin_panic");
    let told = |text: &str| {
        let log = host.home().read_log();
        log.lines().any(|line| line.contains("raised again") && line.contains(text))
    };
    eventually!(told("a panic of a thread"), "its text\n{}", host.log_end());
    assert!(!told("a panic that is caught"), "{}", host.log_end());
}

/// An error is a 500 with a code of its own, and its text stays out of the answer.
#[test]
fn call_errs() {
    let host = seated("call_errs");
    let answer = host.get("/");
    answer.assert_error(500, "plugin_error");
    assert!(!answer.text().contains("nothing to say"), "{}", answer.text());
    eventually!(host.home().read_log().contains("nothing to say"), "the error in the log");
    check_alive(&host);
}

/// A panic in the drop of a future that its client left.
#[test]
fn drop_panics() {
    let host = seated("drop_panics");
    let mut connection = host.connect();
    connection.send_request("GET", "/", "").unwrap();
    eventually!(holders(&host) == 1, "the request in the plugin");
    connection.reset().unwrap();
    eventually!(holders(&host) == 0, "the request gone");
    check_alive(&host);
}

/// A panic in a body of which nothing has gone out: it is answered for.
#[test]
fn body_panics() {
    let host = seated("body_panics");
    let answer = host.get("/");
    answer.assert_status(500);
    assert_eq!(answer.header("hotseat-error"), Some("plugin_panic"));
    check_alive(&host);
}

/// A call that never ends is answered by the host at its time limit, and its future is dropped.
#[test]
fn hangs_call() {
    let host = hotseat_test_support::host!()
        .arg("--plugin-time=300ms")
        .with(fault("hangs_call"), "libhandler_v1.so")
        .start();
    host.get("/").assert_error(504, "plugin_timeout");
    eventually!(holders(&host) == 0, "the request gone");
    let plugin = wire::plugin(&host.status(), "handler");
    assert_eq!(wire::number(&plugin, "/counts/timeouts"), 1);
}

fn holders(host: &Host) -> u64 {
    let plugin = wire::plugin(&host.status(), "handler");
    wire::number(&plugin, "/active/holder_count")
}

/// It logs and panics where the log's own thread-locals are gone: both are told, nobody dies.
#[test]
fn thread_end_logs() {
    let host = seated("thread_end_logs");
    host.get("/").assert_status(200);
    for line in ["said at the thread's end", "thrown at the thread's end"] {
        eventually!(host.home().read_log().contains(line), "`{line}` in the log");
    }
    check_alive(&host);
}
