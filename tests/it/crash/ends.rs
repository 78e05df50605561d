//! Every way in which a plugin ends the process that serves is its own: named, counted, withdrawn.

use hotseat_test_support::{Builder, Host, eventually, fault, host, library, wire};

use super::{metric, next_worker, strict, try_get, try_status, warning};

/// A host whose `trouble` plugins do what [`make`] says.
pub(super) fn troubled(builder: Builder) -> Builder {
    let folder = builder.home().path().join("trouble");
    std::fs::create_dir_all(&folder).unwrap();
    builder.env("HOTSEAT_TEST_TROUBLE", folder)
}

/// What `generation` (or `any`) does from now on, and where.
pub(super) fn make(host: &Host, generation: &str, what: &str) {
    std::fs::write(host.home().path().join("trouble").join(generation), what).unwrap();
}

/// `handler` v1 is plain, v2 (generation 2) makes trouble.
fn seated() -> Host {
    let host = troubled(strict()).with(fault("plain_v1"), "libhandler_v1.so").start();
    assert_eq!(host.deploy(&fault("trouble"), "libhandler_v2.so").swapped().generation, 2);
    host
}

/// Generation 2 was withdrawn, and the status says what it has done.
#[track_caller]
fn check_withdrawn(host: &Host, what: &str) {
    let told = || try_status(host).map(|it| warning(&it, "handler")).unwrap_or_default();
    eventually!(!told().is_empty(), "a withdrawal for `{what}`\n{}", host.log_end());
    let text = told();
    assert!(text.contains("generation 2 (v2) was withdrawn"), "{text}");
    assert!(text.contains(what), "`{what}` in {text}");
    eventually!(try_get(host, "/").as_deref() == Some("v1"), "v1 again\n{}", host.log_end());
    assert_eq!(metric(host, "hotseat_worker_crashes_total"), 1.0);
    let log = host.home().read_log();
    let said = log.lines().any(|it| it.contains("has ended unasked") && it.contains(what));
    assert!(said, "the log says `{what}`\n{}", host.log_end());
}

/// What a plugin calls, and what is said of it.
const ENDS: [(&str, &str); 13] = [
    ("exit", "its code called `exit(3)`"),
    ("std_exit", "its code called `exit(3)`"),
    ("_exit", "its code called `_exit(3)`"),
    ("_Exit", "its code called `_Exit(3)`"),
    ("quick_exit", "its code called `quick_exit(3)`"),
    ("abort", "its code called `abort`"),
    ("memory", "its code called `abort`"),
    ("segv", "SIGSEGV at 0x8"),
    ("stack", "a stack overflow at "),
    ("kill", "its code called `kill` with SIGKILL"),
    ("raise", "its code called `raise` with SIGKILL"),
    ("pthread_kill", "its code called `pthread_kill` with SIGKILL"),
    ("pthread_exit", "its code called `pthread_exit` on a thread of the host"),
];

#[test]
fn in_a_call() {
    for (how, what) in ENDS {
        let host = seated();
        make(&host, "2", &format!("call {how}"));
        assert_eq!(try_get(&host, "/"), None, "{how}");
        check_withdrawn(&host, what);
    }
}

#[test]
fn on_a_thread_of_the_plugins_own() {
    for (how, what) in ENDS.into_iter().filter(|(how, _)| *how != "pthread_exit") {
        let host = seated();
        make(&host, "2", &format!("late {how}"));
        // The answer may be faster.
        let _ = try_get(&host, "/");
        check_withdrawn(&host, what);
    }
    // Rust's own end of a thread cannot be unwound.
    let host = seated();
    make(&host, "2", "late pthread_exit");
    let _ = try_get(&host, "/");
    check_withdrawn(&host, "SIGABRT");
}

/// On its way out it is not in the seat any more: named and counted, and nothing is undone.
#[test]
fn on_the_way_out() {
    for place in ["stop", "drop"] {
        for (how, what) in ENDS.into_iter().filter(|(how, _)| ["exit", "abort"].contains(how)) {
            let host = seated();
            let worker = host.worker_pid();
            make(&host, "2", &format!("{place} {how}"));
            // Not by a request, which its process may not live to answer.
            host.home().drop_in(&fault("plain_v1"), "libhandler_v3.so");
            next_worker(&host, worker);
            let active = || try_status(&host).and_then(|it| wire::active(&it, "handler"));
            eventually!(active() == Some(3), "generation 3\n{}", host.log_end());
            host.get("/").assert_status(200);
            let log = host.home().read_log();
            let said = |it: &str| {
                it.contains("has ended unasked") && it.contains(what) && it.contains("generation 2")
            };
            assert!(log.lines().any(said), "{place} {how}\n{}", host.log_end());
            assert_eq!(host.active("handler"), 3, "what serves is not to blame");
            assert_eq!(warning(&host.status(), "handler"), "");
        }
    }
}

/// What the C library does not see blames nobody: the next worker is there, with what served.
#[test]
fn without_a_trace() {
    for how in ["syscall", "killed"] {
        let host = seated();
        let worker = host.worker_pid();
        make(&host, "2", &format!("call {how}"));
        assert_eq!(try_get(&host, "/"), None, "{how}");
        next_worker(&host, worker);
        assert_eq!(host.active("handler"), 2);
        assert_eq!(warning(&host.status(), "handler"), "");
        let log = host.home().read_log();
        let outside = log.contains("it died on SIGKILL: from outside");
        assert_eq!(outside, how == "killed", "{}", host.log_end());
    }
}

/// It calls what ends a process, and does not let it: a kill from outside that comes later is not
/// its own.
#[test]
fn without_an_end() {
    for (how, answers) in [("abort_held", false), ("raise_held", true)] {
        let host = seated();
        let worker = host.worker_pid();
        make(&host, "2", &format!("call {how}"));
        let mut held = host.connect();
        held.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        if answers {
            assert_eq!(held.read_answer().unwrap().status, 200);
        } else {
            let held = host.home().path().join("trouble/held");
            eventually!(held.exists(), "its handler runs\n{}", host.log_end());
        }
        host.signal_process(worker, rustix::process::Signal::KILL);
        next_worker(&host, worker);
        assert_eq!(host.active("handler"), 2, "{how}\n{}", host.log_end());
        assert_eq!(warning(&host.status(), "handler"), "", "{how}");
        assert!(host.home().read_log().contains("it died on SIGKILL: from outside"));
    }
}

/// Whichever worker has loaded it, and whatever was loaded after it.
#[test]
fn after_many_loads_and_upgrades() {
    let host = troubled(strict().arg("--soak-time=0s"))
        .with(fault("plain_v1"), "libhandler_v1.so")
        .start();
    assert_eq!(host.deploy(&fault("trouble"), "libhandler_v2.so").swapped().generation, 2);
    for _ in 0..3 {
        host.upgrade(&["--wait"]).assert_code(0);
    }
    let plain = library::bytes(&fault("plain_v1"));
    for number in 0..8_u8 {
        let bytes = [plain.clone(), vec![number]].concat();
        host.deploy_bytes(&bytes, &format!("libother_v{number}.so")).swapped();
    }
    make(&host, "2", "call exit");
    assert_eq!(try_get(&host, "/"), None);
    check_withdrawn(&host, "its code called `exit(3)`");
    assert!(wire::active(&host.status(), "other").is_some());
}

/// A candidate of an upgrade that a committed version ends: the upgrade fails, says why, and what
/// serves goes on serving.
#[test]
fn in_a_candidate_of_an_upgrade() {
    let holds = ("hang", "its constructors hold the loader");
    for place in ["new", "constructor"] {
        let some = ENDS.into_iter().filter(|(how, _)| ["exit", "segv"].contains(how));
        for (how, what) in some.chain((place == "constructor").then_some(holds)) {
            let builder = troubled(host!().arg("--load-time=1s"));
            let host = builder.with(fault("trouble"), "libhandler_v1.so").start();
            let worker = host.worker_pid();
            let traffic = host.traffic("/");
            make(&host, "1", &format!("{place} {how}"));
            let upgrade = host.upgrade(&["--wait"]);
            upgrade.assert_code(4).assert_says(what).assert_says("generation 1 of `handler`");
            traffic.finish();
            host.assert_no_failed_requests();
            assert_eq!((host.worker_pid(), host.active("handler")), (worker, 1));
            assert_eq!(warning(&host.status(), "handler"), "", "it serves");
        }
    }
}

/// The row of the history that says how bringing `plugin` up has ended the process.
#[track_caller]
fn check_told(host: &Host, verb: &str, (plugin, label): (&str, &str), generation: u64) {
    let history = host.control().history();
    let found = history.iter().filter(|it| it["outcome"] == "load_crashed").collect::<Vec<_>>();
    assert_eq!(found.len(), 1, "{history:?}");
    let row = found[0];
    assert_eq!((&row["verb"], &row["plugin"]), (&verb.into(), &plugin.into()), "{row}");
    assert_eq!((&row["label"], &row["generation"]), (&label.into(), &generation.into()), "{row}");
    assert!(row["digest"].as_str().is_some_and(|it| !it.is_empty()), "{row}");
    let text = row["text"].as_str().unwrap();
    let version = format!("{plugin} v{label} (generation {generation}) was not committed");
    assert!(text.contains(&version) && text.contains("`exit(3)`"), "{text}");
}

/// Only in the host, and no preflight has seen it: the next worker writes down how the order has ended,
/// and the report of the crash names the plugin.
#[test]
fn in_a_deploy_that_nobody_else_can_tell_of() {
    let host = troubled(strict()).with(fault("plain_v1"), "libhandler_v1.so").start();
    make(&host, "any", "new exit");
    let worker = host.worker_pid();
    let path = host.home().place(&fault("trouble"), "libshop_v1.so");
    let path = path.to_str().unwrap().to_owned();
    let control = host.control().address.to_string();
    let load = host.command().args(["load", &path, "--control", &control]).output().unwrap();
    assert!(!load.status.success());
    next_worker(&host, worker);
    check_told(&host, "deploy", ("shop", "1"), 2);
    host.assert_logged("in generation 2 of `shop`");
    host.get("/").assert_status(200).assert_contains("v1");
}

/// So it is with a reload.
#[test]
fn in_a_reload_that_nobody_else_can_tell_of() {
    let builder = troubled(host!().config("[plugin.handler]\nroom = 1\n"));
    let host = builder.with(fault("trouble"), "libhandler_v1.so").start();
    make(&host, "any", "new exit");
    host.home().rewrite_config("[plugin.handler]\nroom = 2\n");
    let worker = host.worker_pid();
    let control = host.control().address.to_string();
    let reload = host.command().args(["reload-config", "--control", &control]).output().unwrap();
    assert!(!reload.status.success());
    std::fs::remove_file(host.home().path().join("trouble/any")).unwrap();
    next_worker(&host, worker);
    check_told(&host, "reload", ("handler", "1"), 2);
}

/// And where the host is one process, whose next start writes it down.
#[test]
fn in_a_deploy_of_a_single_process() {
    let builder = troubled(host!().arg("--single")).with(fault("plain_v1"), "libhandler_v1.so");
    let mut host = builder.start();
    make(&host, "any", "new exit");
    let path = host.home().place(&fault("trouble"), "libshop_v1.so");
    let path = path.to_str().unwrap().to_owned();
    let control = host.control().address.to_string();
    let load = host.command().args(["load", &path, "--control", &control]).output().unwrap();
    assert!(!load.status.success());
    assert_eq!(host.wait_exit().code(), Some(3), "its own");
    host.start_again();
    check_told(&host, "deploy", ("shop", "1"), 2);
}
