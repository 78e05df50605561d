//! Each rule from both sides; what is taken here is what hyper takes.

mod agreement;

use super::*;

#[track_caller]
fn whole_in(input: &[u8], limits: &Limits) -> (Lines, usize, usize) {
    match read(input, limits) {
        Read::Whole { lines, head_len, body_len } => (lines, head_len, body_len),
        other => panic!("{other:?}: {:?}", String::from_utf8_lossy(input)),
    }
}

#[track_caller]
fn whole(input: impl AsRef<[u8]>) -> Lines {
    whole_in(input.as_ref(), &Limits::default()).0
}

#[track_caller]
fn other_in(input: &[u8], limits: &Limits) {
    let read = read(input, limits);
    assert!(matches!(read, Read::Other), "{read:?}: {:?}", String::from_utf8_lossy(input));
}

#[track_caller]
fn other(input: impl AsRef<[u8]>) {
    other_in(input.as_ref(), &Limits::default());
}

#[track_caller]
fn partial_in(input: &[u8], limits: &Limits) {
    let read = read(input, limits);
    assert!(matches!(read, Read::Partial), "{read:?}: {:?}", String::from_utf8_lossy(input));
}

/// A request with `fields` behind its host.
fn with(method: &str, fields: &str) -> String {
    format!("{method} / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

fn get(fields: &str) -> String {
    with("GET", fields)
}

#[test]
fn fields_are_counted_as_hyper_does() {
    let fields = |count: usize| get(&"A: b\r\n".repeat(count - 1));
    assert_eq!(whole(fields(FIELDS_MAX)).iter().len(), FIELDS_MAX);
    other(fields(FIELDS_MAX + 1));
    let three = Limits { headers_count: 3, ..Limits::default() };
    assert_eq!(whole_in(fields(3).as_bytes(), &three).0.iter().len(), 3);
    other_in(fields(4).as_bytes(), &three);
    let many = Limits { headers_count: 1000, ..Limits::default() };
    whole_in(fields(FIELDS_MAX).as_bytes(), &many);
    other_in(fields(FIELDS_MAX + 1).as_bytes(), &many);
}

#[test]
fn a_head_has_a_limit() {
    let head = get("");
    let of = |head_bytes| Limits { head_bytes, ..Limits::default() };
    whole_in(head.as_bytes(), &of(head.len()));
    other_in(head.as_bytes(), &of(head.len() - 1));
    let part = &head.as_bytes()[..head.len() - 1];
    partial_in(part, &of(head.len()));
    other_in(part, &of(part.len()));
    // Whatever else is allowed, no name can be too long for hyper.
    let long = |len: usize| get(&format!("A: {}\r\n", "b".repeat(len - get("A: \r\n").len())));
    whole_in(long(HEAD_MAX).as_bytes(), &of(1 << 20));
    other_in(long(HEAD_MAX + 1).as_bytes(), &of(1 << 20));
    other_in(&long(HEAD_MAX + 9).as_bytes()[..HEAD_MAX], &of(1 << 20));
}

#[test]
fn what_is_no_head_is_not_read_here() {
    for wrong in [
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nA: b\0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nA: b\x7f\r\n\r\n",
        "GET / HTTP/1.1\rHost: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / \r\nHost: a\r\n\r\n",
        "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        other(wrong);
    }
}

#[test]
fn the_version_is_1_1() {
    whole("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    for version in ["1.0", "1.2", "2.0", "1.10", "0.9"] {
        other(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"));
    }
}

#[test]
fn methods_are_the_usual_ones() {
    for method in ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"] {
        assert_eq!(whole(with(method, "")).method().as_str(), method);
    }
    for method in ["get", "GETS", "GE", "TRACE", "CONNECT", "PRI", "QUERY", "PROPFIND"] {
        other(with(method, ""));
    }
}

#[test]
fn a_target_is_a_path_and_perhaps_a_query() {
    let to = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    for (target, path, query) in [
        ("/", "/", None),
        ("//", "//", None),
        ("/a/../b", "/a/../b", None),
        ("/a?", "/a", Some("")),
        ("/a?b?c=/d", "/a", Some("b?c=/d")),
        ("/%41%zz%", "/%41%zz%", None),
        ("/?/?", "/", Some("/?")),
    ] {
        let lines = whole(to(target));
        assert_eq!((lines.path(), lines.query()), (path, query), "{target}");
    }
    for target in ["*", "a", "?a", "http://a/", "a:80", "//a#b", "/a?b#c", "#", "/\u{e9}"] {
        other(to(target));
    }
    whole(to(&format!("/{}", "a".repeat(TARGET_MAX - 1))));
    other(to(&format!("/{}", "a".repeat(TARGET_MAX))));
}

#[test]
fn a_target_has_these_bytes_alone() {
    let letters = ('a'..='z').chain('A'..='Z').chain('0'..='9');
    let plain: Vec<u8> = letters.chain("/-._~!$&'()*+,;=:@%?".chars()).map(|c| c as u8).collect();
    assert_eq!(plain.len(), 82);
    for byte in b'!'..=0xff {
        let mut in_path = b"GET /a_c HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
        let mut in_query = b"GET /?a_c HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
        (in_path[6], in_query[7]) = (byte, byte);
        for input in [in_path, in_query] {
            let taken = matches!(read(&input, &Limits::default()), Read::Whole { .. });
            assert_eq!(taken, plain.contains(&byte), "{:?}", String::from_utf8_lossy(&input));
        }
    }
}

#[test]
fn there_is_one_good_host() {
    for (host, name) in [
        ("a", "a"),
        ("", ""),
        ("A.Example.:80", "A.Example"),
        ("[::1]:80", "[::1]"),
        ("a:", "a"),
        ("\t a:1 \t", "a"),
    ] {
        let lines = whole(format!("GET / HTTP/1.1\r\nhOST:{host}\r\n\r\n"));
        assert_eq!((lines.host_name(), lines.authority()), (name, host.trim()));
    }
    other("GET / HTTP/1.1\r\n\r\n");
    other("GET / HTTP/1.1\r\nHosts: a\r\n\r\n");
    other(get("Host: a\r\n"));
    other(get("host: b\r\n"));
    for wrong in ["a b", "a/", "u@a", "a:b", "a:65536", ".", "\u{e9}", "[::1", "a, a"] {
        other(format!("GET / HTTP/1.1\r\nHost: {wrong}\r\n\r\n"));
    }
}

#[test]
fn nothing_is_asked_beyond_an_answer() {
    for field in [
        "Transfer-Encoding: chunked",
        "transfer-encoding: identity",
        "Expect: 100-continue",
        "Upgrade: websocket",
        "TE: trailers",
        "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
        "Transfer-Encoding:",
    ] {
        other(with("POST", &format!("{field}\r\n")));
        other(with("POST", &format!("{}\r\n", field.to_uppercase())));
    }
    for field in ["Transfer-Encodings: a", "XTE: a", "Tf: a", "Expert: a", "Downgrade: a"] {
        whole(with("POST", &format!("{field}\r\n")));
    }
    whole(get("Keep-Alive: 5\r\nProxy-Connection: close\r\nTrailer: a\r\nHttp2-Setting5: a\r\n"));
}

#[test]
fn the_connection_stays() {
    whole(get("Connection: keep-alive\r\n"));
    whole(get("CONNECTION: Keep-Alive\r\nConnection:  keep-alive \r\n"));
    for wrong in ["close", "keep-alive, te", "keep-alive,", "keep_alive", "", "upgrade", "x"] {
        other(get(&format!("Connection: {wrong}\r\n")));
        other(get(&format!("Connection: keep-alive\r\nConnection: {wrong}\r\n")));
    }
}

#[test]
fn a_length_is_digits() {
    for (value, len) in [("0", 0), ("5", 5), ("0000005", 5), (" 5\t", 5), ("0000000", 0)] {
        let input = with("POST", &format!("Content-Length:{value}\r\n")) + "12345";
        let (_, head_len, body_len) = whole_in(input.as_bytes(), &Limits::default());
        assert_eq!((head_len, body_len), (input.len() - 5, len), "{value}");
    }
    for wrong in ["", "+5", "-5", "5,5", "5 5", "0x5", "00000005", "5a", "\u{665}", "5;"] {
        other(with("POST", &format!("Content-Length: {wrong}\r\n")) + "12345");
    }
    other(with("POST", "Content-Length: 5\r\ncontent-length: 5\r\n") + "12345");
    other(with("GET", "Content-Length: 0\r\nContent-Length: 0\r\n"));
    whole(with("POST", "Content-Lengths: x\r\nContentxLength: x\r\n"));
}

#[test]
fn some_methods_send_bodies() {
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let input = with(method, "Content-Length: 1\r\n") + "1";
        assert_eq!(whole_in(input.as_bytes(), &Limits::default()).2, 1);
    }
    for method in ["GET", "HEAD", "OPTIONS"] {
        other(with(method, "Content-Length: 1\r\n") + "1");
        other(with(method, "Content-Length: 1\r\n"));
        whole(with(method, "Content-Length: 0\r\n") + "1");
    }
}

#[test]
fn a_body_has_a_limit_and_is_there() {
    let head = with("PUT", "Content-Length: 10\r\n");
    let input = head.clone() + "0123456789GET / HTTP";
    let of = |body_bytes| Limits { body_bytes, ..Limits::default() };
    for body_bytes in [0, 10, 11] {
        let (_, head_len, body_len) = whole_in(input.as_bytes(), &of(body_bytes));
        assert_eq!((head_len, body_len), (head.len(), 10));
    }
    other_in(input.as_bytes(), &of(9));
    other_in(head.as_bytes(), &of(9));
    for there in head.len()..head.len() + 10 {
        let read = read(&input.as_bytes()[..there], &Limits::default());
        assert!(matches!(read, Read::Other));
    }
    let largest = with("PUT", "Content-Length: 9999999\r\n");
    let read = read(largest.as_bytes(), &Limits::default());
    assert!(matches!(read, Read::Other));
}

#[test]
fn empty_lines_before_a_head_are_part_of_it() {
    let input = format!("\r\n\n\r\n{}rest", get(""));
    let (lines, head_len, _) = whole_in(input.as_bytes(), &Limits::default());
    assert_eq!((lines.path(), head_len), ("/", input.len() - 4));
    for part in ["", "\r", "\r\n", "\n\n"] {
        partial_in(part.as_bytes(), &Limits::default());
    }
}

#[test]
fn every_beginning_of_a_head_is_a_part() {
    let heads = &agreement::PLAIN[..20];
    for head in heads {
        let (_, head_len, _) = whole_in(head, &Limits::default());
        for part in 0..head_len {
            partial_in(&head[..part], &Limits::default());
        }
    }
}
