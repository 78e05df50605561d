//! The control plane: what it takes, what it refuses, and that history is linear.

use std::collections::BTreeSet;

use hotseat_test_support::{Connection, fault, host, library, start_host, wire};

mod clock;
mod flood;
mod history;
mod numbers;

/// Each thing that is no path has a refusal of its own, in text with a hint as well.
#[test]
fn what_is_no_path_is_refused() {
    let host = start_host!();
    let library = library::bytes(&fault("plain_v1"));
    for (body, status, code) in [
        (&b""[..], 400, "no_path"),
        (b"\n", 400, "no_path"),
        (b"./a.so\n./b.so", 400, "several_lines"),
        (b"./a\0b.so", 400, "nul_in_path"),
        (b"./\xff\xfe.so", 400, "not_utf8"),
        (&library[..2000], 400, "library_as_body"),
        (&library, 400, "library_as_body"),
        (&[b'a'; 5000], 413, "body_too_large"),
        (b"./nobody.so", 404, "file_missing"),
        (b"/proc/self/mem/x", 404, "file_missing"),
    ] {
        let answer = host.control().post(body);
        answer.assert_error(status, code);
        let text = answer.text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[1].starts_with("hint: "), "{text}");
        assert_eq!(lines[2], format!("code: {code}"), "{text}");
    }
}

/// Spaces, `..`, a trailing newline, plus and percent signs: a path is taken as it is.
#[test]
fn unusual_paths_are_taken_as_they_are() {
    let host = start_host!();
    let home = host.home().path().file_name().unwrap().to_str().unwrap().to_owned();
    let bytes = library::bytes(&fault("plain_v1"));
    for (number, path) in (1_u8..).zip([
        "./with space.so".to_owned(),
        format!("../{home}/dots.so"),
        "a+b%20c&d=e.so".to_owned(),
        "umlaut-\u{e4}.so".to_owned(),
    ]) {
        let name = path.rsplit('/').next().unwrap();
        host.home().write(name, &[bytes.clone(), vec![number]].concat());
        host.control().post(format!("{path}\n")).assert_status(200);
    }
    // A symlink in the folder part is followed.
    let inner = host.home().path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    host.home().write("last.so", &[bytes, vec![9]].concat());
    std::fs::rename(host.home().path().join("last.so"), inner.join("last.so")).unwrap();
    std::os::unix::fs::symlink(&inner, host.home().path().join("link")).unwrap();
    host.control().post("link/last.so").assert_status(200);
}

/// A web page in the operator's browser, a name that was rebound: refused before anything else.
#[test]
fn foreign_pages_and_hosts_are_refused() {
    let host = crate::plain_host();
    host.home().place(&fault("plain_v2"), "libhandler_v2.so");
    let port = host.control().address.port();
    for (extra, status, code) in [
        ("Origin: http://evil.example\r\n".to_owned(), 403, "foreign_origin"),
        ("Origin: null\r\n".to_owned(), 403, "foreign_origin"),
        ("Sec-Fetch-Site: cross-site\r\n".to_owned(), 403, "foreign_site"),
        ("Host: evil.example\r\n".to_owned(), 421, "foreign_host"),
        (format!("Host: evil.example:{port}\r\n"), 421, "foreign_host"),
        ("Host: localhost.evil.example\r\n".to_owned(), 421, "foreign_host"),
    ] {
        let answer = host.control().request("POST", "/", &extra, b"./libhandler_v2.so");
        answer.assert_error(status, code);
        let answer = host.control().request("GET", "/v1/status", &extra, b"");
        answer.assert_error(status, code);
    }
    assert_eq!(host.active("handler"), 1);
    for own in [
        format!("Host: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n"),
        "Host: 127.0.0.1\r\nSec-Fetch-Site: none\r\n".to_owned(),
    ] {
        host.control().request("GET", "/v1/status", &own, b"").assert_status(200);
    }
}

/// A hundred updates at once: each answered once, 200 or 429 with Retry-After, and the history is
/// one line.
#[test]
fn a_hundred_updates_at_once() {
    let host = host!().arg("--queue-count=40").with(fault("plain_v1"), "libhandler_v1.so").start();
    let bytes = library::bytes(&fault("plain_v2"));
    for number in 0..100_u8 {
        host.home().write(
            &format!("libhandler_v{}.so", 100 + u32::from(number)),
            &[&bytes[..], &[number]].concat(),
        );
    }
    let traffic = host.traffic("/");
    let control = host.control();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let posts: Vec<_> = (0..100)
            .map(|number| {
                scope.spawn(move || control.deploy(format!("./libhandler_v{}.so", 100 + number)))
            })
            .collect();
        posts.into_iter().map(|post| post.join().unwrap()).collect()
    });
    traffic.finish();

    let (done, busy): (Vec<_>, Vec<_>) = answers.iter().partition(|it| it.answer.status == 200);
    assert!(!done.is_empty());
    for deploy in busy {
        deploy.assert_refused(429, "queue_full");
        assert!(deploy.answer.header("retry-after").is_some(), "{:?}", deploy.answer);
    }
    let generations: BTreeSet<u64> = done.iter().map(|it| it.swapped().generation).collect();
    assert_eq!(generations.len(), done.len(), "each has a generation of its own");
    let last = *generations.last().unwrap();
    assert_eq!(generations, (2..=last).collect(), "without a gap");
    assert_eq!(host.active("handler"), last);
    let history = host.control().get_json("/v1/history?limit=200");
    let told: Vec<u64> = wire::list(&history, "/history")
        .iter()
        .filter(|it| it["outcome"] == "swapped")
        .filter_map(|it| it["generation"].as_u64())
        .collect();
    assert!(told.windows(2).all(|pair| pair[0] > pair[1]), "newest first: {told:?}");
    assert!(generations.iter().all(|it| told.contains(it)), "{told:?}");
}

/// The same content waiting twice is deployed once; both are answered.
#[test]
fn the_same_content_waiting_twice_is_deployed_once() {
    let host = crate::plain_host();
    host.home().place(&fault("new_slow"), "libhandler_v2.so");
    let control = host.control();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let posts: Vec<_> =
            (0..5).map(|_| scope.spawn(move || control.deploy("./libhandler_v2.so"))).collect();
        posts.into_iter().map(|post| post.join().unwrap().swapped()).collect()
    });
    assert!(answers.iter().all(|it| it.generation == 2), "{answers:?}");
    assert_eq!(host.active("handler"), 2);
}

/// Once queued, an update goes on when its client leaves.
#[test]
fn an_update_goes_on_without_its_client() {
    let host = crate::plain_host();
    let mut events = host.events();
    host.home().place(&fault("new_slow"), "libhandler_v2.so");
    let mut connection = host.control().connect();
    let path = "./libhandler_v2.so";
    let head =
        format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", path.len());
    connection.send(head + path).unwrap();
    events.wait_phase("verified");
    drop(connection);
    events.wait_generation(2, "committed");
    host.get("/").assert_contains("new_slow");
}

/// Orders are listed while they run and by number afterwards.
#[test]
fn orders_are_listed() {
    let host = crate::plain_host();
    let done = host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    let order = wire::number(&done.json, "/order");
    let shown = host.control().get_json(&format!("/v1/deploys/{order}"));
    assert_eq!((shown["state"].as_str(), shown["verb"].as_str()), (Some("done"), Some("deploy")));
    let all = wire::list(&host.control().get_json("/v1/deploys"), "/orders");
    assert!(all.iter().any(|it| it["order"] == order), "{all:?}");
    host.control().get("/v1/deploys/999999").assert_error(404, "no_such_order");
}

/// Wrong methods, pages that are not there, JSON that is none.
#[test]
fn the_rest_is_refused_plainly() {
    let host = start_host!();
    let control = host.control();
    control.request("PUT", "/", "", b"x").assert_error(405, "method_not_allowed");
    control.get("/v2/status").assert_error(404, "not_found");
    control.request("POST", "/v1/deploys", "", b"{").assert_error(400, "bad_json");
    control
        .request("POST", "/v1/rollback", "", b"{\"plugin\": \"NO\"}")
        .assert_error(400, "bad_name");
    control.get("/v1/plugins/nobody").assert_error(404, "no_such_plugin");
    control.rollback(None, None).assert_refused(409, "nothing_to_roll_back");
}

/// The status for people names what serves; metrics carry the plugin, and a generation only of heaps
/// that serve: deploys make no more series.
#[test]
fn status_and_metrics() {
    let host = crate::plain_host();
    for _ in 0..5 {
        host.get("/").assert_status(200);
    }
    host.control().get("/").assert_status(200).assert_contains("handler");
    let plugin = wire::plugin(&host.status(), "handler");
    assert_eq!(wire::number(&plugin, "/counts/requests"), 5);
    let metrics = host.control().get("/metrics").assert_status(200).text();
    assert!(metrics.contains("plugin=\"handler\""), "{metrics}");
    assert!(metrics.contains("hotseat_"), "{metrics}");
    let by_generation = metrics.lines().filter(|line| line.contains("generation=\""));
    assert!(by_generation.clone().all(|line| line.starts_with("hotseat_heap_")), "{metrics}");
    assert_eq!(by_generation.count(), 4, "{metrics}");
}

/// The control plane has a thread of its own: it answers while every data thread is blocked.
#[test]
fn it_answers_while_every_data_thread_is_blocked() {
    let host = host!().arg("--threads=1").with(fault("blocks_thread"), "libhandler_v1.so").start();
    let mut blocked: Connection = host.connect();
    blocked.send_request("GET", "/?block=6", "").unwrap();
    let found = || crate::blocked::blocked_entry(&host).is_some();
    hotseat_test_support::eventually!(found(), "{}", host.status());
    host.control().get("/livez").assert_status(200);
    // Each of them would take half a second if it asked the thread that is blocked.
    for _ in 0..20 {
        let ready = host.control().get("/readyz");
        assert_eq!((ready.status, &*ready.text()), (503, "not ready: no data thread turns\n"));
        let metrics = host.control().get("/metrics");
        let blocked = r#"hotseat_blocked_seconds{core="0",plugin="handler",doing="request"}"#;
        metrics.assert_status(200).assert_contains(blocked);
    }
    let status = host.status();
    let active = wire::plugin(&status, "handler");
    assert_eq!(wire::number(&active, "/active/holder_count"), 1, "what blocks it: {status}");
    assert!(found(), "all of that while the thread was blocked");
    blocked.read_answer().unwrap().assert_status(200);
    let ready = || host.control().get("/readyz").status == 200;
    hotseat_test_support::eventually!(ready(), "ready again\n{}", host.log_end());
}

/// Over a Unix socket, with 0600 and without a port.
#[test]
fn a_unix_socket_controls() {
    use std::{
        io::{Read as _, Write as _},
        os::unix::{fs::PermissionsExt as _, net::UnixStream},
    };

    let builder = host!();
    let path = builder.home().path().join("control.sock");
    let host = builder.arg("--control").arg(format!("unix:{}", path.display())).start();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    host.home().place(&fault("plain_v1"), "libhandler_v1.so");
    let mut stream = UnixStream::connect(&path).unwrap();
    let body = "./libhandler_v1.so";
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("handler v1 is serving"), "{text}");
}
