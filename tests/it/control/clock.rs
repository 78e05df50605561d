//! The time of day is set while the host runs: how long it is up stays what it is.

use hotseat_test_support::{Host, fault, host, wire};
use serde_json::Value;

/// Nothing here is up for as long as a day. Units: milliseconds.
const DAY_MS: u64 = 86_400_000;

/// Every `up` of the status and of the metrics.
#[track_caller]
fn assert_sane(host: &Host) {
    let status = host.status();
    let processes = wire::list(&status, "/processes");
    assert!(processes.len() >= 2, "{status}");
    let ups = processes.iter().map(|it| &it["up_ms"]).chain([&status["up_ms"]]);
    let ups: Vec<_> = ups.map(Value::as_u64).collect();
    assert!(ups.iter().all(|up| up.is_some_and(|up| up < DAY_MS)), "{ups:?}");
    assert_eq!(processes[0]["role"], "master");
    assert!(ups[0] >= ups[ups.len() - 1], "the master is there for longer: {ups:?}");
    let metrics = host.control().get("/metrics").text();
    let up = metrics.lines().find_map(|it| it.strip_prefix("hotseat_uptime_seconds "));
    let up: f64 = up.expect("the metric").parse().unwrap();
    assert!((0.0..86_400.0).contains(&up), "{up}");
    let page = host.control().get("/").text();
    let head = page.lines().next().unwrap();
    assert!(head.contains(" s, ") && head.contains("up "), "{head}");
}

#[test]
fn up_is_what_it_is() {
    let builder = host!().arg("--soak-time=50ms").arg("--idle-linger=100ms");
    let jumped = builder.home().path().join("jumped");
    let builder = builder.env("LD_PRELOAD", fault("clock_jumps"));
    let builder = builder.env("HOTSEAT_TEST_CLOCK", &jumped);
    let host = builder.with(fault("whoami"), "libhandler_v1.so").start();
    assert_sane(&host);
    let year = |host: &Host| {
        let latest = host.control().history().remove(0);
        latest["at"].as_str().unwrap()[..4].parse::<u32>().unwrap()
    };
    let before = year(&host);
    std::fs::write(&jumped, b"").unwrap();
    host.control().deploy("./nobody.so").refused();
    assert!(year(&host) >= before + 9, "the clock did jump");
    assert_sane(&host);
    // What was measured before and after the jump goes to the next worker, and to the next image.
    host.upgrade(&["--wait"]).assert_code(0);
    assert_sane(&host);
    std::fs::remove_file(&jumped).unwrap();
    assert_sane(&host);
    host.upgrade(&["--wait"]).assert_code(0);
    assert_sane(&host);
}
