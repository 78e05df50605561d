//! A library fits a host of either release, whichever of them it was built with.

use std::time::Duration;

use hotseat_test_support::{
    Builder, Connection, Gate, Host, Release, eventually, fault, stream::Socket, transfer::hex_sum,
    wire,
};

use super::{assert_label, pairs};

/// Bodies, headers and WebSockets cross.
#[track_caller]
fn check_serves(host: &Host, label: &str) {
    let mut connection = host.connect();
    for body in ["", "a body that comes at once"] {
        let head = format!("Content-Length: {}\r\n", body.len());
        connection.send_request("POST", "/", &head).unwrap();
        connection.send(body).unwrap();
        let answer = connection.read_answer().unwrap();
        assert_label(&answer, label);
        assert_eq!(answer.header("x-sum"), Some(&*hex_sum(body.as_bytes())));
    }
    assert_eq!(connection.get("/?bytes=300000").unwrap().body.len(), 300_000);
    let mut socket = Socket::open(host.data(), "/ws").unwrap();
    socket.echo("over the border").unwrap();
}

#[track_caller]
fn check_loads(host: &Host, made_by: &Release, number: usize) {
    let library = made_by.fault("whoami");
    let checked = host.command().arg("check").arg(&library).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let label = number.to_string();
    host.deploy(&library, &format!("libhandler_v{label}.so")).swapped();
    check_serves(host, &label);
}

#[test]
fn either_release_loads_what_was_built_with_the_other() {
    for [release, other] in pairs() {
        let host = Builder::new(&release.binary).start();
        for (number, made_by) in [&other, &release, &other].into_iter().enumerate() {
            check_loads(&host, made_by, number + 1);
        }
    }
}

/// A service of this release on a host of the one before, which cannot bring a body to another thread:
/// that is an error, and all else works. Its runtime's threads are waited for before it is dropped
/// there, so it stays.
#[test]
fn a_service_runs_on_the_host_of_before() {
    let [[before, _], ..] = pairs();
    let host = Builder::new(&before.binary).start();
    host.deploy(&fault("stock_app"), "libhandler_v1.so").swapped();
    assert_eq!(host.get("/task").text(), "Ok(Ok(\"slept\"))");
    assert_eq!(host.get("/client").text(), "127.0.0.1 true");
    let mut connection = host.connect();
    for (target, status, text) in [("/length", 200, "4"), ("/spawned", 400, "")] {
        connection.send_request("POST", target, "Content-Length: 4\r\n").unwrap();
        connection.send("body").unwrap();
        let answer = connection.read_answer().unwrap();
        assert_eq!((answer.status, &*answer.text()), (status, text), "{target}");
    }
    Socket::open(host.data(), "/socket").unwrap().echo("over the border").unwrap();
    // It takes a line of the log as text, with all that is known of it.
    host.deploy(&fault("logs"), "libnotes_v1.so").swapped();
    host.get("/notes/events").assert_status(200);
    host.assert_logged("saved 2 rows");
    host.assert_logged("span=\\\"outer{user=7 note=a b}:inner{late=1.5}");
    host.deploy(&before.fault("whoami"), "libhandler_v2.so").swapped();
    check_serves(&host, "2");
    let retired = || wire::list(&host.status(), "/retired");
    eventually!(
        retired()
            .iter()
            .any(|it| it["why"].as_str().is_some_and(|why| why.contains("left behind"))),
        "{:?}",
        retired()
    );
}

/// What needs a newer host says so before it serves; what only works better there works.
#[test]
fn what_a_host_of_before_lacks_is_told() {
    let [[before, _], ..] = pairs();
    let builder = Builder::new(&before.binary).arg("--blocking-threads=1");
    let builder = builder.config("[plugin.hears]\nmode = 'hears'\n");
    let host = builder.arg("--blocking-queue-count=1").start();
    for (name, what) in [("beside", "tasks"), ("hears", "topics")] {
        let refused = host.deploy(&fault("beside"), &format!("lib{name}_v1.so")).refused();
        let says = format!("{what} need a host of binary interface 1.4 or later");
        assert!(refused.text.contains(&says), "{refused:?}");
    }
    host.deploy(&fault("blocks"), "libhandler_v1.so").swapped();
    host.get("/a").assert_status(200).assert_contains("GET /a");
    let gate = Gate::new();
    let ask = |target: &str| {
        let mut connection = host.connect();
        connection.send_request("GET", target, "").unwrap();
        connection
    };
    let mut held = ask(&format!("/?{}", gate.query()));
    let waiting = gate.entered();
    let mut two = [ask("/b"), ask("/c")];
    let is_answered = |it: &Connection| it.wait_readable(Duration::ZERO).unwrap();
    eventually!(two.iter().any(is_answered), "one is refused");
    let refused = usize::from(!is_answered(&two[0]));
    let answer = two[refused].read_answer().unwrap();
    assert_eq!(answer.assert_status(503).header("retry-after"), Some("1"));
    waiting.release();
    held.read_answer().unwrap().assert_status(200);
    two[1 - refused].read_answer().unwrap().assert_status(200);
}
