//! The smaller rules for what is asked, where proxies and servers have been played off against each
//! other.
//!
//! Each says which text it stands in. The plugin `reflect` tells what it was asked, so that what a
//! client sends and what a plugin sees are compared.

use hotseat_test_support::{
    Answer, Host, fault, host,
    http2::{
        RawHttp2, hpack,
        raw::{flag, kind},
    },
    start_host,
};

use super::{assert_not_smuggled, edge};

fn reflecting() -> Host {
    start_host!(fault("reflect"), "libhandler_v1.so")
}

/// A request over HTTP/2 of these very fields; `None`: its stream was reset.
#[track_caller]
fn ask(client: &mut RawHttp2, fields: &[(&str, &str)]) -> Option<Answer> {
    let stream = client.stream();
    let flags = flag::END_HEADERS | flag::END_STREAM;
    client.send(kind::HEADERS, flags, stream, &hpack::encode(fields)).unwrap();
    let over = client.finish(stream);
    let over = over.unwrap_or_else(|error| panic!("its stream alone may end: {error}, {fields:?}"));
    assert_eq!(client.goaway, None, "{fields:?}");
    over.answer.filter(|_| over.ended)
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const PATH: (&str, &str) = (":path", "/");

/// A bad request over HTTP/2 is refused by itself: the connection goes on.
#[track_caller]
fn check_refused(host: &Host, fields: &[(&str, &str)]) {
    let mut client = RawHttp2::open(host.data(), &[]).unwrap();
    if let Some(answer) = ask(&mut client, fields) {
        assert_eq!(answer.status, 400, "{fields:?}: {answer:?}");
        assert!(answer.error_code().is_some(), "{fields:?}: {answer:?}");
    }
    let next = client.get("/").expect("the connection goes on");
    assert_eq!(next.answer.map(|it| it.status), Some(200), "after {fields:?}");
}

/// RFC 9113, 8.2.3: crumbs of a cookie are one field to whoever knows HTTP/1 alone.
#[test]
fn cookie_crumbs_are_joined() {
    let host = reflecting();
    let mut client = RawHttp2::open(host.data(), &[]).unwrap();
    let authority = (":authority", "a");
    let crumbs = [("cookie", "a=1"), ("x-own", "2"), ("cookie", "b=2"), ("cookie", "c=3; d=4")];
    let fields = [&[METHOD, SCHEME, authority, PATH][..], &crumbs].concat();
    let answer = ask(&mut client, &fields).expect("an answer");
    answer.assert_status(200).assert_contains("cookie: a=1; b=2; c=3; d=4\n");
    assert_eq!(answer.text().matches("cookie:").count(), 1, "{}", answer.text());
}

/// RFC 9113, 8.3.1: the authority is what `Host` is in HTTP/1, with its port.
#[test]
fn the_authority_reaches_the_plugin() {
    let host = reflecting();
    let mut client = RawHttp2::open(host.data(), &[]).unwrap();
    for (authority, name) in [
        ("named.example", "named.example"),
        ("named.example:81", "named.example"),
        ("[::1]:81", "[::1]"),
    ] {
        let fields = [METHOD, SCHEME, (":authority", authority), PATH];
        let answer = ask(&mut client, &fields).expect("an answer");
        answer.assert_status(200).assert_contains(&format!("host={name}\n"));
        answer.assert_contains(&format!("host: {authority}\n"));
        // Said twice and the same is fine.
        let twice = [&fields[..], &[("host", authority)]].concat();
        let answer = ask(&mut client, &twice).expect("an answer");
        answer.assert_status(200);
        assert_eq!(answer.text().matches("host: ").count(), 1, "{}", answer.text());
    }
}

/// RFC 9113, 8.3.1: a `Host` that differs from the authority is an attack on whoever routes by one
/// and serves by the other. Over HTTP/1 the same goes for a whole URI (RFC 9112, 3.2.2 lets the URI
/// win there, and so it does).
#[test]
fn host_and_authority_must_agree() {
    let host = reflecting();
    for other in ["b", "a:81", "a, b"] {
        let fields = [METHOD, SCHEME, (":authority", "a"), PATH, ("host", other)];
        check_refused(&host, &fields);
    }
    check_refused(
        &host,
        &[METHOD, SCHEME, (":authority", "a"), PATH, ("host", "a"), ("host", "a")],
    );
}

/// RFC 3986, 3.2.2: what is no host name and no port is no authority.
#[test]
fn the_authority_is_checked() {
    let host = reflecting();
    for authority in ["", "a b", "a/b", "user@a", "a:port", "[::1", "a:80:80"] {
        check_refused(&host, &[METHOD, SCHEME, (":authority", authority), PATH]);
    }
}

/// Neither is what is no path; its stream ends, not the connection, as long as the block is one.
#[test]
fn a_bad_path_ends_its_stream_alone() {
    let host = reflecting();
    let authority = (":authority", "a");
    for path in ["", "no-slash", "*", "http://a/", "/a b", "/\u{e4}", "/a#b"] {
        let mut client = RawHttp2::open(host.data(), &[]).unwrap();
        let answer = ask(&mut client, &[METHOD, SCHEME, authority, (":path", path)]);
        // Some of them are none of the RFC's, but read by everybody.
        let allowed = answer.as_ref().is_none_or(|it| matches!(it.status, 200 | 400));
        assert!(allowed, "`{path}`: {answer:?}");
        assert!(client.get("/").unwrap().ended, "`{path}`");
    }
    for fields in [
        &[METHOD, SCHEME, authority][..],
        &[METHOD, authority, PATH],
        &[SCHEME, authority, PATH],
        &[METHOD, METHOD, SCHEME, authority, PATH],
        &[METHOD, SCHEME, authority, PATH, ("connection", "close")],
        &[METHOD, SCHEME, authority, PATH, ("transfer-encoding", "chunked")],
        &[METHOD, SCHEME, authority, PATH, ("te", "gzip")],
        &[METHOD, SCHEME, authority, PATH, (":status", "200")],
        &[METHOD, SCHEME, authority, ("x-early", "1"), PATH],
    ] {
        let mut client = RawHttp2::open(host.data(), &[]).unwrap();
        let answer = ask(&mut client, fields);
        assert!(answer.as_ref().is_none_or(|it| it.status == 400), "{fields:?}: {answer:?}");
        assert!(client.get("/").unwrap().ended, "{fields:?}");
    }
}

/// RFC 9112, 3.2.3: the authority form is CONNECT's alone; it selects no mount.
#[test]
fn the_authority_form_is_for_connect() {
    let builder = host!().arg("--mount=a.example/=handler").arg("--mount=b.example/=other");
    let builder = builder.with(fault("reflect"), "libhandler_v1.so");
    let host = builder.with(fault("versioned"), "libother_v1.so").start();
    for target in ["b.example:80", "b.example", "b.example:"] {
        let mut connection = host.connect();
        let request = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n");
        connection.send(request).unwrap();
        let answer = connection.read_answer().unwrap();
        answer.assert_status(400);
        assert!(answer.error_code().is_some(), "{target}: {answer:?}");
    }
}

/// RFC 3986, 3.2.2: the root's dot at the end of a name is the same name.
#[test]
fn a_trailing_dot_is_the_same_name() {
    let builder = host!().arg("--mount=a.example/=handler");
    let host = builder.with(fault("reflect"), "libhandler_v1.so").start();
    for name in ["a.example", "a.example.", "A.Example.:80"] {
        let answer = host.raw(format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n"));
        answer.assert_status(200);
    }
    for name in ["a.example..", ".a.example", "a.example.b"] {
        let answer = host.raw(format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n"));
        assert!(matches!(answer.status, 400 | 404), "{name}: {answer:?}");
    }
    let mut client = RawHttp2::open(host.data(), &[]).unwrap();
    let fields = [METHOD, SCHEME, (":authority", "a.example."), PATH];
    ask(&mut client, &fields).expect("an answer").assert_status(200);
}

/// Requests that are none, or too large. Every answer is the host's own, with its code, and the
/// last: whoever framed that one so framed the next one too.
#[test]
fn a_refused_head_ends_the_connection() {
    let host = reflecting();
    let many = "x-many: 1\r\n".repeat(120);
    let long = format!("x-long: {}\r\n", "x".repeat(80 << 10));
    let next = "GET /?id=smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for (head, statuses) in [
        ("GET / HTTP/1.1\r\n\r\n", &[400][..]),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", &[400]),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", &[400]),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", &[400]),
        ("GET / HTTP/1.1\r\nHost: a\r\n x-folded: 1\r\n\r\n", &[400]),
        ("GET / HTTP/1.1\r\nHost: a\r\nx\0: 1\r\n\r\n", &[400]),
        ("GET / HTTP/1.1\r\nHost: a\r\nx: \0\r\n\r\n", &[400]),
        ("GET / HTTP/1.1\r\nHost: a\r\nno-colon\r\n\r\n", &[400]),
        ("GET / HTTP/9.9\r\nHost: a\r\n\r\n", &[400, 505]),
        ("GET / HTTQ/1.1\r\nHost: a\r\n\r\n", &[400]),
        ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
        ("GET /\u{1} HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ten\r\n\r\n", &[400]),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", &[400]),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\n\r\nhello", &[400]),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            &[400],
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", &[400, 501]),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", &[400, 501]),
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[400]),
        (&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), &[431]),
        (&format!("GET / HTTP/1.1\r\nHost: a\r\n{long}\r\n"), &[431]),
    ] {
        let mut connection = host.connect();
        // The answer may come before all of it is out.
        let sent = connection.send(format!("{head}{next}"));
        let line: String = head.chars().take(70).collect();
        let answer = connection.read_answer();
        let answer = answer.unwrap_or_else(|error| panic!("{line:?}: {error} ({sent:?})"));
        assert!(statuses.contains(&answer.status), "{line:?}: {answer:?}");
        assert!(answer.error_code().is_some(), "{line:?}: {answer:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{line:?}: {answer:?}");
        assert_eq!(assert_not_smuggled(&mut connection), 0, "{line:?}: a second answer");
    }
    host.get("/").assert_status(200);
}

/// RFC 9112, 6.3: with both framings the last word is the coding's, and the connection ends; or the
/// request is refused. Never is the rest a request.
#[test]
fn two_framings_end_the_connection() {
    let host = edge().start();
    let smuggled = "GET /edge?id=smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: \u{b}chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
    ] {
        for how in ["ignored", "all"] {
            let mut connection = host.connect();
            let head = super::post_head(&format!("/edge?read={how}&id=first"), fields);
            connection.send(format!("{head}0\r\n\r\n{smuggled}")).unwrap();
            let answers = assert_not_smuggled(&mut connection);
            assert!(answers <= 1, "{answers} answers to {fields:?} ({how})");
        }
    }
}
