//! Answers of every kind, by hyper and without it.

use super::*;

const STATUSES: [u16; 14] = [200, 201, 204, 205, 206, 299, 301, 304, 404, 426, 431, 500, 503, 599];

/// Sets of fields, and whether a map leaves them in their order.
fn sets() -> Vec<(Vec<Pair>, bool)> {
    let exact: [&[Pair]; 14] = [
        &[],
        &[(b"content-type", b"text/plain")],
        &[(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")],
        &[(b"x-a", b"1"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x-b", b"2")],
        &[(b"x-a", b"1"), (b"date", b"Sun, 06 Nov 1994 08:49:37 GMT"), (b"x-b", b"2")],
        &[(b"connection", b"close"), (b"x-a", b"1")],
        &[(b"keep-alive", b"timeout=5"), (b"transfer-encoding", b"chunked"), (b"te", b"x")],
        &[(b"X-UPPER-Case", b"Value"), (b"Proxy-Connection", b"close"), (b"Connection", b"CLOSE")],
        &[(b"x-bytes", b"\x80\xff\tend"), (b"x-empty", b""), (b"x-room", b" a \t"), (b"*~", b"1")],
        &[(b"upgrade", b"own/1"), (b"x-a", b"1")],
        &[(b"trailer", b"x-sum, x-b"), (b"x-a", b"1"), (b"host", b"a"), (b"server", b"own")],
        &[(b"x-own", b"1"), (b"x-foo", b"1"), (b"connection", b"x-foo")],
        &[(b"Trailer", b"x-b , , x-c"), (b"x-b", b"2")],
        &[(b"x-a", b"1"), (b"trailer", b"x-\xff"), (b"vary", b"*")],
    ];
    let moved: [&[Pair]; 3] = [
        &[(b"set-cookie", b"a=1"), (b"x-a", b"1"), (b"set-cookie", b"b=2")],
        &[(b"x-foo", b"1"), (b"x-own", b"1"), (b"connection", b"x-foo, Close"), (b"x-c", b"1")],
        &[
            (b"date", b"Sun, 06 Nov 1994 08:49:37 GMT"),
            (b"content-type", b"text/event-stream"),
            (b"x-a", b"1"),
            (b"trailer", b"x-sum"),
            (b"connection", b"date, content-type, trailer, upgrade, content-length"),
        ],
    ];
    let exact = exact.iter().map(|it| (it.to_vec(), true));
    exact.chain(moved.iter().map(|it| (it.to_vec(), false))).collect()
}

fn bodies() -> [Given; 7] {
    [
        Given::bytes(""),
        Given::bytes("hello"),
        Given::stream(&["one", "", "and another"], true),
        Given::stream(&["one", "", "and another"], false),
        Given::stream(&[], true),
        Given::stream(&[], false),
        Given { trailers: Some(trailers()), ..Given::stream(&["one"], false) },
    ]
}

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    for (name, value) in [("x-sum", "1"), ("x-b", "2"), ("x-sum", "3"), ("x-other", "4")] {
        trailers.append(name, HeaderValue::from_static(value));
    }
    trailers
}

/// Calls `each` with every answer of these fields.
fn every(fields: &[Pair], mut each: impl FnMut(Case)) {
    for status in STATUSES {
        for (body, method) in bodies().iter().flat_map(|it| [(it, Method::GET), (it, Method::HEAD)])
        {
            for last in [false, true] {
                each(Case {
                    status: StatusCode::from_u16(status).unwrap(),
                    fields: fields.to_vec(),
                    body: body.clone(),
                    method: method.clone(),
                    last,
                });
            }
        }
    }
}

#[test]
fn fields_of_every_kind() {
    for (fields, in_order) in sets() {
        every(&fields, |case| check(&case, in_order));
    }
}

/// The length that a plugin says is that of its body, or of one that it does not send.
#[test]
fn lengths_of_every_kind() {
    every(&[(b"content-type", b"text/plain")], |mut case| {
        let text: &'static [u8] = match case.body.total() {
            0 => b"0",
            3 => b"3",
            5 => b"5",
            14 => b"14",
            other => unreachable!("a body of {other} bytes"),
        };
        case.fields.push((b"content-length", text));
        check(&case, true);
        case.fields.push((b"Content-Length", text));
        check(&case, true);
        case.fields.push((b"x-a", b"1"));
        check(&case, false);
        let sends = !case.to_head() && !matches!(case.status.as_u16(), 204 | 205 | 304);
        if !sends || case.status == StatusCode::UPGRADE_REQUIRED {
            case.fields.retain(|(name, _)| !name.eq_ignore_ascii_case(b"content-length"));
            case.fields.push((b"content-length", b"1234"));
            check(&case, false);
            case.fields.retain(|(name, _)| *name != b"x-a");
            check(&case, true);
        }
    });
}

/// Chunks of every length. Trailers go to nobody who has not asked for them.
#[test]
fn chunks_of_every_length() {
    for len in [1, 9, 10, 15, 16, 255, 256, 65_535, 65_536] {
        let body =
            Given { trailers: Some(trailers()), ..Given::stream(&["x".repeat(len).leak()], false) };
        let fields: Vec<Pair> = vec![(b"trailer", b"x-sum")];
        let (status, method) = (StatusCode::OK, Method::GET);
        check(&Case { status, fields, body, method, last: false }, true);
    }
}

#[test]
fn answers_of_the_host() {
    let all = [own::FAILED, own::BAD_REQUEST, own::EMPTY, own::NO_TRACE, own::CUT, own::TIMED_OUT];
    let answers = || all.map(own::Own::answer).into_iter().chain([own::options()]);
    for (method, last) in [("GET", false), ("HEAD", true), ("HEAD", false), ("GET", true)] {
        for answer in answers() {
            let request = format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n");
            let (wanted, ends) = by_hyper(&request, |wire, conn, aside| {
                let mut answer = answer.clone().map(|text| {
                    let pieces = Some(text).filter(|it| !it.is_empty());
                    Given { pieces: pieces.into_iter().collect(), ..Given::default() }
                });
                wire.seal(&mut answer, conn, Some(aside), last);
                answer
            });
            let mut out = Vec::new();
            put_own(&mut out, &answer, method == "HEAD", last);
            assert_eq!(taken_apart(&out), taken_apart(&wanted), "{method} {answer:?}");
            assert_eq!(last, ends, "{method} {answer:?}");
        }
    }
}

#[test]
fn numbers_of_every_length() {
    let mut numbers = vec![0, u64::MAX];
    for shift in 0..64 {
        let number = 1_u64 << shift;
        numbers.extend([number - 1, number, 10_u64.checked_pow(shift).unwrap_or(number)]);
    }
    for number in numbers {
        let mut out = Vec::new();
        put_number::<10>(&mut out, number);
        out.push(b' ');
        put_number::<16>(&mut out, number);
        assert_eq!(String::from_utf8(out).unwrap(), format!("{number} {number:X}"));
    }
}
