//! Cells, which the release before has none of.

use hotseat_test_support::{Builder, Host, Release, fault};

use super::{assert_run, current, go_over, replaceable};

#[track_caller]
fn counts(host: &Host, wanted: &str) {
    let answer = host.get("/count/visits");
    answer.assert_status(200);
    assert_eq!(answer.text(), wanted, "{}", host.log_end());
}

#[test]
fn a_host_of_before_says_that_it_has_none() {
    let host = Builder::new(&Release::previous().binary).start();
    host.deploy(&fault("cells"), "libhandler_v1.so").swapped();
    let answer = host.get("/count/visits");
    answer.assert_status(409);
    assert_eq!(answer.header("x-error"), Some("unavailable"));
}

/// The worker that the master of before has started makes its own cells; the master of now takes them
/// over, and its next workers have them. A host of before knows nothing of them.
#[test]
fn cells_begin_with_the_upgrade_and_go_on() {
    let (before, now) = (Release::previous(), current());
    let host = replaceable(&before, "100ms").start();
    host.deploy(&fault("cells"), "libhandler_v1.so").swapped();
    go_over(&host, &now);
    assert_run(&host, &now, &now);
    counts(&host, "1");
    go_over(&host, &now);
    counts(&host, "2");
    let worker = host.worker_pid();
    host.signal_process(worker, rustix::process::Signal::KILL);
    host.wait_other_worker(worker);
    counts(&host, "3");
    go_over(&host, &before);
    host.get("/count/visits").assert_status(409);
}
