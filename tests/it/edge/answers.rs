//! What a plugin may say: an answer that is none is refused, logged and counted as the plugin's.

use std::io;

use hotseat_test_support::{Connection, Host, eventually, fault, host, http2::RawHttp2, wire};

/// What has to come of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// 500 with the host's code.
    Invalid,
    /// The head is out before the fault shows: a body that is seen as cut; else as above.
    Cut,
    /// 500 as for any error of the plugin.
    Failed,
    /// Ten digits with this status.
    Fine(u16),
}

use Wanted::{Cut, Failed, Fine, Invalid};

/// The answers of the test plugin `raw_answers`, by their paths.
const ANSWERS: [(&str, Wanted); 47] = [
    ("fine", Fine(200)),
    ("kind", Invalid),
    ("poll", Invalid),
    ("poll-end", Invalid),
    ("failed-null", Failed),
    ("null", Invalid),
    ("huge", Invalid),
    ("longer", Cut),
    ("shorter", Cut),
    ("open", Fine(200)),
    ("stream-poll", Cut),
    ("stream-null", Cut),
    ("stream-no-table", Invalid),
    ("trailers-early", Cut),
    ("upgrade-200", Invalid),
    ("upgrade-no-start", Invalid),
    ("fields", Fine(200)),
    ("fields-over", Invalid),
    ("fields-endless", Invalid),
    ("name", Invalid),
    ("name-empty", Invalid),
    ("value", Invalid),
    ("hop", Fine(200)),
    ("status-0", Invalid),
    ("status-99", Invalid),
    ("status-100", Invalid),
    ("status-101", Invalid),
    ("status-103", Invalid),
    ("status-299", Fine(299)),
    ("status-599", Fine(599)),
    ("status-600", Invalid),
    ("status-999", Invalid),
    ("status-1000", Invalid),
    ("status-65535", Invalid),
    ("length-word", Invalid),
    ("length-signed", Invalid),
    ("length-huge", Invalid),
    ("length-two", Invalid),
    ("length-less", Invalid),
    ("length-more", Invalid),
    ("length-right", Fine(200)),
    ("stream-length-word", Invalid),
    ("stream-length-signed", Invalid),
    ("stream-length-two", Invalid),
    ("stream-length-less", Cut),
    ("stream-length-more", Cut),
    ("stream-length-right", Fine(200)),
];

/// Doubled, but the same: the RFC allows to take it as one. Either way, but no third.
const DOUBLED: [&str; 4] =
    ["length-twice", "length-list", "stream-length-twice", "stream-length-list"];

pub(super) fn raw() -> Host {
    host!()
        .arg("--threads=2")
        .arg("--log-repeat-count=1000")
        .with(fault("raw_answers"), "libhandler_v1.so")
        .start()
}

/// What came of a request.
#[derive(Debug)]
pub(super) enum Came {
    Whole(hotseat_test_support::Answer),
    /// An end before the answer's.
    Broken,
}

fn over_http1(host: &Host, path: &str) -> Came {
    let mut connection = host.connect();
    connection.send_request("GET", &format!("/{path}"), "").unwrap();
    let came = connection.read_head().and_then(|mut answer| {
        answer.body = connection.read_body(&answer)?;
        Ok(answer)
    });
    match came {
        Ok(answer) => {
            let closes = answer.header("connection") == Some("close");
            if closes {
                connection.wait_end().unwrap();
            } else {
                connection.get("/fine").expect("the connection goes on").assert_status(200);
            }
            Came::Whole(answer)
        }
        Err(error) => {
            assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "{path}: silence");
            assert!(connection.received() > 0, "{path}: closed without a word");
            Came::Broken
        }
    }
}

fn over_http2(host: &Host, path: &str) -> Came {
    let mut client = RawHttp2::open(host.data(), &[]).unwrap();
    let stream = client.begin("GET", &format!("/{path}"), &[], true).unwrap();
    let over = client.finish(stream).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert!(client.get("/fine").unwrap().ended && client.goaway.is_none(), "{path}");
    match over.answer {
        Some(answer) if over.ended => Came::Whole(answer),
        _ => Came::Broken,
    }
}

#[track_caller]
pub(super) fn check(path: &str, wanted: Wanted, came: &Came) {
    match (wanted, came) {
        (Cut, Came::Broken) => {}
        (Invalid | Cut, Came::Whole(answer)) => {
            let met = (answer.status, answer.error_code());
            assert_eq!(met, (500, Some("plugin_invalid_answer")), "{path}: {came:?}");
        }
        (Failed, Came::Whole(answer)) => {
            assert!(answer.status == 500 && answer.error_code().is_some(), "{path}: {came:?}");
        }
        (Fine(status), Came::Whole(answer)) => {
            assert_eq!((answer.status, answer.error_code()), (status, None), "{path}: {came:?}");
            assert_eq!(answer.text(), "0123456789", "{path}: {came:?}");
            for name in ["keep-alive", "proxy-connection", "te", "upgrade"] {
                assert_eq!(answer.header(name), None, "{path}: {came:?}");
            }
        }
        (_, Came::Broken) => panic!("{path}: broken off instead of {wanted:?}"),
    }
}

/// Errors of the plugin so far, as the metrics tell.
#[track_caller]
pub(super) fn counted(host: &Host) -> u64 {
    let page = host.control().get("/metrics").text();
    let line =
        page.lines().find_map(|it| it.strip_prefix("hotseat_errors_total{plugin=\"handler\"} "));
    line.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no errors in {page}"))
}

#[track_caller]
fn check_all(over: fn(&Host, &str) -> Came) {
    let host = raw();
    for (path, wanted) in ANSWERS {
        let before = counted(&host);
        check(path, wanted, &over(&host, path));
        let faults = u64::from(!matches!(wanted, Fine(_)));
        let more = counted(&host) - before;
        assert_eq!(more, faults, "{path} is counted as the plugin's error");
    }
    for path in DOUBLED {
        let came = over(&host, path);
        let fine = matches!(&came, Came::Whole(answer) if answer.status == 200);
        check(path, if fine { Fine(200) } else { Invalid }, &came);
    }
    for (path, _) in ANSWERS.iter().filter(|(_, wanted)| matches!(wanted, Invalid | Failed)) {
        let told = |line: &str| line.contains("without an answer") && line.contains(path);
        eventually!(host.home().read_log().lines().any(told), "{path} is logged");
    }
    let status = host.status();
    assert!(wire::list(&status, "/cores").iter().all(|core| core["blocked"].is_null()), "{status}");
    assert_eq!(hotseat_test_support::host::holders(&status), 0, "{status}");
}

#[test]
fn answers_that_are_none_over_http1() {
    check_all(over_http1);
}

#[test]
fn answers_that_are_none_over_http2() {
    check_all(over_http2);
}

/// A client of HTTP/1.0 is told no less; a body that is cut is one whose length is not reached.
#[test]
fn answers_that_are_none_over_http10() {
    let host = raw();
    for (path, wanted) in ANSWERS {
        let mut connection = Connection::open(host.data()).unwrap();
        connection.send(format!("GET /{path} HTTP/1.0\r\nHost: localhost\r\n\r\n")).unwrap();
        // Where no length is said, a cut body looks like one that has ended, but for a reset.
        match connection.read_answer() {
            Ok(answer) if wanted == Cut && answer.status == 200 => {
                assert_eq!(answer.header("content-length"), None, "{path}: {answer:?}");
            }
            Ok(answer) => check(path, wanted, &Came::Whole(answer)),
            Err(_) => check(path, wanted, &Came::Broken),
        }
    }
}
