//! Upgrades to this release and back under clients that never retry: nobody notices, the master
//! goes over each time, and versions, numbers and counters stay.

use std::time::Duration;

use hotseat_test_support::{
    Host, LoadPlan, Release, eventually,
    http2::{Http2Load, Http2Plan},
    library,
    load::Load,
    stream::SocketLoad,
    wire,
};
use rustix::process::Signal;

use super::{assert_label, assert_run, go_over, pairs, replaceable};

struct Clients {
    load: Load,
    http2: Http2Load,
    sockets: SocketLoad,
}

impl Clients {
    fn start(host: &Host) -> Self {
        let load = Load::start(host.data(), LoadPlan { kept: 20, ..LoadPlan::default() });
        let think = Duration::from_millis(20);
        let http2 = Http2Plan { connections: 2, streams: 4, think, ..Http2Plan::default() };
        let http2 = Http2Load::start(host.data(), http2);
        let sockets = SocketLoad::start(host.data(), "/ws?drain=now", 2, Duration::from_millis(50));
        Self { load, http2, sockets }
    }

    #[track_caller]
    fn wait(&self) {
        self.load.wait_for(50);
        self.http2.wait_for(20);
    }

    #[track_caller]
    fn stop_clean(self) {
        self.load.stop().assert_clean().assert_announced();
        self.http2.stop().assert_clean();
        let sockets = self.sockets.stop();
        assert!(sockets.echoes > 0 && sockets.broken.is_empty(), "{sockets:?}");
        assert!(sockets.codes.iter().all(|code| *code == 1012), "{sockets:?}");
    }
}

/// Requests of `handler` that were counted since the host was first started.
#[track_caller]
fn counted(host: &Host) -> u64 {
    let page = host.control().get("/metrics").assert_status(200).text();
    let line = "hotseat_requests_total{plugin=\"handler\"} ";
    page.lines().find_map(|it| it.strip_prefix(line)?.parse().ok()).unwrap_or_default()
}

#[track_caller]
fn serving(host: &Host) -> [Option<u64>; 2] {
    let status = host.status();
    ["handler", "echo"].map(|name| wire::active(&status, name))
}

/// Goes over to `release` and swaps to a library of `made_by` there.
#[track_caller]
fn step(host: &Host, release: &Release, made_by: &Release, label: u32) {
    let (before, requests, history) = (serving(host), counted(host), host.control().history());
    go_over(host, release);
    assert_run(host, release, release);
    assert_eq!(serving(host), before, "an upgrade changes no version");
    eventually!(counted(host) >= requests, "{requests} requests, not {}", counted(host));
    let after = host.control().history();
    let kept = history.iter().all(|it| after.iter().any(|other| same(it, other)));
    assert!(kept, "{history:#?}\n{after:#?}");
    let bytes = [library::bytes(&made_by.fault("whoami")), label.to_le_bytes().to_vec()].concat();
    host.deploy_bytes(&bytes, &format!("libhandler_v{label}.so")).swapped();
    assert_label(&host.get("/"), &label.to_string());
    host.get("/echo/").assert_status(200);
}

/// What two releases say of one line of the history.
pub(super) fn same(one: &serde_json::Value, other: &serde_json::Value) -> bool {
    ["plugin", "verb", "outcome", "generation", "label"].iter().all(|it| one[it] == other[it])
}

/// Plugins of either age are in traffic, `echo` all along with one that the first host's release
/// did not build.
#[test]
fn there_and_back_under_load() {
    for [first, second] in pairs() {
        let builder = replaceable(&first, "100ms").with(second.plugin("echo_v1"), "libecho_v1.so");
        let mut host = builder.with(first.fault("whoami"), "libhandler_v1.so").start();
        assert_run(&host, &first, &first);
        let clients = Clients::start(&host);
        clients.wait();
        let steps = [(&second, &second), (&first, &second), (&second, &first), (&first, &first)];
        for ((release, made_by), label) in steps.into_iter().zip(2..) {
            step(&host, release, made_by, label);
            clients.wait();
        }
        clients.stop_clean();
        host.assert_no_failed_requests();
        assert_eq!(host.stop().code(), Some(0), "{}", host.log_end());
    }
}

/// A candidate of the other release dies while it is watched: the worker before goes on with what
/// was deployed meanwhile.
#[test]
fn the_way_back_from_the_other_release() {
    for [first, second] in pairs() {
        let builder = replaceable(&first, "30min");
        let host = builder.with(first.fault("whoami"), "libhandler_v1.so").start();
        let before = host.worker_pid();
        second.install(&host.home().path().join("hotseat"));
        host.hup();
        host.wait_role("parked");
        let candidate = host.wait_role("soaking");
        assert_eq!(candidate.version, second.version);
        let swapped = host.deploy(&second.fault("whoami"), "libhandler_v2.so").swapped();
        host.signal_process(candidate.pid, Signal::KILL);
        host.wait_gone(candidate.pid);
        let back = || host.process("serving").is_some_and(|it| it.pid == before);
        eventually!(back(), "the worker before\n{}", host.log_end());
        assert_eq!(host.active("handler"), swapped.generation);
        assert_label(&host.get("/"), "2");
    }
}
