//! What the limits of time measure: the plugin's own time, and the client's.
//!
//! A test that says how long something takes bounds it from both sides, from above with much room
//! for a machine that is busy.

use std::time::{Duration, Instant};

use hotseat_test_support::{
    http2::{
        RawHttp2,
        raw::{INITIAL_WINDOW_SIZE, code},
    },
    patience::pass,
    wire,
};

use super::{ALIVE, assert_goes_on, assert_well, edge, post_head};

/// For what a limit has cut, beyond the limit.
const SLACK: Duration = Duration::from_secs(5);

fn timeouts(host: &hotseat_test_support::Host) -> u64 {
    let plugin = wire::plugin(&host.status(), "edge");
    wire::number(&plugin, "/counts/timeouts")
}

/// A slow but steady upload takes longer than the plugin may: the time is its client's.
#[test]
fn a_slow_upload_is_not_the_plugins_time() {
    let host = edge().arg("--plugin-time=400ms").arg("--body-gap=10s").start();
    let mut connection = host.connect();
    connection.send(post_head("/edge?read=all", "Content-Length: 20\r\n")).unwrap();
    let mut client = RawHttp2::open(host.data(), &[]).unwrap();
    let stream = client.begin("POST", "/edge?read=all", &[], false).unwrap();
    for step in 1..=20 {
        pass(Duration::from_millis(60));
        connection.send("x").unwrap();
        assert!(client.body(stream, b"x", step == 20).unwrap(), "{:?}", client.at(stream));
    }
    let answer = connection.read_answer().unwrap();
    assert_eq!((answer.status, answer.header("x-length")), (200, Some("20")), "{answer:?}");
    assert_goes_on(&mut connection);
    let over = client.finish(stream).unwrap();
    let answer = over.answer.expect("an answer");
    assert_eq!((answer.status, answer.header("x-length")), (200, Some("20")), "{answer:?}");
    assert_eq!(timeouts(&host), 0, "{}", host.status());
    assert_well(&host);
}

/// What the plugin takes for itself still counts, before the body and behind it.
#[test]
fn the_plugins_own_time_still_counts() {
    let host = edge().arg("--plugin-time=400ms").arg("--body-gap=10s").start();
    for (target, body) in [
        ("/edge?answer=never", ""),
        ("/edge?answer=never", "hello"),
        ("/edge?read=all&answer=never", "hello"),
        ("/edge?read=piece&answer=never", "hello"),
    ] {
        let mut connection = host.connect();
        let begun = Instant::now();
        connection.send(post_head(target, "Content-Length: 5\r\n") + body).unwrap();
        connection.read_answer().unwrap().assert_error(504, "plugin_timeout");
        assert!(begun.elapsed() < Duration::from_millis(400) + SLACK, "{:?}", begun.elapsed());
    }
    assert_eq!(timeouts(&host), 4, "{}", host.status());
    assert_well(&host);
}

/// A peer that opens no window is cut within `body_gap`, its stream alone, and not before.
#[test]
fn a_peer_without_a_window_is_cut() {
    let host = edge().arg("--body-gap=1s").start();
    for answer in ["bytes", "chunked", "known"] {
        let mut client = RawHttp2::open(host.data(), &[(INITIAL_WINDOW_SIZE, 0)]).unwrap();
        let begun = Instant::now();
        let target = format!("/edge?answer={answer}&size=100000");
        let stream = client.begin("GET", &target, &[], true).unwrap();
        // Another stream that lives on: it has a window.
        let other = client.begin("GET", "/edge?answer=never", &[], true).unwrap();
        client.grant(other, 1000).unwrap();
        let over = client.finish(stream).expect("cut, with the connection alive");
        let took = begun.elapsed();
        assert!(!over.ended && over.reset.is_some(), "{answer}: {over:?}");
        assert!(took >= Duration::from_millis(900), "{answer}: cut after {took:?}");
        assert!(took < Duration::from_secs(1) + SLACK, "{answer}: cut after {took:?}");
        assert!(!client.at(other).is_over() && client.goaway.is_none(), "{:?}", client.goaway);
        client.ping().unwrap();
    }
    assert_well(&host);
}

/// A byte now and then is no taking; a KiB each `body_gap` is.
#[test]
fn a_peer_that_takes_a_byte_a_second_is_cut() {
    let host = edge().arg("--body-gap=1s").start();
    let open = || {
        let mut client = RawHttp2::open(host.data(), &[(INITIAL_WINDOW_SIZE, 0)]).unwrap();
        client.grants = false;
        let stream = client.begin("GET", "/edge?answer=chunked&size=100000", &[], true).unwrap();
        (client, stream)
    };
    let (mut drips, drip) = open();
    let (mut takes, take) = open();
    let begun = Instant::now();
    let mut cut = None;
    while cut.is_none() && begun.elapsed() < Duration::from_secs(3) + SLACK {
        pass(Duration::from_millis(100));
        takes.grant(take, 512).unwrap();
        takes.ping().unwrap();
        assert!(!takes.at(take).is_over(), "one that takes 5 KiB a second was cut");
        drips.grant(drip, 1).unwrap();
        drips.ping().unwrap();
        cut = drips.at(drip).is_over().then(|| begun.elapsed());
    }
    let over = drips.at(drip);
    assert!(cut.is_some() && over.reset.is_some() && !over.ended, "{cut:?} {:?}", over.reset);
    assert!(cut >= Some(Duration::from_millis(900)), "cut after {cut:?}");
    // For longer than the one that dripped has lived.
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        pass(Duration::from_millis(100));
        takes.grant(take, 512).unwrap();
        takes.ping().unwrap();
        assert!(!takes.at(take).is_over(), "one that takes 5 KiB a second was cut");
    }
    takes.reset(take, code::CANCEL).unwrap();
    takes.ping().unwrap();
    assert_well(&host);
}

/// An upload that its handler does not read holds its own window alone: others go on, large ones
/// too.
#[test]
fn a_held_upload_starves_nobody() {
    let host = edge().arg("--body-gap=10s").start();
    let mut client = RawHttp2::open(host.data(), &[]).unwrap();
    let held =
        client.begin("POST", "/edge?read=held&keep=stream&answer=never", &[], false).unwrap();
    fill_window(&mut client, held);
    assert!(!client.at(held).is_over(), "{:?}", client.at(held));
    let body = vec![b'x'; 4 << 20];
    let upload = client.begin("POST", "/edge?read=all", &[], false).unwrap();
    assert!(client.body(upload, &body, true).unwrap());
    let answer = client.finish(upload).unwrap().answer.expect("an answer");
    let length = body.len().to_string();
    assert_eq!((answer.status, answer.header("x-length")), (200, Some(length.as_str())));
    client.reset(held, code::CANCEL).unwrap();
    assert!(client.get(ALIVE).unwrap().ended);
    assert_well(&host);
}

/// Sends until there is no window left, on the stream or on all.
#[track_caller]
fn fill_window(client: &mut RawHttp2, stream: u32) {
    loop {
        client.ping().unwrap();
        let (own, all) = client.windows(stream);
        let room = usize::try_from(own.min(all)).unwrap_or(0);
        if room == 0 {
            return;
        }
        assert!(client.body(stream, &vec![b'x'; room], false).unwrap(), "{:?}", client.at(stream));
    }
}

/// Where held uploads have used up the connection's window, others wait; nobody's clock runs
/// meanwhile.
#[test]
fn no_body_clock_runs_without_a_window() {
    let host = edge().arg("--body-gap=500ms").start();
    let mut client = RawHttp2::open(host.data(), &[]).unwrap();
    let mut held = Vec::new();
    // As many as may be open at a time are enough for any window.
    while held.len() < 90 {
        let target = "/edge?read=held&keep=stream&answer=never";
        let stream = client.begin("POST", target, &[], false).unwrap();
        held.push(stream);
        fill_window(&mut client, stream);
        if client.windows(stream).1 == 0 {
            break;
        }
    }
    let upload = client.begin("POST", "/edge?read=all", &[], false).unwrap();
    let full = client.windows(upload).1 == 0;
    let end = Instant::now() + Duration::from_millis(1500);
    while full && Instant::now() < end {
        client.ping().unwrap();
        let over = client.at(upload);
        assert!(!over.is_over(), "cut while it may send nothing: {over:?}");
        pass(Duration::from_millis(50));
    }
    for stream in held {
        client.reset(stream, code::CANCEL).unwrap();
    }
    assert!(client.body(upload, &[b'x'; 1000], true).unwrap(), "{:?}", client.at(upload));
    let answer = client.finish(upload).unwrap().answer.expect("an answer");
    assert_eq!((answer.status, answer.header("x-length")), (200, Some("1000")), "{answer:?}");
    assert_well(&host);
}

/// A body that could come and does not is cut, over HTTP/2 as over HTTP/1: its stream alone.
#[test]
fn a_body_that_stops_is_its_clients_fault() {
    let host = edge().arg("--body-gap=500ms").start();
    let mut client = RawHttp2::open(host.data(), &[]).unwrap();
    let stream = client.post("/edge?read=all", b"half", false).unwrap();
    let begun = Instant::now();
    let over = client.finish(stream).unwrap();
    assert!(begun.elapsed() < Duration::from_millis(500) + SLACK, "{:?}", begun.elapsed());
    let code = over.answer.as_ref().and_then(|it| it.error_code().map(str::to_owned));
    assert!(over.reset.is_some() || code.as_deref() == Some("body_timeout"), "{over:?}");
    assert!(client.get(ALIVE).unwrap().ended);
    let plugin = wire::plugin(&host.status(), "edge");
    assert_eq!(wire::number(&plugin, "/counts/errors"), 0, "{plugin}");
    assert_well(&host);
}

/// What a handler has asked for and does not come back to is its own time: at once where it has let
/// go of the body, and after a gap where it keeps it.
#[test]
fn a_body_that_is_asked_for_once_does_not_stop_the_clock() {
    for (gap, keep) in [("10s", ""), ("1s", "&keep=stream")] {
        let host =
            edge().arg("--plugin-time=400ms").arg(format!("--body-gap={gap}").as_str()).start();
        let target = format!("/edge?read=polled&answer=never{keep}");
        let mut connection = host.connect();
        let begun = Instant::now();
        connection.send(post_head(&target, "Content-Length: 10\r\n")).unwrap();
        connection.read_answer().unwrap().assert_error(504, "plugin_timeout");
        let most = Duration::from_millis(1400) + SLACK;
        assert!(begun.elapsed() < most, "{target}: {:?}", begun.elapsed());
        assert_eq!(timeouts(&host), 1, "{}", host.status());
        // What it has not sent would be waited for.
        connection.reset().unwrap();
        assert_well(&host);
    }
}
