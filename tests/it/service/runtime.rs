//! A runtime of the plugin's own, and what a service knows of its request.

use hotseat_test_support::{
    fault, host,
    stream::{Came, Socket},
};
use rustix::process::Signal;

/// Tokio's functions work in all of a handler's code: also in a body that the host polls.
#[test]
fn a_body_is_made_within_the_runtime() {
    let host = host!().with(fault("tokio_handler"), "libhandler_v1.so").start();
    assert_eq!(host.get("/stream").text(), "abc");
    assert_eq!(host.get("/").text(), "blocking false");
}

/// Without a runtime tokio panics: whoever reads that is told what to write.
#[test]
fn the_lack_of_a_runtime_says_what_to_write() {
    const HINT: &str = "write `export_handler!(.., runtime = \"tokio\")`";
    let host = host!().with(fault("no_runtime"), "libhandler_v1.so").start();
    host.connect().get("/").unwrap().assert_error(500, "plugin_panic");
    host.assert_logged(HINT.replace('"', "\\\"").as_str());
    let config = "[plugin.handler]\nin_new = true\n";
    let host = host!().config(config).start();
    let refused = host.deploy(&fault("no_runtime"), "libhandler_v1.so");
    let refused = refused.assert_refused(422, "new_panicked");
    assert!(refused.hint.contains(HINT), "{refused:?}");
}

/// An application has one unless its author has said otherwise, and that is what is named.
#[test]
fn the_lack_of_an_applications_runtime_names_the_export() {
    let host = host!().with(fault("no_runtime_app"), "libhandler_v1.so").start();
    assert_eq!(host.get("/").text(), "served");
    host.connect().get("/spawn").unwrap().assert_error(500, "plugin_panic");
    host.assert_logged("an application has one unless its export says `runtime = none`");
}

/// A guard of a runtime that is held over an await breaks its own answer, and nothing else.
#[test]
fn a_guard_over_an_await_breaks_its_own_answer() {
    let host = host!().with(fault("tokio_handler"), "libhandler_v1.so").start();
    let worker = host.worker_pid();
    for _ in 0..8 {
        let mut connection = host.connect();
        connection.send_request("GET", "/guard", "").unwrap();
        connection.read_answer().unwrap().assert_error(500, "plugin_panic");
        assert_eq!(host.get("/").text(), "blocking false");
    }
    assert_eq!(host.worker_pid(), worker);
}

/// The runtime is around every piece of a handler's code, also of what no request asks for, and of
/// conversations.
#[test]
fn all_of_a_handler_is_within_the_runtime() {
    let host = host!().with(fault("inside"), "libhandler_v1.so").start();
    assert_eq!(host.get("/").text(), "inside");
    assert_eq!(host.get("/network").text(), "over the network");
    let mut socket = Socket::open(host.data(), "/socket").unwrap();
    socket.send("where").unwrap();
    assert_eq!(socket.receive(), Came::Text("inside".to_owned()));
    drop(socket);
    host.assert_logged("what a conversation held is dropped inside");
    let mut connection = host.connect();
    let fields = "Connection: upgrade\r\nUpgrade: place\r\n";
    connection.send_request("GET", "/upgrade", fields).unwrap();
    connection.read_head().unwrap().assert_status(101);
    assert_eq!(connection.read_to_end().unwrap(), b"inside");
    host.signal(Signal::USR1);
    host.assert_logged("signal is inside");
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    for of in ["new", "drain", "stop", "drop"] {
        host.assert_logged(&format!("{of} is inside"));
    }
    host.assert_all_unloaded("inside");
    assert!(!host.home().read_log().contains("is outside"), "{}", host.log_end());
}

/// A guard of a runtime in a field that is held over an await has others on its thread run within that
/// runtime.
#[test]
fn a_guard_over_an_await_reaches_others() {
    let builder = host!().arg("--threads=1");
    let host = builder.with(fault("stray_guard"), "libhandler_v1.so").start();
    assert_eq!(host.get("/").text(), "false");
    let mut connection = host.connect();
    connection.send_request("GET", "/guard", "").unwrap();
    connection.read_head().unwrap().assert_status(200);
    assert_eq!(connection.read_chunk().unwrap(), b"entered");
    assert_eq!(host.get("/").text(), "true");
}

/// Without a framework: what a request says of itself, under a mount, too.
#[test]
fn a_service_knows_its_request() {
    let builder = host!().arg("--mount=/a/b=handler");
    let host = builder.with(fault("counting_service"), "libhandler_v1.so").start();
    assert_eq!(
        host.get("/a/b/c?d").text(),
        "1 id=true peer=true generation=1 original=Some(\"/a/b/c?d\") runtime=false"
    );
    // Its error is one of the plugin.
    host.connect().get("/a/b/fails").unwrap().assert_error(500, "plugin_error");
    host.assert_logged("a service that fails");
}
