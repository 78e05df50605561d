//! The same requests over HTTP/2, which both are greeted with by prior knowledge.

use std::net::SocketAddr;

use hotseat_test_support::{
    Host,
    http2::{
        RawHttp2, Whole, ask_whole, hpack,
        raw::{Frame, flag, kind},
    },
};
use http::{HeaderMap, Request, Uri};

use super::{Program, asked, host, sent};

/// What only HTTP/1 has.
const ONLY_HTTP1: [&str; 4] =
    ["request of 1.0", "kept alive in 1.0", "ended by its answer", "pipelined"];

/// Fields that say how HTTP/1 frames its messages, or that HTTP/2 says elsewhere.
const OF_HTTP1: [&str; 3] = ["host", "connection", "transfer-encoding"];

/// The same request, without what HTTP/2 says by its frames.
fn translated(text: &str) -> Request<bytes::Bytes> {
    let (head, body) = text.split_once("\r\n\r\n").expect("an end of the head");
    let mut lines = head.lines();
    let mut words = lines.next().expect("a first line").split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let uri = match target.starts_with('/') {
        true => format!("http://a{target}"),
        false => target.to_owned(),
    };
    let mut request = Request::builder().method(method).uri(uri).version(http::Version::HTTP_2);
    let mut is_chunked = false;
    for line in lines {
        let (name, value) = line.split_once(": ").expect("a field");
        is_chunked |= name == "Transfer-Encoding";
        if !OF_HTTP1.iter().any(|it| it.eq_ignore_ascii_case(name)) {
            request = request.header(name, value.as_bytes());
        }
    }
    let body = match is_chunked {
        // Every second line is a length.
        true => body.split("\r\n").skip(1).step_by(2).collect(),
        false => body.to_owned(),
    };
    request.body(body.into()).unwrap()
}

fn fields(of: &HeaderMap) -> String {
    let mut lines: Vec<_> = of
        .iter()
        .filter(|(name, value)| {
            // An answer without a body ends with its head: here without a length.
            *name != "date" && (*name != "content-length" || *value != "0")
        })
        .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    lines.sort_unstable();
    lines.concat()
}

/// All of an answer but the time of day, the order of its fields and a length of nothing.
fn answer(address: SocketAddr, request: &Request<bytes::Bytes>) -> String {
    match ask_whole(address, request.clone()) {
        Ok(Whole { head, body, trailers }) => format!(
            "{:?} {}\n{}\n{}\n{}",
            head.version,
            head.status,
            fields(&head.headers),
            String::from_utf8_lossy(&body),
            fields(&trailers.unwrap_or_default()),
        ),
        Err(error) => format!("no answer: {error}"),
    }
}

/// Takes out of what a plugin and a program of its own have answered what differs over HTTP/2.
fn without_differences(uri: &Uri, alone: &str, plugin: &str) -> [String; 2] {
    let authority = uri.authority().expect("all of HTTP/2 has one").as_str();
    // A field `host` says whom the client asked for. In a program of its own there is none.
    let (named, unnamed) = match uri.path() {
        "/request" => (format!(" Some({authority:?})"), " None"),
        "/headers" => (format!("host: {authority:?}\n"), ""),
        // hyper gives a 304 its body.
        "/status/304" => return [alone.replace("\na status\n", "\n\n"), plugin.to_owned()],
        _ => return [alone, plugin].map(str::to_owned),
    };
    assert!(plugin.contains(&named), "`{named}` in {plugin}");
    let unmeasured = |text: &str| -> String {
        let lines = text.split_inclusive('\n').filter(|line| !line.starts_with("content-length: "));
        lines.collect()
    };
    [unmeasured(alone), unmeasured(&plugin.replace(&named, unnamed))]
}

#[test]
fn answers_over_http2_are_the_same() {
    let program = Program::start();
    let host = host().start();
    let mut differ = Vec::new();
    let mut count = 0;
    for (name, text) in [asked(), sent()].concat() {
        if ONLY_HTTP1.contains(&name) {
            continue;
        }
        count += 1;
        let request = translated(&text);
        let [alone, plugin] = [program.address, host.data()].map(|at| answer(at, &request));
        let [alone, plugin] = without_differences(request.uri(), &alone, &plugin);
        assert!(alone.starts_with("HTTP/2.0 "), "{name}: {alone:.800}");
        if alone != plugin {
            differ.push(format!("--- {name}\n{alone:.800}\n+++ as a plugin\n{plugin:.800}\n"));
        }
    }
    assert!(count >= 50);
    assert!(differ.is_empty(), "{} of {count}:\n{}", differ.len(), differ.join("\n"));
}

/// A call of gRPC is a POST with a message each way and trailers behind the answer.
#[test]
fn a_call_of_grpc_is_the_same() {
    let (program, host) = (Program::start(), host().start());
    let body = [&[0, 0, 0, 0, 5][..], b"world"].concat();
    let request = Request::post("http://a/greeter.Greeter/Greet")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body.into())
        .unwrap();
    let [alone, plugin] = [program.address, host.data()].map(|at| answer(at, &request));
    assert_eq!(alone, plugin);
    assert!(plugin.ends_with("\0\0\0\0\u{b}hello world\ngrpc-status: 0\n"), "{plugin}");
}

/// A cookie that a client has sent in pieces comes whole here, and in pieces in a program of its own.
#[test]
fn pieces_of_a_cookie_are_joined() {
    let (program, host) = (Program::start(), host().start());
    let request = Request::get("http://a/headers").header("cookie", "a=1").header("cookie", "b=2");
    let request = request.body(bytes::Bytes::new()).unwrap();
    let [alone, plugin] = [program.address, host.data()].map(|at| answer(at, &request));
    assert!(alone.contains("cookie: \"a=1\"\ncookie: \"b=2\""), "{alone}");
    assert!(plugin.contains("cookie: \"a=1; b=2\""), "{plugin}");
}

/// Asks for a WebSocket as HTTP/2 has them: status, or none where the stream is reset.
#[track_caller]
fn asked_to_connect(address: SocketAddr) -> (bool, Option<u16>) {
    /// SETTINGS_ENABLE_CONNECT_PROTOCOL. Source: RFC 8441, 3.
    const CONNECT_PROTOCOL: [u8; 6] = [0, 8, 0, 0, 0, 1];
    let mut client = RawHttp2::open(address, &[]).unwrap();
    let stream = client.stream();
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/socket"),
        (":authority", "a"),
        ("sec-websocket-version", "13"),
    ];
    let mut is_offered = false;
    let mut look = |frame: &Frame| {
        let mut settings = frame.payload.chunks(6);
        is_offered |=
            frame.kind == kind::SETTINGS && settings.any(|setting| setting == CONNECT_PROTOCOL);
    };
    // The peer's settings come first.
    look(&client.step().unwrap());
    client.send(kind::HEADERS, flag::END_HEADERS, stream, &hpack::encode(&fields)).unwrap();
    while client.at(stream).answer.is_none() && !client.at(stream).is_over() {
        // Whoever closes the connection refuses, too.
        let Ok(frame) = client.step() else { break };
        look(&frame);
    }
    (is_offered, client.at(stream).answer.as_ref().map(|it| it.status))
}

/// WebSockets come over HTTP/1 alone: over HTTP/2 nobody offers them, and who asks all the same is
/// refused.
#[test]
fn websockets_over_http2_are_not_offered() {
    let program = Program::start();
    assert_eq!(asked_to_connect(program.address), (true, Some(200)));
    let host: Host = host().start();
    let (is_offered, status) = asked_to_connect(host.data());
    assert!(!is_offered);
    assert!(matches!(status, None | Some(400 | 405)), "{status:?}");
    host.get("/").assert_status(200);
}
