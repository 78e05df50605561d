use std::time::Duration;

use super::{Failure, Idle, Load, LoadPlan, Mark, Report, Trail};
use crate::server::{Manner, Server};

/// Short thoughts, and as many clients as show a fault quickly.
fn plan() -> LoadPlan {
    let think = Duration::ZERO..=Duration::from_millis(10);
    LoadPlan { kept: 8, fresh: 2, think, ..LoadPlan::default() }
}

/// Load on a server of this manner until there are some good answers and what must be seen is.
fn run(manner: Manner, plan: LoadPlan, seen: impl Fn(&Report) -> bool) -> Report {
    let server = Server::start(manner);
    let load = Load::start(server.address(), plan);
    load.wait_for(100);
    crate::eventually!(seen(&load.so_far()), "what must be seen\n{}", load.so_far());
    load.stop()
}

#[track_caller]
fn check_found(manner: Manner, idle: Idle, failure: Failure) -> Report {
    let plan = LoadPlan { idle, ..plan() };
    let report = run(manner, plan, |report| report.count(failure) > 10);
    assert!(report.examples.iter().any(|it| it.starts_with(&format!("{failure:?}"))), "{report}");
    assert_eq!(report.requests, report.answered + report.failed(), "{report}");
    report
}

#[test]
fn a_good_server_is_clean() {
    let report = run(Manner::Good, plan(), |_| true);
    report.assert_clean().assert_announced().assert_kept().assert_forward(&[std::process::id()]);
    assert!(report.connects > 8, "new connections too\n{report}");
    assert_eq!(report.pids(), [std::process::id()].into());
}

#[test]
fn an_announced_close_is_no_failure() {
    let report = run(Manner::Announces, plan(), |report| report.closed_announced > 10);
    report.assert_clean().assert_announced();
    assert!(report.reconnects > 0, "{report}");
}

/// Who does not look loses a request; who looks sees the close, and at most a few races.
#[test]
fn a_close_without_a_word_is_found() {
    let blind = run(Manner::ClosesIdle, plan(), |report| report.failed() > 10);
    assert!(blind.closed_unannounced > 10, "{blind}");
    let races = [Failure::Closed, Failure::Reset];
    blind.assert_only(&races);
    let plan = LoadPlan { idle: Idle::Watched, ..plan() };
    let watched = run(Manner::ClosesIdle, plan, |report| report.closed_unannounced > 10);
    watched.assert_only(&races);
    assert!(watched.failed() < watched.closed_unannounced, "{watched}");
}

#[test]
fn a_reset_is_found() {
    let report = check_found(Manner::Resets, Idle::Watched, Failure::Reset);
    report.assert_only(&[Failure::Reset]);
    assert!(report.closed_unannounced > 0, "{report}");
}

#[test]
fn a_short_body_is_found() {
    check_found(Manner::Truncates, Idle::Watched, Failure::Short).assert_only(&[Failure::Short]);
}

#[test]
fn a_bad_status_is_found() {
    check_found(Manner::Fails, Idle::Blind, Failure::Status).assert_only(&[Failure::Status]);
}

#[test]
fn a_body_that_came_as_another_is_found() {
    check_found(Manner::Mistakes, Idle::Blind, Failure::Wrong).assert_only(&[Failure::Wrong]);
}

#[test]
fn a_port_without_a_listener_is_found() {
    let load = Load::start(crate::address::free_address(), plan());
    crate::eventually!(load.failed() > 10, "failures");
    let report = load.stop();
    assert_eq!(report.count(Failure::Refused), report.requests, "{report}");
}

#[track_caller]
fn check_panics(act: impl FnOnce() + std::panic::UnwindSafe, text: &str) {
    let said = *std::panic::catch_unwind(act).unwrap_err().downcast::<String>().unwrap();
    assert!(said.contains(text), "{said}");
}

#[test]
fn clean_means_that_something_was_answered() {
    check_panics(|| drop(Report::default().assert_clean().clone()), "nothing was answered");
}

#[test]
fn a_connection_that_goes_back_is_found() {
    let mark = |pid| Mark { pid: Some(pid), label: None };
    let trail = |pids: &[u32]| Trail {
        marks: pids.iter().map(|it| mark(*it)).collect(),
        ..Trail::default()
    };
    let report = |pids: &[u32]| Report { trails: vec![trail(pids)], ..Report::default() };
    report(&[7, 5]).assert_forward(&[7, 5]);
    report(&[5]).assert_forward(&[7, 5]);
    check_panics(|| drop(report(&[7, 5, 7]).assert_forward(&[7, 5]).clone()), "not in the order");
    check_panics(|| drop(report(&[7, 4]).assert_forward(&[7, 5]).clone()), "not in the order");
}
