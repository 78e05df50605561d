//! An upgrade that works: who answers what, and what those who asked are told.

use hotseat_test_support::{LoadPlan, eventually, load::Load, procfs};
use serde_json::json;

use super::{Slow, assert_one_worker, builder, last_verdict, pid_of, serving_number};

/// The demonstration: HUP while a request is in flight. The worker before finishes it, the next
/// one answers what comes, and the host stays the process that it was.
#[test]
fn the_old_worker_finishes_and_the_new_one_answers() {
    let host = builder().start();
    let (master, old) = (host.pid(), host.worker_pid());
    let slow = Slow::start(host.data());
    host.hup();
    assert_eq!(host.wait_role("draining").pid, old);
    let new = pid_of(&host.get("/?sleep=0"));
    assert_ne!(new, old);
    assert_eq!(slow.finish(), old);
    host.wait_gone(old);
    assert_one_worker(&host, new);
    assert_eq!(host.wait_role("master").pid, master);
}

/// Who waits for the commit hears of it, although the worker that was asked has nothing else left
/// to do by then.
#[test]
fn who_waits_for_the_commit_hears_of_it() {
    let host = builder().start();
    let old = host.worker_pid();
    let upgrade = host.upgrade(&["--wait"]);
    upgrade.assert_code(0);
    assert_eq!(upgrade.verdict(), "committed");
    let new = host.worker_pid();
    let told = &upgrade.json["upgrade"];
    assert_eq!((&told["old_pid"], &told["new_pid"]), (&json!(old), &json!(new)));
    upgrade.assert_says(&format!("(pid {new}) serves"));
    assert_eq!(host.control().get_json("/v1/upgrade")["upgrade"], *told);
    assert_eq!(host.status()["upgrade"], *told);
}

/// Who waits for readiness is told as soon as the new worker answers, while it is still watched.
#[test]
fn who_waits_for_readiness_is_told_in_the_soak() {
    let host = super::soaking(super::FOREVER).start();
    let old = host.worker_pid();
    let upgrade = host.upgrade(&["--wait=ready"]);
    upgrade.assert_code(0);
    assert_eq!(upgrade.verdict(), "ready");
    let new = host.wait_role("soaking").pid;
    assert_eq!(host.wait_role("parked").pid, old);
    assert_eq!(pid_of(&host.get("/")), new);
    assert_eq!(last_verdict(&host), None, "it has not ended");
}

/// Who does not wait is told that it was taken.
#[test]
fn who_does_not_wait_is_told_at_once() {
    let host = builder().start();
    let old = host.worker_pid();
    let upgrade = host.upgrade(&[]);
    upgrade.assert_code(0).assert_says("the upgrade has begun");
    assert_eq!(upgrade.verdict(), "accepted");
    host.wait_other_worker(old);
    eventually!(last_verdict(&host).as_deref() == Some("committed"), "the commit");
    let answer = host.post_upgrade(&json!({}));
    answer.assert_status(202);
    let answer = host.post_upgrade(&json!({ "wait": "commit" }));
    // The one before may still run: then this one follows it.
    answer.assert_status(200);
    assert_eq!(answer.json()["upgrade"]["verdict"], "committed");
}

/// Many HUPs at any distance from each other: nobody notices, and every worker but the first one is
/// there by a commit.
#[test]
fn nobody_notices_many_upgrades() {
    const HUPS: u64 = 20;
    let host = builder().start();
    let master = host.pid();
    let plan = LoadPlan { kept: 50, fresh: 4, ..LoadPlan::default() };
    let load = Load::start(host.data(), plan);
    load.wait_for(100);
    for hup in 0..HUPS {
        host.hup();
        // Sometimes in the middle of the one before, sometimes after it.
        load.wait_for(1 + hup * 127 % 300);
    }
    // The last one: it is told that it is too many as long as another one waits.
    eventually!(host.upgrade(&["--wait"]).code == Some(0), "an end of all upgrades");
    let commits = commits(&host);
    assert_eq!(serving_number(&host), commits + 1);
    assert!((2..=HUPS + 1).contains(&commits), "{commits} commits");
    let report = load.stop();
    report.assert_clean().assert_announced();
    assert!(report.pids().len() > 1, "{report}");
    assert_eq!(host.pid(), master);
    assert_one_worker(&host, host.worker_pid());
}

#[track_caller]
fn commits(host: &hotseat_test_support::Host) -> u64 {
    let page = host.control().get("/metrics");
    let line = |line: &str| {
        let number = line.strip_prefix("hotseat_upgrades_total{result=\"committed\"} ")?;
        number.parse().ok()
    };
    page.text().lines().find_map(line).unwrap_or_else(|| panic!("no count in {}", page.text()))
}

/// Upgrades leave nothing behind in the master: no descriptor, no memory to speak of.
#[test]
fn upgrades_leave_nothing_behind() {
    let host = builder().start();
    let descriptors = || procfs::descriptors(host.pid());
    let upgrade = || {
        let old = host.worker_pid();
        host.upgrade(&["--wait"]).assert_code(0);
        host.wait_gone(old);
        procfs::own_kib(host.pid())
    };
    let before = descriptors();
    let memory = upgrade();
    for _ in 0..10 {
        let now = upgrade();
        assert!(now < memory + 256, "{memory} KiB before, {now} now");
    }
    eventually!(descriptors() == before, "{before} descriptors, not {}", descriptors());
}
