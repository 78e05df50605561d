//! The smaller rules for what is answered: lengths, bodies that must not be, and the host's own
//! answers with their codes.
//!
//! Each says which text it stands in.

use std::collections::BTreeMap;

use hotseat_test_support::{Answer, Connection, http2::RawHttp2};

use super::{assert_goes_on, edge};

/// RFC 9110, 9.3.2 and 15.4.5: HEAD and 304 say the length that GET would have, also where the
/// plugin gives no body for them.
#[test]
fn head_and_304_keep_the_length() {
    let host = edge().start();
    let asks = [("HEAD", ""), ("GET", "&status=304"), ("HEAD", "&status=304")];
    for (answer, asks) in [
        ("known&size=4000", &asks[..]),
        ("empty&length=4000", &asks),
        // Nobody has said how long the body of a 304 would be.
        ("bytes&size=4000", &asks[..1]),
    ] {
        for (method, status) in asks {
            let target = format!("/edge?answer={answer}{status}");
            let mut connection = host.connect();
            connection.send_request(method, &target, "").unwrap();
            let head = connection.read_head().unwrap();
            let length = head.header("content-length");
            assert_eq!(length, Some("4000"), "{method} {target}: {head:?}");
            assert_goes_on(&mut connection);
            let mut client = RawHttp2::open(host.data(), &[]).unwrap();
            let stream = client.begin(method, &target, &[], true).unwrap();
            let over = client.finish(stream).unwrap();
            let answer = over.answer.expect("an answer");
            let length = answer.header("content-length");
            assert_eq!(length, Some("4000"), "{method} {target}: {answer:?}");
            assert!(answer.body.is_empty() && over.ended && over.reset.is_none(), "{answer:?}");
            assert!(client.get(super::ALIVE).unwrap().ended);
        }
    }
    // A body that is none must not claim to be one.
    host.get("/edge?answer=empty&length=4000").assert_error(500, "plugin_invalid_answer");
}

/// RFC 9110, 15.3.5, 15.3.6 and 15.4.5: these have no body, whatever the plugin says.
#[test]
fn some_statuses_have_no_body() {
    let host = edge().start();
    for status in [204, 205, 304] {
        for answer in ["bytes", "known", "chunked", "trailers", "empty"] {
            let target = format!("/edge?answer={answer}&status={status}");
            let mut connection = host.connect();
            connection.send_request("GET", &target, "").unwrap();
            let head = connection.read_head().unwrap();
            assert_eq!(head.status, status);
            assert_eq!(head.header("transfer-encoding"), None, "{target}: {head:?}");
            if status == 205 {
                // It may say that there is nothing.
                assert!(head.header("content-length").is_none_or(|it| it == "0"), "{head:?}");
            }
            // Were there a body, it would be taken for the next answer.
            assert_goes_on(&mut connection);
            let mut client = RawHttp2::open(host.data(), &[]).unwrap();
            let over = client.get(&target).unwrap();
            let came = over.answer.expect("an answer");
            assert_eq!((came.status, came.body.len()), (status, 0), "{target}: {came:?}");
            assert!(over.ended && client.get(super::ALIVE).unwrap().ended, "{target}");
        }
    }
}

/// Notes an answer of the host's own by its code.
#[track_caller]
fn note(told: &mut BTreeMap<String, u64>, answer: &Answer, status: u16) {
    answer.assert_status(status);
    let code = answer.error_code();
    let code = code.unwrap_or_else(|| panic!("no code: {answer:?}"));
    *told.entry(code.to_owned()).or_default() += 1;
}

/// Every answer that no plugin made has a code, over either protocol, and is counted by it.
#[test]
fn own_answers_have_codes_and_are_counted() {
    let host = edge().arg("--mount=/edge=edge").arg("--mount=/vacant=ghost").start();
    let mut told = BTreeMap::new();
    let asks = [
        ("GET", "/nowhere", None, 404),
        ("GET", "/vacant", None, 503),
        ("TRACE", "/edge", None, 405),
        ("GET", "/edge", Some(("expect", "the-unexpected")), 417),
        ("GET", "/edge?answer=error", None, 500),
        ("GET", "/edge?answer=panic", None, 500),
        ("GET", "/edge?status=777", None, 500),
    ];
    for (method, target, extra, status) in asks {
        let mut connection: Connection = host.connect();
        let line = extra.map(|(name, value)| format!("{name}: {value}\r\n")).unwrap_or_default();
        connection.send_request(method, target, &line).unwrap();
        note(&mut told, &connection.read_answer().unwrap(), status);
        let mut client = RawHttp2::open(host.data(), &[]).unwrap();
        let fields: Vec<_> = extra.into_iter().collect();
        let stream = client.begin(method, target, &fields, true).unwrap();
        let answer = client.finish(stream).unwrap().answer.expect("an answer");
        note(&mut told, &answer, status);
    }
    let many = "x-many: 1\r\n".repeat(120);
    for (request, status) in [
        ("GARBAGE\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nx\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
        (&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431),
    ] {
        note(&mut told, &host.raw(request), status);
    }
    let page = host.control().get("/metrics").text();
    let counted: BTreeMap<String, u64> = page
        .lines()
        .filter_map(|line| line.strip_prefix("hotseat_own_answers_total{code=\""))
        .filter_map(|line| line.split_once("\"} "))
        .map(|(code, count)| (code.to_owned(), count.parse().unwrap()))
        .filter(|(_, count)| *count > 0)
        .collect();
    assert_eq!(counted, told, "{page}");
}
