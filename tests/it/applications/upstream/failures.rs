//! An upstream that does not do its part: what the client is told, how often it was tried, how long it
//! took.

use std::time::{Duration, Instant};

use hotseat_test_support::{Connection, Host, eventually, host, host::holders, patience::pass};

use super::{Origin, assert_told, file, origin::Asked, send, start, start_with, tries};

/// Beyond what is waited on purpose, on a machine that is busy.
const BUSY: Duration = Duration::from_secs(15);

/// Nobody listens: each try is over at once, and between them are the pauses.
#[test]
fn one_that_refuses_is_tried_again() {
    let url = Origin::new().url();
    let host = start(&url, "backoff = '100ms'");
    let begun = Instant::now();
    assert_told(&host.get("/upstream/x"), 502, "upstream_refused");
    // At least the halves of 100 and of 200 ms.
    assert!((Duration::from_millis(150)..BUSY).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert_eq!(tries(&host), 3);
    // Not for a method that is not idempotent.
    let mut client = send(&host, "POST", "Content-Length: 0\r\n");
    assert_told(&client.read_answer().unwrap(), 502, "upstream_refused");
    assert_eq!(tries(&host), 4);
    let page = host.control().get("/metrics").text();
    for line in [
        "plugin_upstream_tries_total{plugin=\"upstream\",outcome=\"upstream_refused\"} 4",
        "plugin_upstream_failures_total{plugin=\"upstream\",code=\"upstream_refused\"} 2",
        "plugin_upstream_seconds_count{plugin=\"upstream\",outcome=\"upstream_refused\"} 4",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
    host.assert_logged("the upstream has failed");
    host.assert_logged("Connection refused");
}

/// It takes the request and says nothing: each try has its time.
#[test]
fn one_that_hangs_costs_each_try_its_time() {
    let origin = Origin::new();
    let host = start(&origin.url(), "time = '200ms'\ntries = 2\nbackoff = '1ms'");
    let begun = Instant::now();
    let mut client = send(&host, "GET", "");
    let mut first = origin.asked();
    // A try that is given up closes its connection.
    first.connection.wait_closed().unwrap();
    let mut second = origin.asked();
    second.connection.wait_closed().unwrap();
    assert_told(&client.read_answer().unwrap(), 504, "upstream_timeout");
    assert!((Duration::from_millis(400)..BUSY).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert_eq!(tries(&host), 2);
}

/// What it has done with the request nobody knows: only an idempotent one is sent once more.
#[test]
fn one_that_closes_is_tried_again_where_that_harms_nobody() {
    let origin = Origin::new();
    let host = start(&origin.url(), "backoff = '1ms'");
    let mut client = send(&host, "GET", "");
    for _ in 0..3 {
        drop(origin.asked());
    }
    assert_told(&client.read_answer().unwrap(), 502, "upstream_closed");
    assert_eq!(tries(&host), 3);
    for extra in ["Content-Length: 0\r\n", "Content-Length: 1\r\n\r\nx"] {
        let mut client = host.connect();
        client.send(format!("POST /upstream/x HTTP/1.1\r\nHost: x\r\n{extra}")).unwrap();
        if extra.ends_with('\n') {
            client.send("\r\n").unwrap();
        }
        drop(origin.asked());
        assert_told(&client.read_answer().unwrap(), 502, "upstream_closed");
    }
    assert_eq!(tries(&host), 5);
}

/// The head was passed on: what comes is a body that breaks off, and no other try.
#[test]
fn one_that_breaks_off_in_its_answer_is_not_tried_again() {
    let origin = Origin::new();
    let host = start(&origin.url(), "");
    for head in
        ["content-length: 10\r\n\r\nhello", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"]
    {
        let mut client = send(&host, "GET", "");
        let mut asked = origin.asked();
        asked.connection.send(format!("HTTP/1.1 200 OK\r\n{head}")).unwrap();
        let answer = client.read_head().unwrap();
        answer.assert_status(200);
        drop(asked);
        let body = client.read_body(&answer);
        assert!(body.is_err(), "{body:?}");
    }
    assert_eq!(tries(&host), 2);
}

/// As slowly as `time` allows.
#[test]
fn one_that_is_slow_is_waited_for() {
    let origin = Origin::new();
    let host = start(&origin.url(), "time = '10s'");
    let mut client = send(&host, "GET", "");
    let mut asked = origin.asked();
    for piece in ["HTTP/1.1 20", "0 OK\r\ncontent-le", "ngth: 5\r\n\r\nhe"] {
        asked.connection.send(piece).unwrap();
        pass(Duration::from_millis(50));
    }
    let answer = client.read_head().unwrap();
    asked.connection.send("llo").unwrap();
    assert_eq!(client.read_body(&answer).unwrap(), b"hello");
    assert_eq!(tries(&host), 1);
}

/// It may be well in a moment; what it says at last is what the client gets.
#[test]
fn one_that_is_busy_is_tried_again() {
    let origin = Origin::new();
    let host = start(&origin.url(), "tries = 2\nbackoff = '1ms'");
    let mut client = send(&host, "PUT", "Content-Length: 5\r\n");
    client.send("small").unwrap();
    for status in ["503 No", "200 OK"] {
        let mut asked = origin.asked();
        assert_eq!(asked.connection.read_exact(5).unwrap(), b"small", "{status}");
        asked.answer(status, status);
    }
    client.read_answer().unwrap().assert_status(200);
    assert_eq!(tries(&host), 2);
    for _ in 0..2 {
        client.send_request("GET", "/upstream/x", "").unwrap();
        origin.asked().answer("503 No", "once");
        origin.asked().answer("504 No", "twice");
        client.read_answer().unwrap().assert_status(504).assert_contains("twice");
    }
    // 500 is an answer; one to a POST, or to a body that is gone, too.
    for (method, extra, status) in [
        ("GET", "", "500 No"),
        ("POST", "Content-Length: 0\r\n", "503 No"),
        ("PUT", "Transfer-Encoding: chunked\r\n\r\n0\r\n", "503 No"),
    ] {
        client.send_request(method, "/upstream/x", extra).unwrap();
        origin.asked().answer(status, "once");
        client.read_answer().unwrap().assert_status(status[..3].parse().unwrap());
    }
    assert_eq!(tries(&host), 9);
}

/// The time of the request bounds that of a try, and the answer is not the host's.
#[test]
fn the_host_s_own_time_is_kept() {
    let origin = Origin::new();
    let mount = "[[mount]]\nprefix = '/upstream'\nplugin = 'upstream'\nplugin_time = '2s'\n";
    let host = start_with(
        host!()
            .config(&(file(&origin.url(), "time = '1min'\nbackoff = '1min'\ntries = 9") + mount)),
    );
    let begun = Instant::now();
    let mut client = send(&host, "GET", "");
    let mut asked = origin.asked();
    asked.connection.wait_closed().unwrap();
    assert_told(&client.read_answer().unwrap(), 504, "upstream_timeout");
    assert!(begun.elapsed() > Duration::from_millis(1500), "{:?}", begun.elapsed());
    // A pause that leaves no time for another try is not made.
    let mut client = send(&host, "GET", "");
    drop(origin.asked());
    assert_told(&client.read_answer().unwrap(), 502, "upstream_closed");
    assert!(begun.elapsed() < BUSY, "{:?}", begun.elapsed());
    assert_eq!(tries(&host), 2);
}

/// What a client takes for its body is neither the upstream's time nor the plugin's: of one that is kept
/// for another try, and of one that is passed on as it comes.
#[test]
fn a_slow_client_takes_nobody_s_time() {
    let origin = Origin::new();
    let mount = "[[mount]]\nprefix = '/upstream'\nplugin = 'upstream'\nplugin_time = '3s'\n";
    let host = start_with(host!().config(&(file(&origin.url(), "time = '2s'") + mount)));
    let begin = |method| {
        let mut client = send(&host, method, "Content-Length: 10\r\n");
        client.send("hello").unwrap();
        client
    };
    let mut streamed = begin("POST");
    let asked = origin.asked();
    let mut kept = begin("PUT");
    pass(Duration::from_millis(3500));
    let end = |client: &mut Connection, asked: Option<Asked>| {
        client.send("world").unwrap();
        let mut asked = asked.unwrap_or_else(|| origin.asked());
        assert_eq!(asked.connection.read_exact(10).unwrap(), b"helloworld");
        asked.answer("200 OK", "in time");
        client.read_answer().unwrap().assert_status(200).assert_contains("in time");
    };
    end(&mut streamed, Some(asked));
    end(&mut kept, None);
}

/// A client that says what cannot be read is not the upstream's fault, and a body that broke off is not
/// passed on as a whole one.
#[test]
fn a_body_that_breaks_off_breaks_off_there() {
    let origin = Origin::new();
    let host = start(&origin.url(), "");
    let mut client = send(&host, "POST", "Transfer-Encoding: chunked\r\n");
    client.send("5\r\nhello\r\n").unwrap();
    let mut asked = origin.asked();
    assert_eq!(asked.connection.read_chunk().unwrap(), b"hello");
    client.send("no number\r\n").unwrap();
    assert_told(&client.read_answer().unwrap(), 400, "body_broken");
    assert!(asked.connection.read_to_end().unwrap().is_empty());
}

/// As many as may be are there until the last byte of their answers.
#[test]
fn too_many_are_turned_away() {
    let origin = Origin::new();
    let host = start(&origin.url(), "concurrency = 1");
    let mut client = send(&host, "GET", "");
    let mut asked = origin.asked();
    let assert_busy = || {
        let busy = send(&host, "GET", "").read_answer().unwrap();
        assert_told(&busy, 503, "upstream_busy");
        assert_eq!(busy.header("retry-after"), Some("1"));
    };
    assert_busy();
    asked.connection.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe").unwrap();
    let answer = client.read_head().unwrap();
    assert_busy();
    asked.connection.send("llo").unwrap();
    assert_eq!(client.read_body(&answer).unwrap(), b"hello");
    assert_at_rest(&host);
    client.send_request("GET", "/upstream/x", "").unwrap();
    // On the connection that was kept.
    asked.connection.read_line().unwrap();
    asked.answer("200 OK", "next");
    client.read_answer().unwrap().assert_contains("next");
}

/// What a request holds is let go of a moment after its last byte.
#[track_caller]
fn assert_at_rest(host: &Host) {
    eventually!(holders(&host.status()) == 0);
}

/// A client that goes takes its request along: before an answer, and in the middle of one.
#[test]
fn a_client_that_goes_is_told_to_the_upstream() {
    let origin = Origin::new();
    let host = start(&origin.url(), "concurrency = 1");
    for head in ["", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe"] {
        let mut client = send(&host, "GET", "");
        let mut asked = origin.asked();
        asked.connection.send(head).unwrap();
        if !head.is_empty() {
            client.read_head().unwrap();
        }
        client.reset().unwrap();
        asked.connection.wait_closed().unwrap();
        assert_at_rest(&host);
    }
    // Both have given their place back.
    let mut client = send(&host, "GET", "");
    origin.asked().answer("200 OK", "well");
    client.read_answer().unwrap().assert_contains("well");
}
