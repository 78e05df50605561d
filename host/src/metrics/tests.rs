//! The page as text, whole where it is short.

use std::{collections::BTreeSet, time::UNIX_EPOCH};

use hotseat_plugin_api::abi::metric::{COUNTER, GAUGE, HISTOGRAM};

use super::*;
use crate::status::{GenerationStatus, Leaves, Left, Life};

fn plugin(name: &str) -> PluginName {
    name.parse().unwrap()
}

fn page(metrics: &Metrics) -> String {
    metrics.render(&fixture::serving(UNIX_EPOCH))
}

fn plugins_part(metrics: &Metrics) -> String {
    let page = page(metrics);
    page.split_inclusive('\n').filter(|line| line.contains("plugin_")).collect()
}

#[test]
fn the_host_page_is_complete_and_valid() {
    let metrics = Metrics::new(10);
    metrics.order_ended("deploy", "swapped");
    metrics.order_ended("deploy", "swapped");
    metrics.order_ended("deploy", "preflight_crashed");
    metrics.generation_ended(true);
    metrics.generation_ended(false);
    let page = page(&metrics);
    for line in [
        r#"hotseat_build_info{version="0.1.0"} 1"#,
        "hotseat_ready 1",
        "hotseat_resident_memory_bytes 66060288",
        "hotseat_resident_libraries 1",
        r#"hotseat_requests_total{plugin="handler"} 1204"#,
        r#"hotseat_panics_total{plugin="handler"} 1"#,
        r#"hotseat_connections{core="1"} 4"#,
        r#"hotseat_blocked_cores{core="1"} 1"#,
        r#"hotseat_blocked_seconds{core="1",plugin="handler",doing="request"} 5.0"#,
        r#"hotseat_generations{plugin="handler",life="draining"} 1"#,
        r#"hotseat_heap_bytes{plugin="handler",generation="7"} 5242880"#,
        r#"hotseat_heap_peak_bytes{plugin="handler",generation="7"} 7340032"#,
        r#"hotseat_heap_live_bytes{plugin="handler",generation="7"} 3145728"#,
        r#"hotseat_heap_taken_bytes{plugin="handler",generation="7"} 9663676416"#,
        r#"hotseat_retired_heap_bytes{plugin="handler"} 2097152"#,
        "hotseat_c_heap_bytes 12582912",
        r#"hotseat_orders_total{verb="deploy",outcome="swapped"} 2"#,
        r#"hotseat_orders_total{verb="deploy",outcome="preflight_crashed"} 1"#,
        r#"hotseat_unloads_total{outcome="resident"} 1"#,
        "hotseat_waiting_orders 1",
        r#"hotseat_own_answers_total{code="no_mount"} 3"#,
        "hotseat_evicted_connections_total 5",
        "hotseat_thin_requests_total 9",
        "hotseat_log_lines_dropped_total 8",
    ] {
        assert!(page.lines().any(|there| there == line), "{line}\n{page}");
    }
    check(&page);
}

#[test]
fn a_led_host_counts_processes_and_upgrades() {
    let metrics = Metrics::new(10);
    let alone = page(&metrics);
    assert!(alone.contains("\nhotseat_connections_by_class{class=\"idle\"} 0\n"), "{alone}");
    assert!(!alone.contains("hotseat_processes"), "{alone}");
    let page = metrics.render(&fixture::led(UNIX_EPOCH));
    check(&page);
    for line in [
        r#"hotseat_connections_by_class{class="busy"} 3"#,
        "hotseat_stuck_workers_total 2",
        "hotseat_renewed_workers_total 3",
        r#"hotseat_connections_by_class{class="upgraded"} 0"#,
        r#"hotseat_worker_info{pid="4242",number="2"} 1"#,
        r#"hotseat_processes{role="draining"} 2"#,
        r#"hotseat_processes{role="master"} 1"#,
        r#"hotseat_upgrades_total{result="committed"} 2"#,
        r#"hotseat_upgrades_total{result="rolled_back"} 1"#,
        r#"hotseat_upgrades_total{result="probe"} 0"#,
        "hotseat_worker_crashes_total 4",
    ] {
        assert!(page.lines().any(|there| there == line), "{line}\n{page}");
    }
}

/// The rules of OpenMetrics that a careless name or label would break.
#[track_caller]
fn check(page: &str) {
    assert!(page.ends_with("\n# EOF\n"), "{page}");
    let mut families = BTreeSet::new();
    let mut samples = BTreeSet::new();
    let mut family = "";
    for line in page.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap();
            assert!(families.insert(family), "{family} is there twice");
        } else if !line.starts_with("# HELP ") {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            assert!(sample.starts_with(family), "{sample} is outside {family}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(samples.insert(sample), "{sample} is there twice");
        }
    }
}

#[test]
fn a_plugin_has_series_of_its_own() {
    let metrics = Metrics::new(10);
    metrics.record(&plugin("b"), COUNTER, "jobs_total", &[("kind", "x\"y\n")], 2.0);
    metrics.record(&plugin("a"), COUNTER, "jobs", &[], 1.0);
    metrics.record(&plugin("a"), COUNTER, "jobs", &[], 0.5);
    metrics.record(&plugin("a"), GAUGE, "depth", &[("y", "2"), ("x", "1")], 5.0);
    metrics.record(&plugin("a"), GAUGE, "depth", &[("x", "1"), ("y", "2")], 3.0);
    let expected = "\
        # HELP plugin_depth Made by a plugin.\n\
        # TYPE plugin_depth gauge\n\
        plugin_depth{plugin=\"a\",x=\"1\",y=\"2\"} 3.0\n\
        # HELP plugin_jobs Made by a plugin.\n\
        # TYPE plugin_jobs counter\n\
        plugin_jobs_total{plugin=\"a\"} 1.5\n\
        plugin_jobs_total{plugin=\"b\",kind=\"x\\\"y\\n\"} 2.0\n";
    assert_eq!(plugins_part(&metrics), expected);
    check(&page(&metrics));
}

#[test]
fn a_histogram_counts_into_buckets() {
    let metrics = Metrics::new(10);
    for value in [0.001, 0.3, 11.0] {
        metrics.record(&plugin("a"), HISTOGRAM, "wait", &[], value);
    }
    let page = plugins_part(&metrics);
    for line in [
        r#"plugin_wait_bucket{le="0.001",plugin="a"} 1"#,
        r#"plugin_wait_bucket{le="0.25",plugin="a"} 1"#,
        r#"plugin_wait_bucket{le="0.5",plugin="a"} 2"#,
        r#"plugin_wait_bucket{le="+Inf",plugin="a"} 3"#,
        r#"plugin_wait_count{plugin="a"} 3"#,
        r#"plugin_wait_sum{plugin="a"} 11.301"#,
    ] {
        assert!(page.lines().any(|there| there == line), "{line}\n{page}");
    }
}

#[test]
fn series_are_bounded_for_each_plugin() {
    let metrics = Metrics::new(2);
    for number in ["1", "2", "3", "3"] {
        metrics.record(&plugin("a"), GAUGE, "depth", &[("n", number)], 1.0);
        metrics.record(&plugin("b"), GAUGE, "depth", &[("n", "1")], 1.0);
    }
    let page = page(&metrics);
    assert_eq!(page.matches("\nplugin_depth{plugin=\"a\"").count(), 2);
    assert_eq!(page.matches("\nplugin_depth{plugin=\"b\"").count(), 1);
    let dropped = r#"hotseat_dropped_metrics_total{plugin="a",reason="limit"} 2"#;
    assert!(page.contains(dropped), "{page}");
    metrics.forget(&plugin("a"));
    metrics.record(&plugin("a"), COUNTER, "other", &[], 1.0);
    assert!(plugins_part(&metrics).contains("plugin_other_total{plugin=\"a\"} 1.0\n"));
}

#[test]
fn what_cannot_be_printed_is_dropped_and_counted() {
    let metrics = Metrics::new(10);
    let record = |kind, name: &str, labels: &[(&str, &str)], value| {
        metrics.record(&plugin("a"), kind, name, labels, value);
    };
    let long = "v".repeat(257);
    record(GAUGE, "ok", &[("v", &long[..256])], 1.0);
    for (name, labels) in [
        ("", &[][..]),
        ("1x", &[]),
        ("a b", &[]),
        ("x", &[("plugin", "me")]),
        ("x", &[("le", "1")]),
        ("x", &[("__name__", "y")]),
        ("x", &[("a", "1"), ("a", "2")]),
        ("x", &[("a", &long)]),
        ("x", &[("a", ""); 17]),
    ] {
        record(GAUGE, name, labels, 1.0);
    }
    record(COUNTER, "x", &[], -1.0);
    record(GAUGE, "x", &[], f64::NAN);
    record(GAUGE, "x", &[], f64::INFINITY);
    record(7, "x", &[], 1.0);
    // Kinds that would print one name twice.
    record(COUNTER, "ok", &[], 1.0);
    record(HISTOGRAM, "wait", &[], 1.0);
    record(GAUGE, "wait_sum", &[], 1.0);
    let page = page(&metrics);
    check(&page);
    for line in [
        r#"hotseat_dropped_metrics_total{plugin="a",reason="name"} 9"#,
        r#"hotseat_dropped_metrics_total{plugin="a",reason="value"} 3"#,
        r#"hotseat_dropped_metrics_total{plugin="a",reason="kind"} 3"#,
    ] {
        assert!(page.lines().any(|there| there == line), "{line}\n{page}");
    }
}

/// Of what serves, and of the swaps of a plugin: never a series for each.
#[test]
fn what_is_left_behind_is_told_by_plugin() {
    let mut status = fixture::serving(UNIX_EPOCH);
    let left = |descriptors| Left([("descriptors", descriptors), ("heap_bytes", 34_000)].into());
    let active = status.plugins[0].active.as_mut().unwrap();
    let unloaded = GenerationStatus { life: Life::Unloaded, ..active.clone() };
    active.leaves = Some(Leaves { text: "each load".to_owned(), left: left(2) });
    let swapped = |number| GenerationStatus { left: Some(left(number)), ..unloaded.clone() };
    status.retired.extend((0..7).map(swapped));
    assert_eq!(status.swaps(), [], "too few to say");
    status.retired.push(swapped(500));
    let page = Metrics::new(10).render(&status);
    for line in [
        r#"hotseat_load_leaves_descriptors{plugin="handler"} 2"#,
        r#"hotseat_load_leaves_threads{plugin="handler"} 0"#,
        r#"hotseat_load_leaves_c_heap_bytes{plugin="handler"} 34000"#,
        r#"hotseat_swap_leaves_descriptors{plugin="handler"} 4"#,
        r#"hotseat_swap_leaves_c_heap_bytes{plugin="handler"} 34000"#,
    ] {
        assert!(page.lines().any(|there| there == line), "{line}\n{page}");
    }
    assert!(!page.contains("hotseat_swap_leaves_resident_bytes{"), "not known is not 0: {page}");
    check(&page);
}

#[test]
fn many_threads_lose_nothing() {
    let metrics = Metrics::new(100);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..1000 {
                    let label = (round % 10).to_string();
                    metrics.record(&plugin("a"), COUNTER, "n", &[("of", &label)], 1.0);
                }
            });
        }
    });
    let page = plugins_part(&metrics);
    assert_eq!(page.matches("} 400.0\n").count(), 10, "{page}");
}

/// What one worker has counted is where its successor begins, and what only one process knows (a
/// gauge) stays there.
#[test]
fn counters_travel_to_the_next_process() {
    let before = Metrics::new(10);
    let handler = plugin("handler");
    let count = |metrics: &Metrics, value: f64| {
        metrics.record(&handler, COUNTER, "jobs_total", &[("kind", "a")], value);
        metrics.record(&handler, HISTOGRAM, "time", &[], value);
        metrics.record(&handler, GAUGE, "depth", &[], value);
        metrics.record(&handler, COUNTER, "jobs", &[], f64::NAN);
    };
    count(&before, 2.0);
    before.order_ended("deploy", "swapped");
    before.generation_ended(true);
    let mut first = before.totals();
    first.add_own_answers("no_mount", 2);
    first.add_evicted(7);
    first.add_thin(4);
    first.add_log_dropped(2);
    let after = Metrics::new(10);
    after.add(&Totals::parse(&first.to_text()));
    after.order_ended("deploy", "swapped");
    after.order_ended("unload", "unloaded");
    count(&after, 0.5);
    // What the worker before has still counted comes later.
    count(&before, 4.0);
    after.add(&Totals::parse(&before.totals().since(&first).to_text()));
    let page = page(&after);
    for line in [
        r#"plugin_jobs_total{plugin="handler",kind="a"} 6.5"#,
        r#"plugin_time_sum{plugin="handler"} 6.5"#,
        r#"plugin_time_count{plugin="handler"} 3"#,
        r#"plugin_time_bucket{le="0.5",plugin="handler"} 1"#,
        r#"plugin_time_bucket{le="2.5",plugin="handler"} 2"#,
        r#"plugin_depth{plugin="handler"} 0.5"#,
        r#"hotseat_dropped_metrics_total{plugin="handler",reason="value"} 3"#,
        r#"hotseat_orders_total{verb="deploy",outcome="swapped"} 2"#,
        r#"hotseat_orders_total{verb="unload",outcome="unloaded"} 1"#,
        r#"hotseat_unloads_total{outcome="unloaded"} 1"#,
        // With those of the fixture.
        r#"hotseat_own_answers_total{code="no_mount"} 5"#,
        "hotseat_evicted_connections_total 12",
        "hotseat_thin_requests_total 13",
        "hotseat_log_lines_dropped_total 10",
    ] {
        assert!(page.lines().any(|there| there == line), "{line}\n{page}");
    }
    check(&page);
    assert_eq!(Totals::parse("no JSON"), Totals::default());
}

#[test]
fn what_plugins_do_beside_requests_goes_on_in_the_next_process() {
    let [first, second] = [0; 2].map(|_| Metrics::new(10));
    let [plugin, tried] = ["handler", "tried"].map(|name| name.parse().unwrap());
    let beside = first.beside(&plugin);
    beside.missed.add(3);
    beside.tasks.add(2);
    drop(first.beside(&tried));
    let status = fixture::empty(std::time::SystemTime::now());
    let page = first.render(&status);
    assert!(page.contains("hotseat_topic_missed_total{plugin=\"handler\"} 3\n"), "{page}");
    assert!(page.contains("hotseat_tasks{plugin=\"handler\"} 2\n"), "{page}");
    assert!(!page.contains("tried"), "{page}");
    let totals = Totals::parse(&first.totals().to_text());
    second.add(&totals);
    second.add(&totals.clone().since(&totals));
    let there = second.beside(&plugin);
    assert_eq!((there.missed.get(), there.tasks.get()), (3, 0), "gauges do not travel");
}
