//! What the host adds to HTTP: rules, limits, and what no plugin may be asked.

use std::process::Command;

use hotseat_test_support::{
    Connection, Host, eventually, fault, host, library::installed, start_host,
};

fn reflecting() -> Host {
    start_host!(fault("reflect"), "libhandler_v1.so")
}

/// The host answered by itself, with `status`; no plugin was asked.
#[track_caller]
fn check_refused(host: &Host, request: &str, status: u16) {
    let answer = host.raw(request);
    answer.assert_status(status);
    assert!(!answer.text().contains("method="), "a plugin was asked: {}", answer.text());
    host.get("/").assert_status(200);
}

/// RFC 9112, 3.2: exactly one valid Host.
#[test]
fn host_is_there_once_and_valid() {
    let host = reflecting();
    check_refused(&host, "GET / HTTP/1.1\r\n\r\n", 400);
    check_refused(&host, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400);
    for name in ["a b", "a/b", "a@b", "a:port", "[::1"] {
        check_refused(&host, &format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n"), 400);
    }
    for name in ["a", "A.example:80", "[::1]:8080", "127.0.0.1"] {
        host.raw(format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n")).assert_status(200);
    }
    host.raw("GET / HTTP/1.0\r\n\r\n").assert_status(200);
}

/// CONNECT, TRACE and `OPTIONS *` are the host's; everything else is the plugin's.
#[test]
fn methods() {
    let host = reflecting();
    check_refused(&host, "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405);
    check_refused(&host, "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405);
    check_refused(&host, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 204);
    for method in ["OPTIONS", "BREW", "DELETE", "PATCH"] {
        let answer = host.raw(format!("{method} /x HTTP/1.1\r\nHost: a\r\n\r\n"));
        answer.assert_status(200).assert_contains(&format!("method={method}\npath=/x\n"));
    }
}

/// HEAD goes to the plugin; its body stays here.
#[test]
fn head_has_no_body() {
    let host = reflecting();
    let mut connection = host.connect();
    connection.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let head = connection.read_head().unwrap();
    head.assert_status(200);
    assert!(head.header("content-length").is_some_and(|it| it != "0"), "{head:?}");
    // Were there a body, it would be taken for the next answer.
    connection.get("/").unwrap().assert_status(200).assert_contains("method=GET");
}

/// A whole URI in the request line; its host counts.
#[test]
fn absolute_form() {
    let host = reflecting();
    let answer = host.raw("GET http://named.example/x?y HTTP/1.1\r\nHost: named.example\r\n\r\n");
    answer.assert_status(200).assert_contains("path=/x\nquery=y\noriginal=/x\n");
    answer.assert_contains("host=named.example\n");
}

/// What the plugin sees: names in lower case, values as they came, repeated ones too.
#[test]
fn headers_arrive() {
    let host = reflecting();
    let answer =
        host.raw("GET / HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nx-one: 2\r\nX-Two: \u{e4}\r\n\r\n");
    answer.assert_contains("x-one: 1\nx-one: 2\nx-two: \u{e4}\n");
    let peer = answer.text().lines().find_map(|it| it.strip_prefix("peer=").map(str::to_owned));
    assert!(peer.is_some_and(|it| it.starts_with("127.0.0.1:")), "{}", answer.text());
}

/// A head that does not come to its end within its time.
#[test]
fn a_head_has_a_time_limit() {
    let host = host!().arg("--header-time=300ms").with(fault("reflect"), "libhandler_v1.so");
    let host = host.start();
    let mut connection = host.connect();
    connection.send("GET / HTTP/1.1\r\nHost:").unwrap();
    connection.wait_closed().expect("closed at its limit");
    // The second request of a connection has the same limit.
    let mut connection = host.connect();
    connection.get("/").unwrap().assert_status(200);
    connection.send("GET / HT").unwrap();
    connection.wait_closed().expect("closed at its limit");
    host.get("/").assert_status(200);
}

/// A connection without a request.
#[test]
fn an_idle_connection_has_a_time_limit() {
    let host = host!().arg("--idle-time=300ms").with(fault("reflect"), "libhandler_v1.so");
    let host = host.start();
    let mut fresh = host.connect();
    let mut used = host.connect();
    used.get("/").unwrap().assert_status(200);
    fresh.wait_closed().expect("closed at its limit");
    used.wait_closed().expect("closed at its limit");
}

/// A body whose next piece does not come: the plugin's read fails, the connection ends, and its
/// request holds nothing any more.
#[test]
fn a_body_has_a_gap_limit() {
    let host = host!().arg("--body-gap=300ms").with(fault("versioned"), "libhandler_v1.so").start();
    let mut connection = host.connect();
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf").unwrap();
    match connection.read_answer() {
        Ok(answer) => assert!(answer.status >= 400, "{answer:?}"),
        Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "no limit"),
    }
    connection.wait_closed().expect("closed at its limit");
    let holders = || {
        let plugin = hotseat_test_support::wire::plugin(&host.status(), "handler");
        hotseat_test_support::wire::number(&plugin, "/active/holder_count")
    };
    eventually!(holders() == 0, "{}", host.status());
    // Pieces that come slowly, but each in time, are fine.
    let mut connection = host.connect();
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n").unwrap();
    for _ in 0..10 {
        hotseat_test_support::patience::breathe(std::time::Duration::from_millis(60));
        connection.send("x").unwrap();
    }
    connection.read_answer().unwrap().assert_status(200);
}

/// Sizes and counts are bounded.
#[test]
fn heads_and_bodies_are_bounded() {
    let host = host!()
        .arg("--headers-count=20")
        .arg("--body-bytes=1KiB")
        .with(fault("versioned"), "libhandler_v1.so")
        .start();
    let fields = |count: usize| "X-Many: 1\r\n".repeat(count);
    let few = host.raw(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(19)));
    few.assert_status(200);
    let many = host.raw(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(20)));
    many.assert_status(431);
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(70 << 10));
    let mut connection = host.connect();
    // The answer may come, and the connection close, before all of it is out.
    let _ = connection.send(long);
    match connection.read_answer() {
        Ok(answer) => assert_eq!(answer.status, 431),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    let body = "x".repeat(1025);
    let large =
        host.raw(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n{body}"));
    large.assert_status(413);
    let fits = host
        .raw(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1024\r\n\r\n{}", &body[1..]));
    fits.assert_status(200);
}

/// A client that shuts its writing side still gets its answer.
#[test]
fn half_close_is_answered() {
    let host = crate::gate_host();
    let held = host.hold("/");
    held.connection.half_close().unwrap();
    held.release().assert_status(200).assert_contains("gate 1");
}

/// `Expect: 100-continue` is answered once the plugin wants the body.
#[test]
fn expect_continue() {
    let host = start_host!(fault("versioned"), "libhandler_v1.so");
    let mut connection = host.connect();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    connection.send(head).unwrap();
    assert_eq!(connection.read_line().unwrap(), "HTTP/1.1 100 Continue");
    assert_eq!(connection.read_line().unwrap(), "");
    connection.send("body").unwrap();
    connection.read_answer().unwrap().assert_status(200);
}

/// More connections than are allowed: the surplus waits for those that work, idle ones make room, and
/// afterwards all is as before.
#[test]
fn connections_are_bounded() {
    let host = host!().arg("--connections-count=8").with(fault("reflect"), "libhandler_v1.so");
    let host = host.start();
    let mut inside: Vec<Connection> = (0..8).map(|_| host.connect()).collect();
    for connection in &mut inside {
        connection.get("/").unwrap().assert_status(200);
        connection.send("GET / HTTP/1.1\r\nHo").unwrap();
    }
    hotseat_test_support::eventually!(
        host.status()["connections"]["head"].as_u64() == Some(8),
        "eight that have begun a request: {}",
        host.status()
    );
    let mut surplus: Vec<Connection> = (0..8).map(|_| host.connect()).collect();
    for connection in &mut inside {
        connection.send("st: a\r\n\r\n").unwrap();
        connection.read_answer().unwrap().assert_status(200);
    }
    // Now they are idle, and those that have waited longest make room.
    for connection in &mut surplus {
        connection.get("/").unwrap().assert_status(200);
    }
    drop((inside, surplus));
    for _ in 0..8 {
        host.get("/").assert_status(200);
    }
}

/// The host survives running out of descriptors and serves at once when there are some again.
#[test]
fn running_out_of_descriptors_is_survived() {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

    let host = reflecting();
    let pid = i32::try_from(host.worker_pid()).ok().and_then(Pid::from_raw);
    let open = hotseat_test_support::procfs::descriptors(host.worker_pid());
    // The hard limit stays: not everybody may raise it again.
    let maximum = getrlimit(Resource::Nofile).maximum;
    let few = Rlimit { current: Some(open as u64 + 4), maximum };
    let before = prlimit(pid, Resource::Nofile, few).unwrap();
    let mut flood: Vec<Connection> = (0..32).map(|_| host.connect()).collect();
    let answered = flood.iter_mut().take(2).filter_map(|it| it.get("/").ok()).count();
    assert_eq!(answered, 2, "the first ones are served");
    drop(flood);
    host.get("/").assert_status(200);
    prlimit(pid, Resource::Nofile, before).unwrap();
    host.get("/").assert_status(200);
}

/// HTTP/2 with prior knowledge, and many streams at once.
#[test]
fn http2_with_prior_knowledge() {
    if !installed("curl") {
        eprintln!("skipped: curl is not installed");
        return;
    }
    let host = reflecting();
    let url = format!("http://{}/two?x", host.data());
    let output = Command::new("curl")
        .args(["-sS", "--http2-prior-knowledge", "-w", "%{http_version} %{http_code}", &url])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("path=/two\nquery=x\n"), "{text} {output:?}");
    assert!(text.ends_with("2 200"), "{text}");
}

/// curl as README shows it, word for word: a swap by a path.
#[test]
fn curl_as_the_readme_shows_it() {
    if !installed("curl") {
        eprintln!("skipped: curl is not installed");
        return;
    }
    let host = crate::plain_host();
    host.home().place(&fault("plain_v2"), "libhandler_v2.so");
    let control = format!("localhost:{}", host.control().address.port());
    let output =
        Command::new("curl").args(["-sS", &control, "-d", "./libhandler_v2.so"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("handler v2 is serving"), "{text} {output:?}");
}

/// An answer of the host's own ends the head's time limit like any other: nothing follows it on an
/// idle connection.
#[test]
fn nothing_follows_an_answer_of_the_hosts_own() {
    let host = host!()
        .arg("--header-time=300ms")
        .arg("--health-path=/health")
        .with(fault("reflect"), "libhandler_v1.so")
        .start();
    let mut idle = host.connect();
    idle.get("/health/livez").unwrap().assert_status(200);
    // Half a head on another connection tells when the time limit has passed for both.
    let mut late = host.connect();
    late.send("GET / HT").unwrap();
    late.read_answer().unwrap().assert_status(408);
    idle.get("/health/livez").unwrap().assert_status(200).assert_contains("alive");
}

/// HEAD over HTTP/2: hyper leaves the body in, which breaks the stream.
#[test]
fn head_over_http2_has_no_body() {
    if !installed("curl") {
        eprintln!("skipped: curl is not installed");
        return;
    }
    let host =
        host!().arg("--health-path=/health").with(fault("reflect"), "libhandler_v1.so").start();
    for path in ["/", "/health/readyz"] {
        let url = format!("http://{}{path}", host.data());
        let output =
            Command::new("curl").args(["-sS", "-I", "--http2-prior-knowledge", &url]).output();
        let output = output.unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{output:?}");
        assert!(text.starts_with("HTTP/2 200") && text.contains("content-length: "), "{text}");
    }
}

/// The number of fields is bounded for HTTP/2 too.
#[test]
fn http2_heads_are_bounded() {
    if !installed("curl") {
        eprintln!("skipped: curl is not installed");
        return;
    }
    let host = host!().arg("--headers-count=20").with(fault("reflect"), "libhandler_v1.so").start();
    let url = format!("http://{}/", host.data());
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--http2-prior-knowledge", "-w", "%{http_code}", "-o", "/dev/null"]);
    for number in 0..21 {
        curl.args(["-H", &format!("x-{number}: 1")]);
    }
    let output = curl.arg(&url).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "431", "{output:?}");
}

/// What a client does wrong with its body is its own fault: not the plugin's answer, nor counted as
/// the plugin's error.
#[test]
fn a_body_that_grows_too_large_is_the_clients_fault() {
    let host =
        host!().arg("--body-bytes=1KiB").with(fault("versioned"), "libhandler_v1.so").start();
    let mut connection = host.connect();
    let chunk = format!("800\r\n{}\r\n0\r\n\r\n", "x".repeat(0x800));
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    connection.send(format!("{head}{chunk}")).unwrap();
    connection.read_answer().unwrap().assert_status(413);
    let status = host.status();
    assert_eq!(status["plugins"][0]["counts"]["errors"], 0, "{status}");
}
