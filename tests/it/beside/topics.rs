//! Topics: who hears what, across threads and versions.

use hotseat_test_support::{Gate, eventually};

use super::*;

/// All versions of a plugin in one process share a topic, whatever core they are on.
#[test]
fn versions_hear_each_other() {
    let host = builder().arg("--threads=2").start();
    let (first, gate) = (host.active("handler"), Gate::new());
    let mut hears = host.connect();
    hears.send_request("GET", &format!("/next?{}", gate.query()), "").unwrap();
    let _subscribed = gate.entered();
    host.deploy_bytes(&version(2), "libhandler_v2.so").swapped();
    assert_eq!(host.get("/publish?hello").assert_status(200).text(), "1");
    let answer = hears.read_answer().unwrap();
    assert_eq!(answer.assert_status(200).text(), format!("{first} heard hello"));
    // The publisher's version goes, and its message stays with those who have not read it.
    host.assert_all_unloaded("beside");
    assert_eq!(host.get("/publish?nobody").text(), "0");
}

/// Nothing is kept for those who come later.
#[test]
fn what_was_said_before_is_not_heard() {
    let host = builder().start();
    let gate = Gate::new();
    assert_eq!(host.get("/publish?early").assert_status(200).text(), "0");
    let mut hears = host.connect();
    hears.send_request("GET", &format!("/next?{}", gate.query()), "").unwrap();
    let _subscribed = gate.entered();
    assert_eq!(host.get("/publish?late").assert_status(200).text(), "1");
    let answer = hears.read_answer().unwrap();
    let heard = format!("{} heard late", host.active("handler"));
    assert_eq!(answer.assert_status(200).text(), heard);
    assert_eq!(metric(&host, "hotseat_topic_published_total", "handler"), 2);
}

/// A reader of the version before hears on until its end, on each core.
#[test]
fn everybody_hears_everything_in_order() {
    let host = builder().arg("--threads=2").start();
    let first = serving(&host);
    host.get("/subscribe?3").assert_status(200);
    let held = host.hold("/gate");
    host.deploy_bytes(&version(2), "libhandler_v2.so").swapped();
    let second = serving(&host);
    host.get("/subscribe?2").assert_status(200);
    for (number, text) in ["a", "b", "c"].into_iter().enumerate() {
        assert_eq!(host.get(&format!("/publish?{text}")).text(), "5");
        let heard = || {
            count(&host, first, "reader", text) == 3 && count(&host, second, "reader", text) == 2
        };
        eventually!(heard(), "message {number}: {:?}", book(&host));
    }
    held.release().assert_status(200);
    host.assert_all_unloaded("beside");
    assert_eq!(host.get("/publish?d").text(), "2", "those of the version before have gone");
    assert_eq!(metric(&host, "hotseat_topic_subscribers", "handler"), 2);
    assert_eq!(metric(&host, "hotseat_topic_missed_total", "handler"), 0);
}

/// Who does not keep up loses the oldest, and is told how many.
#[test]
fn a_reader_that_lags_is_told() {
    let host = builder().start();
    assert_eq!(host.get("/lag").assert_status(200).text(), "6:6 0:7 0:8 0:9 ");
    assert_eq!(metric(&host, "hotseat_topic_missed_total", "handler"), 6);
    assert_eq!(metric(&host, "hotseat_topic_published_total", "handler"), 10);
    assert_eq!(metric(&host, "hotseat_topic_subscribers", "handler"), 0, "it is gone");
}

#[test]
fn there_are_limits() {
    let host = builder().arg("--subscribers-count=3").arg("--topic-bytes=1024").start();
    assert_eq!(host.get("/long").assert_status(200).text(), "Err(TooLong)");
    host.get("/subscribe?3").assert_status(200);
    host.get("/subscribe?1").assert_status(500);
    host.assert_logged("`subscribers_count`");
    assert_eq!(host.get("/publish?x").text(), "3");
}

/// The counts go on in the next worker, where the topic is another one.
#[test]
fn an_upgrade_begins_a_topic_anew() {
    let host = crate::hooks::quick(builder()).start();
    host.get("/lag").assert_status(200);
    host.get("/subscribe?2").assert_status(200);
    host.upgrade(&["--wait"]).assert_code(0);
    eventually!(
        host.processes().iter().filter(|it| it.role != "master").count() == 1,
        "one worker"
    );
    assert_eq!(host.get("/publish?x").text(), "0");
    assert_eq!(metric(&host, "hotseat_topic_missed_total", "handler"), 6);
    assert_eq!(metric(&host, "hotseat_topic_published_total", "handler"), 11);
    assert_eq!(metric(&host, "hotseat_topic_subscribers", "handler"), 0);
}
