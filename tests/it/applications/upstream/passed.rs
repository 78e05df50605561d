//! What is passed on, in both directions, and what is not.

use super::{Origin, assert_told, send, start, tries};

/// Method, path, query and fields as they came, but for those of the connection; and what is added.
#[test]
fn a_request_goes_on_and_its_answer_comes_back() {
    let origin = Origin::new();
    let host = start(&format!("{}/base", origin.url()), "token = 'secret of the test'");
    let mut client = host.connect();
    let fields = "Connection: x-mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nX-Kept: a\r\n\
                  X-Kept: b\r\nAuthorization: Basic x\r\nX-Forwarded-For: 10.0.0.1\r\n\
                  X-Forwarded-Proto: https\r\nExpect: 100-continue\r\n";
    client.send_request("DELETE", "/upstream/a%20b/?q=%2F&r", fields).unwrap();
    let mut asked = origin.asked();
    assert_eq!(asked.line, "DELETE /base/a%20b/?q=%2F&r HTTP/1.1");
    for (name, values) in [
        ("host", &[origin.address().to_string().as_str()][..]),
        ("x-kept", &["a", "b"]),
        ("te", &["trailers"]),
        ("authorization", &["Bearer secret of the test"]),
        ("x-forwarded-for", &["10.0.0.1", "127.0.0.1"]),
        ("x-forwarded-host", &["localhost"]),
        ("x-forwarded-prefix", &["/upstream"]),
        ("x-forwarded-proto", &["https"]),
        ("connection", &[]),
        ("x-mine", &[]),
        ("keep-alive", &[]),
        ("expect", &[]),
        ("transfer-encoding", &[]),
        ("content-length", &[]),
        ("accept", &["*/*"]),
    ] {
        assert_eq!(asked.all(name), values, "{name}");
    }
    assert!(asked.all("x-request-id")[0].parse::<u64>().unwrap() > 0);
    let head = "HTTP/1.1 207 So So\r\nconnection: x-own\r\nx-own: 1\r\nkeep-alive: 5\r\nx-kept: a\r\n\
                x-kept: b\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n";
    asked.connection.send(format!("{head}5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n")).unwrap();
    let answer = client.read_answer().unwrap();
    answer.assert_status(207).assert_contains("hello");
    let kept: Vec<_> = answer.headers.iter().filter(|(name, _)| name == "x-kept").collect();
    assert_eq!(kept.len(), 2, "{:?}", answer.headers);
    assert_eq!((answer.header("x-own"), answer.header("keep-alive")), (None, None));
    assert_eq!(client.trailers(), ["x-sum: 7"]);
    assert_eq!(tries(&host), 1);
}

#[test]
fn a_requests_trailers_go_on() {
    let origin = Origin::new();
    let host = start(&origin.url(), "");
    let mut client = send(&host, "POST", "Transfer-Encoding: chunked\r\nTrailer: x-sum\r\n");
    client.send("5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n").unwrap();
    let mut asked = origin.asked();
    assert_eq!(asked.all("transfer-encoding"), ["chunked"]);
    assert_eq!(asked.connection.read_chunk().unwrap(), b"hello");
    assert!(asked.connection.read_chunk().unwrap().is_empty());
    assert_eq!(asked.connection.trailers(), ["x-sum: 7"]);
    asked.answer("200 OK", "");
    client.read_answer().unwrap().assert_status(200);
}

/// A redirect, an answer to HEAD and one that has not changed come back as they are.
#[test]
fn what_a_browser_would_follow_is_passed_on() {
    let origin = Origin::new();
    let host = start(&origin.url(), "");
    for (method, status) in [("GET", 302), ("HEAD", 200), ("GET", 304)] {
        let mut client = send(&host, method, "");
        let mut asked = origin.asked();
        let head = format!("HTTP/1.1 {status} It\r\nlocation: /y\r\nconnection: close\r\n");
        let text = if status == 302 { "there" } else { "" };
        asked.connection.send(format!("{head}content-length: 5\r\n\r\n{text}")).unwrap();
        drop(asked);
        let answer = client.read_head().unwrap();
        answer.assert_status(status);
        let length = answer.header("content-length");
        assert_eq!(
            (answer.header("location"), length),
            (Some("/y"), Some("5")),
            "{method} {status}"
        );
    }
}

#[test]
fn nobody_gets_out_of_the_path() {
    let origin = Origin::new();
    let host = start(&format!("{}/base", origin.url()), "");
    for path in ["/upstream/../secret", "/upstream/%2e%2E/secret", "/upstream/x/../%2e./secret"] {
        assert_told(&host.get(path), 400, "path_outside");
    }
    assert_eq!(tries(&host), 0);
}
