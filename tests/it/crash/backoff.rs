//! Workers that do not stay alive: the next one waits, and at last the host gives up.

use std::time::Duration;

use hotseat_test_support::{Host, fault, host};

use super::{break_state, mend_state, next_worker, try_get, wait_ends};

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

/// Workers that fail at once are started less and less often; the host ends with 1 and a reason
/// once there were too many.
#[test]
fn a_host_gives_up_at_last() {
    let mut host =
        host!().arg("--crash-exit-count=4").with(fault("plain_v1"), "libhandler_v1.so").start();
    break_state(&host);
    host.signal_process(host.worker_pid(), rustix::process::Signal::KILL);
    let status = host.wait_exit();
    assert_eq!(status.code(), Some(1), "{}", host.log_end());
    let log = host.home().read_log();
    assert!(log.contains("giving up"), "{log}");
    assert!(log.contains("open the artifact store"), "it says why:\n{log}");
    let starts = moments(&host, "a worker is started");
    assert_eq!(starts.len(), 5, "the first one and four attempts:\n{log}");
    // At once after the kill and after the first that does not come up, then with pauses.
    for (pair, least) in starts[1..].windows(2).zip([0, 100, 500].map(Duration::from_millis)) {
        // Midnight may have passed.
        let pause = pair[1].checked_sub(pair[0]).unwrap_or(least);
        assert!(pause >= least, "{pause:?} is less than {least:?}\n{log}");
    }
}

/// A host whose workers fail for a while is there again as soon as one comes up; nobody was
/// refused meanwhile.
#[test]
fn a_host_recovers_when_the_trouble_is_over() {
    let host = host!().with(fault("plain_v1"), "libhandler_v1.so").start();
    let worker = host.worker_pid();
    break_state(&host);
    host.signal_process(worker, rustix::process::Signal::KILL);
    host.wait_ended(worker);
    let mut waiting = host.connect();
    waiting.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    wait_ends(&host, 3);
    mend_state(&host);
    waiting.read_answer().unwrap().assert_status(200).assert_contains("v1");
    next_worker(&host, worker);
    assert_eq!(try_get(&host, "/").as_deref(), Some("v1"));
}
