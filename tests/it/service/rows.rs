//! What the tables of the SDK's documentation say of services, as far as a program of its own is no
//! measure for it.

use hotseat_test_support::{Builder, Gate, Host, eventually, fault, host, library};

use crate::blocked::blocked_entry;

fn start(builder: Builder) -> Host {
    builder.with(fault("rows"), "libhandler_v1.so").start()
}

/// Blocking code in a call holds the host's thread, however tokio is asked to run it: there is no other
/// thread that could go on with what is polled here.
#[test]
fn blocking_in_a_call_blocks_the_data_thread() {
    let host = start(host!().arg("--threads=2"));
    for path in ["/in_place", "/block_on"] {
        let gate = Gate::new();
        let mut connection = host.connect();
        connection.send_request("GET", &format!("{path}?{}", gate.query()), "").unwrap();
        let waiting = gate.entered();
        eventually!(blocked_entry(&host).is_some(), "{path} blocks: {}", host.status());
        assert_eq!(blocked_entry(&host).unwrap()["plugin"], "handler", "{path}");
        waiting.release();
        assert_eq!(connection.read_answer().unwrap().text(), "Ok(\"on\")", "{path}");
        eventually!(blocked_entry(&host).is_none(), "{path} is over: {}", host.status());
    }
}

/// In a task of the runtime it blocks nobody: neither the one thread of the host, nor the one of the
/// runtime.
#[test]
fn blocking_in_place_of_a_task_blocks_nobody() {
    let host = start(host!().arg("--threads=1"));
    let gate = Gate::new();
    let mut connection = host.connect();
    connection.send_request("GET", &format!("/spawned?{}", gate.query()), "").unwrap();
    let waiting = gate.entered();
    host.get("/room").assert_status(200);
    waiting.release();
    assert_eq!(connection.read_answer().unwrap().text(), "Ok((true, true))");
}

/// A call has no budget of tokio's: what is ready is taken to its end. A task has one.
#[test]
fn a_call_has_no_budget() {
    assert_eq!(start(host!()).get("/budget").text(), "1000 true");
}

/// There is no `LocalSet` around a call.
#[test]
fn spawn_local_panics() {
    let host = start(host!());
    host.connect().get("/local").unwrap().assert_error(500, "plugin_panic");
    host.assert_logged("spawn_local");
}

/// A hook of the plugin's own takes the place of the one that tells the host where a panic was.
#[test]
fn a_panic_hook_of_ones_own_costs_the_place() {
    let host = start(host!());
    host.connect().get("/chained_hook").unwrap().assert_error(500, "plugin_panic");
    host.assert_logged("behind a hook that goes on");
    host.assert_logged("tests/plugins-service/rows.rs:");
    host.connect().get("/own_hook").unwrap().assert_error(500, "plugin_panic");
    host.assert_logged("behind a hook of its own");
    host.assert_logged("or the plugin has a panic hook of its own");
}

#[test]
fn the_deadline_is_told() {
    assert_eq!(start(host!().arg("--plugin-time=40s")).get("/deadline").text(), "true true");
}

/// An event stream of axum that waits for the drain ends properly, and its version is gone.
#[test]
fn an_event_stream_ends_at_the_drain() {
    let host = start(host!());
    let mut connection = host.connect();
    connection.send_request("GET", "/feed", "").unwrap();
    let head = connection.read_head().unwrap();
    assert_eq!(connection.read_chunk().unwrap(), b"data: begun\n\n");
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    assert_eq!(connection.read_body(&head).unwrap(), b"data: over\n\n");
    host.assert_all_unloaded("rows");
}

/// What was spawned and never ends is dropped with the runtime, while the host still hears of it.
#[test]
fn a_task_ends_with_the_runtime() {
    let host = start(host!());
    host.get("/room").assert_status(200);
    assert!(!host.home().read_log().contains("an endless task is dropped"));
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    host.assert_all_unloaded("rows");
    host.assert_logged("an endless task is dropped");
}

/// How a child ends is its plugin's to know, although the host has children, too.
#[test]
fn a_child_process_is_waited_for() {
    let host = start(host!());
    for _ in 0..5 {
        assert_eq!(host.get("/child").text(), "a child Some(3)");
    }
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    host.assert_all_unloaded("rows");
}

#[test]
fn metrics_are_the_hosts() {
    let host = start(host!());
    host.get("/metrics").assert_status(200);
    let text = host.control().get("/metrics").text();
    for line in [
        "plugin_rows_asked_total{plugin=\"handler\",how=\"twice\"} 2.0",
        "plugin_rows_open{plugin=\"handler\"} 5.0",
        "plugin_rows_seconds_count{plugin=\"handler\"} 1",
        "plugin_rows_seconds_sum{plugin=\"handler\"} 0.25",
    ] {
        assert!(text.contains(line), "`{line}` in\n{text}");
    }
}

/// Cells and settings are those of the plugin's name, whatever its framework.
#[test]
fn a_service_has_cells_and_settings() {
    let host = start(host!().config("[plugin.handler]\nroom = 'blue'\n"));
    assert_eq!(host.get("/room").text(), "blue");
    assert_eq!(host.get("/cell").text(), "1");
    let again = [library::bytes(&fault("rows")), vec![0]].concat();
    host.deploy_bytes(&again, "libhandler_v2.so").swapped();
    assert_eq!(host.get("/cell").text(), "2");
    let host = host!().config("[plugin.handler]\nroon = 'blue'\n").start();
    let refused = host.deploy(&fault("rows"), "libhandler_v1.so");
    let refused = refused.assert_refused(422, "new_failed");
    assert!(refused.text.contains("unknown field `roon`"), "{refused:?}");
}
