//! Workers that do not stay alive: the next one waits, and a host that is told to gives up.

use std::{fs, time::Duration};

use hotseat_test_support::{Host, Notify, fault, host};

use super::{make_fragile, next_worker, try_get, wait_ends};

/// The moments at which the log says `text`, from its first line on.
fn moments(host: &Host, text: &str) -> Vec<Duration> {
    let log = host.home().read_log();
    let lines = log.lines().filter(|line| line.contains(text));
    lines.filter_map(moment).collect()
}

/// `2026-11-20T20:00:01.123456Z  INFO ...`, within its day.
fn moment(line: &str) -> Option<Duration> {
    let time = line.split_once('T')?.1.split_once('Z')?.0;
    let mut parts = time.split(':');
    let hours: f64 = parts.next()?.parse().ok()?;
    let minutes: f64 = parts.next()?.parse().ok()?;
    let seconds: f64 = parts.next()?.parse().ok()?;
    Some(Duration::from_secs_f64(3600.0 * hours + 60.0 * minutes + seconds))
}

/// Workers that fail at once are started less and less often; a host that was told so ends with 1
/// and a reason once there were too many in a row.
#[test]
fn a_host_gives_up_where_it_is_told_to() {
    for argument in ["--crash-exit-after=4", "--crash-exit-count=4"] {
        let builder = host!().arg("--soak-time=0s").arg(argument);
        let mut host = builder.with(fault("plain_v1"), "libhandler_v1.so").start();
        let flag = make_fragile(&host);
        fs::write(&flag, b"").unwrap();
        host.signal_process(host.worker_pid(), rustix::process::Signal::KILL);
        let status = host.wait_exit();
        assert_eq!(status.code(), Some(1), "{}", host.log_end());
        let log = host.home().read_log();
        assert!(log.contains("giving up"), "{log}");
        let starts = moments(&host, "a worker is started");
        assert_eq!(starts.len(), 3 + 4, "the first three and four attempts:\n{log}");
        // At once after the kill and after the first that does not come up, then with pauses.
        for (pair, least) in starts[3..].windows(2).zip([0, 100, 500].map(Duration::from_millis)) {
            // Midnight may have passed.
            let pause = pair[1].checked_sub(pair[0]).unwrap_or(least);
            assert!(pause >= least, "{pause:?} is less than {least:?}\n{log}");
        }
    }
}

/// Without being told, a host goes on trying, says when and why, keeps its listener, and is there
/// again as soon as a worker comes up; nobody was refused meanwhile.
#[test]
fn a_host_recovers_when_the_trouble_is_over() {
    let manager = Notify::new();
    let builder = host!().arg("--soak-time=0s").notify(&manager);
    let host = builder.with(fault("plain_v1"), "libhandler_v1.so").start();
    let flag = make_fragile(&host);
    let worker = host.worker_pid();
    fs::write(&flag, b"").unwrap();
    host.signal_process(worker, rustix::process::Signal::KILL);
    host.wait_ended(worker);
    let mut waiting = host.connect();
    waiting.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    wait_ends(&host, 5);
    let log = host.home().read_log();
    assert!(log.contains("the next worker is started after a pause"), "{log}");
    let texts = manager.texts();
    let says = |text: &String| text.contains("STATUS=next worker in ");
    assert!(texts.iter().any(says), "{texts:#?}");
    fs::remove_file(&flag).unwrap();
    waiting.read_answer().unwrap().assert_status(200).assert_contains("v1");
    next_worker(&host, worker);
    assert_eq!(try_get(&host, "/").as_deref(), Some("v1"));
}

/// A stop ends a host that waits to try again, at once.
#[test]
fn a_host_that_tries_again_can_be_stopped() {
    let builder = host!().arg("--soak-time=0s").with(fault("plain_v1"), "libhandler_v1.so");
    let mut host = builder.start();
    let flag = make_fragile(&host);
    fs::write(&flag, b"").unwrap();
    host.signal_process(host.worker_pid(), rustix::process::Signal::KILL);
    wait_ends(&host, 4);
    assert!(host.stop().success(), "{}", host.log_end());
}
