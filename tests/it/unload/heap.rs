//! The heap of a generation is counted, and goes with it.

use hotseat_test_support::{Host, fault, host, library, start_host, wire};
use serde_json::Value;

const MIB: u64 = 1 << 20;

#[track_caller]
fn heap(of: &Value) -> (u64, u64, u64, u64) {
    let number = |key: &str| wire::number(of, &format!("/heap/{key}_bytes"));
    (number("held"), number("peak"), number("live"), number("total"))
}

fn active(host: &Host) -> Value {
    wire::plugin(&host.status(), "handler")["active"].clone()
}

/// The same library under another digest.
fn variant(name: &str, number: u8) -> Vec<u8> {
    [library::bytes(&fault(name)), vec![number]].concat()
}

/// What is left in statics goes with the library: the books say so, and the process does not grow.
#[test]
fn statics_go_with_their_library() {
    let host = start_host!(fault("hoards"), "libhandler_v1.so");
    let mut events = host.events();
    let mut rss = 0;
    for number in 0..40_u8 {
        host.get("/hoard?kib=1024").assert_contains("1024 KiB, 100 early");
        host.get("/hoard?kib=1024&as=blocks").assert_contains("2048 KiB, 100 early");
        let (held, peak, live, total) = heap(&active(&host));
        assert!(held >= 2 * MIB && peak >= held && total >= live, "{held} {peak} {live} {total}");
        assert!(live >= 2 * MIB && live <= held, "{held} {live}");
        let generation = host.active("handler");
        host.deploy_bytes(&variant("hoards", number), "libhandler_v1.so").swapped();
        events.wait_generation(generation, "unloaded");
        let retired = wire::retired(&host.status(), generation).unwrap();
        let (held, peak, live, total) = heap(&retired);
        assert_eq!((held, live), (0, 0), "{retired}");
        assert!(peak >= 2 * MIB && total >= peak / 2, "{retired}");
        if number == 9 {
            rss = wire::number(&host.status(), "/rss_bytes");
        }
    }
    // 60 MiB, if they stayed.
    let grown = wire::number(&host.status(), "/rss_bytes").saturating_sub(rss);
    assert!(grown < 8 * MIB, "{grown}");
    // What left traffic with a deploy is in its line of the history.
    let history = host.control().history();
    assert!(wire::number(&history[0], "/left_heap/peak_bytes") >= 2 * MIB, "{:#}", history[0]);
}

/// What is let go of during a generation's life goes back then.
#[test]
fn memory_goes_back_while_it_serves() {
    let host = start_host!(fault("hoards"), "libhandler_v1.so");
    host.get("/hoard?kib=20480").assert_status(200);
    host.get("/hoard?kib=20480&as=blocks").assert_status(200);
    let (held, ..) = heap(&active(&host));
    assert!(held >= 40 * MIB, "{held}");
    host.get("/free").assert_contains("0 KiB");
    let (held, peak, live, _) = heap(&active(&host));
    assert!(held <= 8 * MIB && live <= 2 * MIB && peak >= 40 * MIB, "{held} {peak} {live}");
}

/// Blocks that other threads free, and threads that end with blocks at hand.
#[test]
fn threads_come_and_go() {
    let host = start_host!(fault("hoards"), "libhandler_v1.so");
    let churn = || {
        host.get("/threads?count=200").assert_status(200);
        host.get("/cross?count=4000").assert_status(200);
        heap(&active(&host))
    };
    for _ in 0..3 {
        churn();
    }
    let (before, ..) = churn();
    for _ in 0..5 {
        let (held, ..) = churn();
        assert!(held <= before + 3 * MIB, "{held} after {before}");
    }
    let mut events = host.events();
    let generation = host.active("handler");
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    events.wait_generation(generation, "unloaded");
    assert_eq!(heap(&wire::retired(&host.status(), generation).unwrap()).0, 0);
}

/// A library that stays keeps its heap, and the status says how much that is.
#[test]
fn a_resident_keeps_its_heap() {
    let config = "[plugin.handler]\nkib = 3072\nthread = true\n";
    let host = host!().config(config).with(fault("hoards"), "libhandler_v1.so").start();
    let mut events = host.events();
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    events.wait_generation(1, "resident");
    let retired = wire::retired(&host.status(), 1).unwrap();
    let (held, _, live, _) = heap(&retired);
    assert!(held >= 3 * MIB && live >= 3 * MIB, "{retired}");
    let page = host.control().get("/").text().to_owned();
    assert!(page.contains("1 thread left behind; heap of "), "{page}");
    let metrics = host.control().get("/metrics").text().to_owned();
    assert!(metrics.contains("hotseat_retired_heap_bytes{plugin=\"handler\"} "), "{metrics}");
    assert!(!metrics.contains("heap_bytes{plugin=\"handler\",generation=\"1\"}"), "{metrics}");
}

/// A load that fails gives everything back: what its constructors and its `new` have kept.
#[test]
fn a_failed_load_returns_its_heap() {
    let config = "[plugin.failing]\nkib = 4096\nfails = true\n";
    let host = host!().config(config).with(fault("plain_v1"), "libhandler_v1.so").start();
    let rss = || wire::number(&host.status(), "/rss_bytes");
    let mut before = 0;
    for number in 0..12_u8 {
        let refused = host.deploy_bytes(&variant("hoards", number), "libfailing_v1.so");
        refused.assert_refused(422, "new_failed");
        if number == 3 {
            before = rss();
        }
    }
    // 32 MiB, if they stayed.
    let grown = rss().saturating_sub(before);
    assert!(grown < 8 * MIB, "{grown}");
    host.get("/").assert_status(200);
}

/// A plugin with an allocator of its own is built with `allocator = none`, and has no figures.
#[test]
fn an_allocator_of_its_own_stays_its_own() {
    let host = start_host!(fault("own_allocator"), "libhandler_v1.so");
    host.get("/").assert_contains("counted true");
    assert!(active(&host)["heap"].is_null(), "{}", host.status());
    let mut events = host.events();
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    events.wait_generation(1, "unloaded");
}

/// Waits until the ceiling of `generation` was crossed, and gives what was said.
#[track_caller]
fn crossing(events: &mut hotseat_test_support::EventStream, generation: u64) -> String {
    events.wait_generation(generation, "memory").detail
}

fn with_ceiling(policy: &str) -> Host {
    let config = format!("[plugin.handler]\nmemory_max = \"8MiB\"\n{policy}\n");
    host!().config(&config).with(fault("hoards"), "libhandler_v1.so").start()
}

/// Who holds more than it may is warned of, and that is all.
#[test]
fn a_ceiling_warns() {
    let host = with_ceiling("");
    let mut events = host.events();
    host.get("/hoard?kib=4096").assert_status(200);
    assert!(wire::plugin(&host.status(), "handler")["warning"].is_null());
    host.get("/hoard?kib=8192").assert_status(200);
    let said = crossing(&mut events, 1);
    assert!(said.contains("more than the 8 MiB of `memory_max`"), "{said}");
    let plugin = wire::plugin(&host.status(), "handler");
    assert_eq!(wire::text(&plugin, "/warning"), said);
    host.assert_logged(&said);
    host.get("/").assert_status(200);
    // What is said is what it holds, and not what it held then.
    host.get("/hoard?kib=20480&as=blocks").assert_status(200);
    let plugin = wire::plugin(&host.status(), "handler");
    let held = wire::number(&plugin, "/active/heap/held_bytes") >> 20;
    let warning = wire::text(&plugin, "/warning");
    assert!(held >= 28 && warning.contains(&format!("holds {held}")), "{plugin}");
    // What it lets go of is the end of that, whatever is kept to be used again.
    host.get("/free").assert_status(200);
    let said = crossing(&mut events, 1);
    assert!(said.contains("is back to "), "{said}");
    assert!(wire::plugin(&host.status(), "handler")["warning"].is_null());
}

/// New requests are answered by the host while it holds too much; whatever is in flight is not.
#[test]
fn a_ceiling_refuses() {
    let host = with_ceiling("memory_policy = \"refuse\"");
    let mut events = host.events();
    // The answer to the request that crosses it is the plugin's.
    host.get("/hoard?kib=16384").assert_status(200);
    let said = crossing(&mut events, 1);
    assert!(said.contains("new requests are refused"), "{said}");
    let refused = host.get("/");
    refused.assert_status(503).assert_contains("`memory_max`");
    assert_eq!(refused.header("hotseat-error"), Some("memory_max"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    // Another version has a heap of its own.
    host.deploy_bytes(&variant("hoards", 1), "libhandler_v1.so").swapped();
    host.get("/").assert_status(200).assert_contains("0 KiB");
    events.wait_generation(1, "unloaded");
}

/// The version before it serves instead, and boots from then on.
#[test]
fn a_ceiling_withdraws() {
    let config = "[plugin.handler]\nmemory_max = \"8MiB\"\nmemory_policy = \"withdraw\"\n";
    let host = host!().config(config).with(fault("plain_v1"), "libhandler_v1.so").start();
    host.deploy(&fault("hoards"), "libhandler_v2.so").swapped();
    let mut events = host.events();
    let traffic = host.traffic("/");
    traffic.wait_for(5);
    host.get("/hoard?kib=16384").assert_status(200);
    events.wait_generation(2, "withdrawn");
    events.wait_generation(3, "committed");
    host.get("/").assert_status(200).assert_contains("v1");
    events.wait_generation(2, "unloaded");
    assert!(traffic.finish().contains_key("v1"));
    let plugin = wire::plugin(&host.status(), "handler");
    assert!(wire::text(&plugin, "/warning").contains("was withdrawn: its heap holds"), "{plugin}");
    let line = &host.control().history()[0];
    assert_eq!(
        (wire::text(line, "/verb"), wire::text(line, "/source")),
        ("withdraw".to_owned(), "memory".to_owned())
    );
}

/// What is above its ceiling when it begins to serve is told of then.
#[test]
fn a_ceiling_is_looked_at_from_the_start() {
    let config = "[plugin.handler]\nmemory_max = \"2MiB\"\nkib = 6144\n";
    let host = host!().config(config).with(fault("hoards"), "libhandler_v1.so").start();
    let mut events = host.control().events_after(0);
    assert!(crossing(&mut events, 1).contains("more than the 2 MiB"));
}
