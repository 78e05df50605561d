//! Single tasks: how they end, how many there may be, and that nothing of them is left.

use hotseat_test_support::{Gate, eventually, fault, host};

use super::*;

/// Each end is told to who awaits it, and concerns no other task.
#[test]
fn a_task_ends_as_it_does() {
    let host = builder().start();
    let generation = serving(&host);
    for (path, end) in [
        ("/ends", "Ok(())"),
        ("/fails", "Err(Failed)"),
        ("/panics", "Err(Panicked)"),
        ("/aborts", "Err(Aborted)"),
    ] {
        assert_eq!(host.get(path).assert_status(200).text(), end, "{path}");
    }
    assert_eq!(metric(&host, "hotseat_task_errors_total", "handler"), 1);
    assert_eq!(metric(&host, "hotseat_task_panics_total", "handler"), 1);
    assert_eq!(metric(&host, "hotseat_errors_total", "handler"), 0, "no request has");
    assert_eq!(metric(&host, "hotseat_panics_total", "handler"), 0, "no request has");
    host.assert_logged("a task ended with an error");
    host.assert_logged("a task panicked");
    host.assert_logged("as was asked for");
    let begun = count(&host, generation, "aborted", "begun");
    assert_eq!(count(&host, generation, "aborted", "dropped"), begun, "{:?}", book(&host));
    assert_eq!(count(&host, generation, "new", "dropped"), 0, "{:?}", book(&host));
}

/// A run that is longer than its period is alone: what would have come meanwhile is left out.
#[test]
fn a_run_is_never_beside_another() {
    let host = builder().start();
    let (generation, gate) = (serving(&host), Gate::new());
    host.get(&format!("/every?{}", gate.query())).assert_status(200);
    let held = gate.entered();
    let ran = |name: &str| count(&host, generation, name, "ran");
    // Other work of the same period goes on.
    let before = ran("every");
    eventually!(ran("every") >= before + 10, "{:?}", book(&host));
    assert_eq!(ran("gated"), 1, "{:?}", book(&host));
    held.release();
    let _held = gate.entered();
    assert_eq!(ran("gated"), 2, "{:?}", book(&host));
}

/// What a run ends with is counted and logged, and the next one comes.
#[test]
fn a_run_comes_whatever_the_last_has_done() {
    let [errors, panics] = ["hotseat_task_errors_total", "hotseat_task_panics_total"];
    for (what, counted, other, line) in [
        ("fails", errors, panics, "a task ended with an error"),
        ("panics", panics, errors, "a task panicked"),
    ] {
        let host = builder().start();
        let generation = serving(&host);
        host.get(&format!("/every?{what}")).assert_status(200);
        let ran = || count(&host, generation, what, "ran");
        eventually!(ran() >= 3, "{:?}\n{}", book(&host), host.log_end());
        // The third has begun.
        assert!(metric(&host, counted, "handler") >= 2, "{what}");
        assert_eq!(metric(&host, other, "handler"), 0, "{what}");
        host.assert_logged(line);
        host.get("/").assert_status(200);
    }
}

/// The limit is each version's own, and what is refused is told.
#[test]
fn there_is_a_limit() {
    let host = builder().arg("--tasks-count=20").start();
    let generation = serving(&host);
    let all = ["new", "chain", "link", "thread"];
    let begun = || all.iter().all(|name| count(&host, generation, name, "begun") == 1);
    eventually!(begun(), "{:?}", book(&host));
    let told = host.get("/many?100").assert_status(200).text();
    let (taken, why) = told.split_once(' ').unwrap();
    assert_eq!(why, "Full");
    // The four, the periodic work, and a run of it for a moment.
    let taken: u64 = taken.parse().unwrap();
    assert!((14..=15).contains(&taken), "{told}");
    eventually!(metric(&host, "hotseat_tasks", "handler") >= 19, "the tasks");
    let held = host.hold("/gate");
    host.deploy_bytes(&version(2), "libhandler_v2.so").swapped();
    assert_eq!(host.get("/many?10").assert_status(200).text(), "10 all");
    held.release();
    host.assert_all_unloaded("beside");
}

/// tokio works in them, whoever spawns them.
#[test]
fn they_run_within_the_plugins_runtime() {
    let host = host!().with(fault("tokio_tasks"), "libhandler_v1.so").start();
    let mut calls = 0;
    eventually!(
        {
            calls += 1;
            let slept = calls + 2;
            host.get("/").assert_status(200).text() == format!("slept {slept} ticks 2 inside true")
        },
        "{}",
        host.log_end()
    );
    for number in 2..12 {
        let bytes = [&library::bytes(&fault("tokio_tasks"))[..], &[number]].concat();
        host.deploy_bytes(&bytes, &format!("libhandler_v{number}.so")).swapped();
        host.get("/").assert_status(200);
    }
    host.assert_all_unloaded("tokio_tasks");
}

/// Swaps with everything in use: each version is unmapped, and nothing grows.
#[test]
fn three_hundred_swaps_leave_nothing() {
    let host = builder().start();
    for number in 2..302 {
        host.get("/spawn?request").assert_status(200);
        host.get("/subscribe?3").assert_status(200);
        host.get("/leak").assert_status(200);
        assert!(host.get("/publish?x").assert_status(200).text().parse::<u64>().unwrap() >= 4);
        host.deploy_bytes(&version(number), &format!("libhandler_v{number}.so")).swapped();
    }
    host.assert_all_unloaded("beside");
    let one = || metric(&host, "hotseat_tasks", "handler") <= 6;
    eventually!(one(), "{}", metric(&host, "hotseat_tasks", "handler"));
    assert_eq!(metric(&host, "hotseat_topic_subscribers", "handler"), 0);
    assert_eq!(metric(&host, "hotseat_topic_published_total", "handler"), 300);
    let text = host.control().get("/metrics").text();
    assert!(text.contains("hotseat_swap_growth_bytes 0\n"), "{text}");
}
