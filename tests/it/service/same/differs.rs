//! What differs from a program of its own: these, and nothing that the other tables have.

use hotseat_test_support::{Connection, Gate, fault, host};

use super::{Program, answer, without};

/// Name, request, and the beginning of what a program of its own and what this host answers; an empty
/// one is a connection that was closed without an answer.
fn differences() -> Vec<(&'static str, String, &'static str, &'static str)> {
    vec![
        ("a panic", without("GET /panic HTTP/1.1"), "", "HTTP/1.1 500 Internal Server Error"),
        ("OPTIONS *", without("OPTIONS * HTTP/1.1"), "HTTP/1.1 404", "HTTP/1.1 204"),
        ("TRACE", without("TRACE /request HTTP/1.1"), "HTTP/1.1 200", "HTTP/1.1 405"),
        (
            "no host",
            "GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
            "HTTP/1.1 200",
            "HTTP/1.1 400",
        ),
        ("two hosts", without("GET / HTTP/1.1\r\nHost: b"), "HTTP/1.1 200", "HTTP/1.1 400"),
        (
            "an odd expectation",
            without("GET / HTTP/1.1\r\nExpect: wonders"),
            "HTTP/1.1 200",
            "HTTP/1.1 417",
        ),
    ]
}

#[test]
fn what_differs_is_what_is_named() {
    let (program, host) = (Program::start(), super::host().start());
    for (name, request, alone, plugin) in differences() {
        for (address, wanted) in [(program.address, alone), (host.data(), plugin)] {
            let answer = answer(address, request.as_bytes());
            let is_right =
                if wanted.is_empty() { answer.is_empty() } else { answer.starts_with(wanted) };
            assert!(is_right, "{name}: `{wanted}`, not {answer:.400}");
        }
    }
}

/// RFC 9112, 3.2.2: a target that says whom the request is for is believed, and so is the field.
#[test]
fn an_absolute_target_goes_before_the_host() {
    let (program, host) = (Program::start(), super::host().start());
    let request = without("GET http://b/request HTTP/1.1");
    for (address, said) in [(program.address, "a"), (host.data(), "b")] {
        let answer = answer(address, request.as_bytes());
        assert!(
            answer.ends_with(&format!("GET http://b/request HTTP/1.1 Some(\"{said}\")")),
            "{answer}"
        );
    }
}

/// Under a mount the target has all but the prefix, and `OriginalUri` has that, too.
#[test]
fn a_mount_takes_its_prefix_off_an_absolute_target() {
    let builder = host!().arg("--mount=/deep/er=handler");
    let host = builder.with(fault("stock_app"), "libhandler_v1.so").start();
    for (target, wanted) in [
        ("http://a/deep/er/uri?b", "http://a/deep/er/uri?b http://a/uri?b"),
        ("/deep/er/uri?b", "/deep/er/uri?b /uri?b"),
        ("http://a/deep/er/nested/uri", "http://a/deep/er/nested/uri http://a/uri"),
    ] {
        let answer = answer(host.data(), without(&format!("GET {target} HTTP/1.1")).as_bytes());
        assert!(answer.ends_with(&format!("\r\n\r\n{wanted}")), "{target}: {answer}");
    }
}

/// A client that only closes its side is served, unless the host is told that it has gone; a program of
/// its own takes it for gone.
#[test]
fn a_client_that_closes_its_side_is_served_or_not() {
    let rows = |half_close: bool| {
        let builder = host!().arg(format!("--half-close={half_close}"));
        builder.with(fault("rows"), "libhandler_v1.so").start()
    };
    let ask = |host: &hotseat_test_support::Host, gate: &Gate| -> Connection {
        let mut connection = host.connect();
        connection.send_request("GET", &format!("/held?{}", gate.query()), "").unwrap();
        connection
    };
    let (host, gate) = (rows(true), Gate::new());
    let mut connection = ask(&host, &gate);
    let waiting = gate.entered();
    connection.half_close().unwrap();
    waiting.release();
    assert_eq!(connection.read_answer().unwrap().text(), "on");
    let (host, gate) = (rows(false), Gate::new());
    let mut connection = ask(&host, &gate);
    let waiting = gate.entered();
    connection.half_close().unwrap();
    waiting.wait_dropped();
    assert!(connection.read_answer().is_err(), "nobody answers");
    host.connect().get("/room").unwrap().assert_status(200);
}
