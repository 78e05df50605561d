//! Retired code is really gone, or stays and the status says why.

use hotseat_test_support::{
    Gate, Host, eventually, fault, host, library, procfs, start_host, wire,
};

mod actions;
mod census;
mod companions;
mod cuts;
mod drops;
mod failed;
mod heap;
mod heaps;
mod leaves;
mod marked;
mod real;
mod threads;

/// Waits until one request is in the plugin.
#[track_caller]
fn wait_held(host: &Host) {
    let held = || {
        let plugin = wire::plugin(&host.status(), "handler");
        wire::number(&plugin, "/active/holder_count")
    };
    eventually!(held() == 1, "the request in the plugin");
}

/// What the status says of a generation once it is unloaded or kept for `reason`.
#[track_caller]
fn kept_or_gone(host: &Host, generation: u64, reason: &str) -> String {
    ended_as(host, generation, &[reason])
}

/// As [`kept_or_gone`], for one of several reasons.
#[track_caller]
fn ended_as(host: &Host, generation: u64, reasons: &[&str]) -> String {
    let look = || wire::retired(&host.status(), generation).unwrap_or_default().to_string();
    // What is looked at once more may be something else by then.
    let mut last = String::new();
    let mut is_over = || {
        last = look();
        last.contains("\"unloaded\"") || reasons.iter().any(|it| last.contains(it))
    };
    eventually!(is_over(), "what became of generation {generation}: {}", look());
    last
}

/// Swaps `name` out after a few requests and returns how its generation ended.
#[track_caller]
fn end_of(host: &Host, name: &str) -> hotseat_test_support::Event {
    let generation = host.active("handler");
    let traffic = host.traffic("/");
    traffic.wait_for(30);
    let mut events = host.events();
    host.deploy(&fault("plain_v2"), "libhandler_v99.so").swapped();
    let ends = |event: &hotseat_test_support::Event| {
        event.generation == generation && matches!(event.phase.as_str(), "unloaded" | "resident")
    };
    let end = events.wait_for(ends);
    let bodies = traffic.finish();
    assert!(bodies.contains_key("v2"), "{name} was swapped out: {bodies:?}");
    end
}

#[track_caller]
fn check_unmapped(name: &str) {
    let host = start_host!(fault(name), "libhandler_v1.so");
    let end = end_of(&host, name);
    assert_eq!(end.phase, "unloaded", "{}", end.json);
    assert_eq!(host.loaded().len(), 1, "{:?}", host.loaded());
    let folder = host.state_file("loaded").join(host.worker_pid().to_string());
    let files = std::fs::read_dir(folder).unwrap().count();
    assert_eq!(files, 1, "the private copy is removed with the library");
    assert_eq!(wire::number(&host.status(), "/resident_count"), 0);
}

/// A plain plugin.
#[test]
fn a_plain_plugin_is_unmapped() {
    check_unmapped("plain_v1");
}

/// One with thread-local destructors on the host's threads.
#[test]
fn thread_local_destructors_are_run_and_it_is_unmapped() {
    check_unmapped("tls_destructor");
}

/// `stop` and `drop` see the same thread-locals; a panic of two drops in a row would abort.
#[test]
fn thread_locals_live_from_stop_to_drop() {
    check_unmapped("tls_in_stop_and_drop");
}

/// Signal handlers that were set before its first call, and a timer that goes on.
#[test]
fn signal_handlers_are_taken_away_and_it_is_unmapped() {
    check_unmapped("signal_handler");
}

/// Thread-locals, threads, random numbers and caught panics in each request.
#[test]
fn a_hostile_plugin_is_unmapped() {
    check_unmapped("hostile");
}

#[track_caller]
pub(crate) fn check_resident(host: &Host, name: &str, reason: &str) {
    let generation = host.active("handler");
    let end = end_of(host, name);
    assert_eq!(end.phase, "resident", "{}", end.json);
    assert!(end.detail.contains(reason), "`{reason}` in {}", end.json);
    let status = host.status();
    assert_eq!(wire::number(&status, "/resident_count"), 1);
    assert_eq!(wire::life(&status, generation).as_deref(), Some("resident"), "{status}");
    assert!(status.to_string().contains(reason), "{status}");
    assert_eq!(host.loaded().len(), 2, "{:?}", host.loaded());
    host.get("/").assert_status(200);
}

/// Static destructors that take long hold up nothing but their own library; the status says so.
#[test]
fn slow_static_destructors_are_named() {
    let host = start_host!(fault("end_hangs"), "libhandler_v1.so");
    let mut events = host.events();
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    let reason = "its destructors have not returned";
    eventually!(host.status().to_string().contains(reason), "`{reason}` in the status");
    host.get("/").assert_status(200);
    events.wait_generation(1, "unloaded");
    assert_eq!(host.loaded().len(), 1, "{:?}", host.loaded());
}

/// A thread left behind keeps its library; status and event say so.
#[test]
fn a_thread_left_behind_keeps_its_library() {
    let host = start_host!(fault("leaks_thread"), "libhandler_v1.so");
    check_resident(&host, "leaks_thread", "1 thread left behind");
}

/// A thread of C11 counts as one of POSIX.
#[test]
fn a_c11_thread_left_behind_keeps_its_library() {
    let host = start_host!(fault("leaks_c11_thread"), "libhandler_v1.so");
    check_resident(&host, "leaks_c11_thread", "1 thread left behind");
}

/// A process has some thousand keys, so none may stay behind; and what the host has deleted, the
/// library's own end may delete again.
#[test]
fn keys_go_with_their_library() {
    let host = start_host!(fault("keys"), "libhandler_v1.so");
    let mut events = host.events();
    let mut seen = std::collections::BTreeSet::new();
    for version in 2..8_u8 {
        seen.insert(host.get("/").text().to_owned());
        let bytes = [library::bytes(&fault("keys")), vec![version]].concat();
        host.deploy_bytes(&bytes, &format!("libhandler_v{version}.so")).swapped();
        events.wait_generation(u64::from(version) - 1, "unloaded");
    }
    assert!(seen.len() <= 2, "two generations at a time make new keys each time: {seen:?}");
}

/// Threads that no preflight saw: each request leaves one.
#[test]
fn threads_left_behind_by_requests() {
    let host = start_host!(fault("leaks_thread_on_call"), "libhandler_v1.so");
    check_resident(&host, "leaks_thread_on_call", "threads left behind");
}

/// With `unload = "require"` the preflight refuses what would stay.
#[test]
fn require_refuses_what_would_stay() {
    let host = host!().arg("--unload=require").with(fault("gate"), "libhandler_v1.so").start();
    let held = host.hold("/");
    let offered = host.deploy(&fault("leaks_thread"), "libhandler_v2.so");
    let refused = offered.assert_refused(422, "would_stay_resident");
    assert!(refused.text.contains("1 thread left behind"), "{refused:?}");
    assert!(refused.hint.contains("end its threads in `stop`"), "{refused:?}");
    let offered = host.deploy(&fault("raw_handler"), "libhandler_v3.so");
    let refused = offered.assert_refused(422, "would_stay_resident");
    assert!(refused.text.contains("signal handler of SIGWINCH"), "{refused:?}");
    assert!(refused.hint.contains("the signal action that was there"), "{refused:?}");
    host.deploy(&fault("plain_v2"), "libhandler_v4.so").swapped();
    held.release().assert_status(200).assert_contains("gate 1");
}

/// Where another library is in the way of the hooks, whoever looks is told which one, and what to do.
#[test]
fn a_host_that_cannot_unload_says_what_to_do() {
    let preloaded = fault("takes_getppid");
    let builder = host!().env("LD_PRELOAD", &preloaded);
    let host = builder.with(fault("plain_v1"), "libhandler_v1.so").start();
    let says = |text: &str| {
        text.contains(&format!("LD_PRELOAD names `{}`", preloaded.display()))
            && text.contains("start it without that library")
    };
    let status = host.status();
    assert!(says(&wire::text(&status, "/never_unload")), "{status}");
    let swapped = host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    assert!(says(&swapped.notes), "{swapped:?}");
    let mut check = host.command();
    check.env("LD_PRELOAD", &preloaded).arg("check").arg(fault("plain_v1"));
    let output = check.output().unwrap();
    assert!(says(&String::from_utf8(output.stdout).unwrap()));
    host.get("/").assert_status(200);
}

/// What held it in the preflight may end later: no more is said than what was seen.
#[test]
fn what_was_there_after_a_preflight_may_stay() {
    let host = start_host!();
    let swapped = host.deploy(&fault("leaks_thread"), "libhandler_v1.so").swapped();
    assert!(swapped.notes.contains("may stay resident after it is retired"), "{swapped:?}");
    assert!(swapped.notes.contains("still there (1 thread left behind)"), "{swapped:?}");
}

/// With unloading switched off nothing is unmapped: the check above can fail.
#[test]
fn off_keeps_everything() {
    let host = host!().arg("--unload=off").with(fault("plain_v1"), "libhandler_v1.so").start();
    let mut events = host.events();
    for version in 2..7_u8 {
        let bytes = [library::bytes(&fault("plain_v2")), vec![version]].concat();
        host.deploy_bytes(&bytes, &format!("libhandler_v{version}.so")).swapped();
        events.wait_generation(u64::from(version) - 1, "resident");
    }
    assert_eq!(host.loaded().len(), 6, "{:?}", host.loaded());
}

/// While it drains the status says who holds it: request, method, path, client, age.
#[test]
fn status_names_the_holders() {
    let host = crate::gate_host();
    let held = host.hold("/slow/path");
    let peer = held.connection.local().unwrap().to_string();
    let mut events = host.events();
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();

    let status = host.status();
    assert_eq!(wire::life(&status, 1).as_deref(), Some("draining"), "{status}");
    let retired = wire::retired(&status, 1).unwrap();
    let holders = wire::list(&retired, "/holders");
    assert_eq!(holders.len(), 1, "{retired}");
    assert_eq!(wire::text(&holders[0], "/method"), "GET");
    assert!(wire::text(&holders[0], "/path").starts_with("/slow/path"), "{retired}");
    assert_eq!(wire::text(&holders[0], "/peer"), peer);
    assert!(wire::number(&holders[0], "/request") > 0);
    assert_eq!(host.loaded().len(), 2);

    held.release().assert_status(200);
    events.wait_generation(1, "drained");
    events.wait_generation(1, "unloaded");
    assert_eq!(host.loaded().len(), 1);
}

/// A body that is still being sent holds its generation to the last byte.
#[test]
fn a_body_holds_to_its_last_byte() {
    let host = start_host!(fault("big_body"), "libhandler_v1.so");
    let mut connection = host.connect();
    // More than the sockets' buffers take.
    connection.send_request("GET", "/?kib=131072", "").unwrap();
    let head = connection.read_head().unwrap();
    let mut events = host.events();
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    assert_eq!(wire::life(&host.status(), 1).as_deref(), Some("draining"), "{}", host.status());
    let body = connection.read_body(&head).unwrap();
    assert_eq!(body.len(), 128 << 20);
    assert!(body.iter().all(|byte| *byte == b'x'));
    events.wait_generation(1, "unloaded");
}

/// A request whose client has gone is dropped, and no longer holds its generation.
#[test]
fn a_client_that_goes_lets_go() {
    let host = crate::gate_host();
    let (connection, waiting) = host.hold("/").into_parts();
    let mut events = host.events();
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    connection.reset().unwrap();
    waiting.wait_dropped();
    events.wait_generation(1, "unloaded");
}

/// At the drain limit what is left is cut, counted and named.
#[test]
fn the_drain_has_a_limit() {
    let host =
        host!().arg("--generation-drain=300ms").with(fault("gate"), "libhandler_v1.so").start();
    let (mut connection, waiting) = host.hold("/").into_parts();
    let mut events = host.events();
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    events.wait_generation(1, "unloaded");
    waiting.wait_dropped();
    let answer = connection.read_answer();
    assert!(answer.is_err() || answer.unwrap().status >= 500, "it was cut");
    let plugin = wire::plugin(&host.status(), "handler");
    assert_eq!(wire::number(&plugin, "/counts/cut"), 1);
}

/// Many swaps leave no library, no descriptor and no thread behind.
#[test]
fn fifty_swaps_leave_nothing_behind() {
    let host = crate::plain_host();
    let versions: Vec<Vec<u8>> =
        (0..2).map(|n| [library::bytes(&fault("hostile")), vec![n]].concat()).collect();
    let swap = |number: usize| {
        let name = format!("libhandler_v{}.so", 2 + number % 2);
        host.deploy_bytes(&versions[number % 2], &name).swapped();
        host.get("/").assert_status(200);
    };
    (0..6).for_each(swap);
    eventually!(host.loaded().len() == 1, "{:?}", host.loaded());
    let figures = || (procfs::descriptors(host.worker_pid()), procfs::threads(host.pid()));
    let before = figures();
    (6..56).for_each(swap);
    eventually!(host.loaded().len() == 1, "{:?}", host.loaded());
    eventually!(figures() <= before, "{:?} are not {before:?}", figures());
}

/// At the drain limit an answer that its client does not take is ended too: it is in the host's
/// buffers, where no poll of the plugin's would notice a cut.
#[test]
fn an_answer_that_nobody_takes_is_cut() {
    let host =
        host!().arg("--generation-drain=1s").with(fault("big_body"), "libhandler_v1.so").start();
    let mut connection = host.connect();
    connection.send_request("GET", "/?kib=131072", "").unwrap();
    connection.read_head().unwrap().assert_status(200);
    let mut events = host.events();
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    events.wait_generation(1, "unloaded");
}

/// A connection that dies before its 101 is written lets go of its generation.
#[test]
fn an_upgrade_that_is_never_sent_lets_go() {
    let host = start_host!(fault("upgrades_late"), "libhandler_v1.so");
    let gate = Gate::new();
    let mut connection = host.connect();
    let fields = "Connection: upgrade\r\nUpgrade: nothing\r\n";
    connection.send_request("GET", &format!("/?{}", gate.query()), fields).unwrap();
    let waiting = gate.entered();
    connection.reset().unwrap();
    waiting.release();
    let mut events = host.events();
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    events.wait_generation(1, "unloaded");
}
