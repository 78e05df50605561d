//! What differs from a program of its own: these, and nothing that the other tables have.

use hotseat_test_support::{Connection, Gate, fault, host};

use super::{Program, answer, without};

const EMPTY: &str = "0\r\n\r\n";

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
        ("CONNECT", without("CONNECT a:80 HTTP/1.1"), "HTTP/1.1 404", "HTTP/1.1 405"),
        ("a target of a word", without("GET foo HTTP/1.1"), "HTTP/1.1 404", "HTTP/1.1 400"),
        ("a target of a place", without("GET a:80 HTTP/1.1"), "HTTP/1.1 404", "HTTP/1.1 400"),
        ("GET *", without("GET * HTTP/1.1"), "HTTP/1.1 404", "HTTP/1.1 400"),
        (
            "a user in the target",
            without("GET http://u:p@a/request HTTP/1.1"),
            "HTTP/1.1 200",
            "HTTP/1.1 400",
        ),
        (
            "two transfer codings",
            without("POST /length HTTP/1.1\r\nTransfer-Encoding: gzip, chunked") + EMPTY,
            "HTTP/1.1 200",
            "HTTP/1.1 501",
        ),
        (
            "chunked twice",
            without("POST /length HTTP/1.1\r\nTransfer-Encoding: chunked, chunked") + EMPTY,
            "HTTP/1.1 200",
            "HTTP/1.1 501",
        ),
        ("status 600", without("GET /status/600 HTTP/1.1"), "HTTP/1.1 600", "HTTP/1.1 500"),
        ("status 999", without("GET /status/999 HTTP/1.1"), "HTTP/1.1 999", "HTTP/1.1 500"),
        ("a phrase", without("GET /phrase HTTP/1.1"), "HTTP/1.1 200 All Is", "HTTP/1.1 200 OK"),
    ]
}

/// What one answer has and the other has not; the rest is the same.
#[test]
fn what_is_left_out_is_what_is_named() {
    let (program, host) = (Program::start(), super::host().start());
    for (target, left_out) in [
        ("/status/205", &["a status"][..]),
        ("/hops", &["keep-alive: timeout=7", "upgrade: shout"]),
    ] {
        let request = without(&format!("GET {target} HTTP/1.1"));
        let mut alone = answer(program.address, request.as_bytes());
        let plugin = answer(host.data(), request.as_bytes());
        assert_ne!(alone, plugin, "{target}");
        for it in left_out {
            assert!(alone.contains(it) && !plugin.contains(it), "{target}: {plugin}");
            alone = alone.replace(&format!("{it}\r\n"), "").replace(it, "");
        }
        // An empty body has another length.
        assert_eq!(alone.replace("length: 8", "length: 0"), plugin, "{target}");
    }
}

/// It has none: an extractor that wants one has its refusal answered.
#[test]
fn a_client_on_a_unix_socket_has_no_address() {
    use std::{
        io::{Read as _, Write as _},
        os::unix::net::UnixStream,
    };

    let builder = host!();
    let path = builder.home().path().join("data.sock");
    let builder = builder.arg("--listen").arg(format!("unix:{}", path.display()));
    let _host = builder.with(fault("stock_app"), "libhandler_v1.so").start();
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(without("GET /client HTTP/1.1").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 500"), "{text}");
    assert!(text.contains("Missing request extension"), "{text}");
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
