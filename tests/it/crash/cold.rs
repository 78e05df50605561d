//! A start never gives up what it could serve: whoever ends, hangs or fails there stands aside, and
//! nobody else waits for it.

use std::time::{Duration, Instant};

use hotseat_test_support::{Builder, Host, disk, eventually, fault, host, library, wire};

use rustix::process::{Pid, Signal, kill_process};

use super::{
    ends::{make, troubled},
    next_worker, wait_ends, warning,
};

/// `bad` v1 and v2 make trouble when they are told to; `handler` never does.
fn builder() -> Builder {
    troubled(host!().arg("--load-time=1s"))
}

/// `handler` is generation 1, `bad` is 2 and then 3.
fn host() -> Host {
    prepared(builder())
}

fn prepared(builder: Builder) -> Host {
    let host = builder.with(fault("plain_v1"), "libhandler_v1.so").start();
    for (number, generation) in [(1, 2), (2, 3)] {
        let name = format!("libbad_v{number}.so");
        assert_eq!(host.deploy_bytes(&trouble(number), &name).swapped().generation, generation);
    }
    host
}

fn trouble(number: u8) -> Vec<u8> {
    [library::bytes(&fault("trouble")), vec![number]].concat()
}

/// The others serve, and so does an older version of `bad`.
#[track_caller]
fn check_stands_in(host: &Host, what: &str) {
    host.get("/").assert_status(200).assert_contains("v1");
    host.get("/bad").assert_status(200).assert_contains("trouble");
    let status = host.status();
    let label = wire::text(&wire::plugin(&status, "bad"), "/active/label");
    let text = warning(&status, "bad");
    assert_eq!(label, "1", "{what}: {text}\n{}", host.log_end());
    assert!(text.contains("generation 3 (v2)"), "{what}: {text}");
    host.control().get("/").assert_contains("warning: bad: ");
}

/// How many workers this host has started since it was started.
fn starts(host: &Host) -> usize {
    let log = host.home().read_log();
    let last = log.rfind("stopp").map_or(&*log, |at| &log[at..]);
    last.matches("a worker is started").count()
}

/// How many workers have ended unasked.
fn ends(host: &Host) -> usize {
    host.home().read_log().matches("a worker has ended unasked").count()
}

/// Whatever ends the process in `new` or before it costs one worker, once: the next start knows.
#[test]
fn what_ends_the_first_worker_stands_aside() {
    let cases = [
        ("new abort", "its code called `abort`"),
        ("new segv", "SIGSEGV"),
        ("new exit", "its code called `exit(3)`"),
        ("new _exit", "its code called `_exit(3)`"),
        ("new stack", "a stack overflow"),
        ("new kill", "SIGKILL"),
        ("new pthread_exit", "`pthread_exit`"),
        ("constructor abort", "its code called `abort`"),
        ("constructor quick_exit", "`quick_exit(3)`"),
        ("constructor hang", "its constructors hold the loader"),
        ("thread abort", "its code called `abort`"),
    ];
    for (trouble, what) in cases {
        let mut host = host();
        make(&host, "3", trouble);
        host.restart();
        // A thread may be slower than the start.
        let withdrawn = || warning(&host.status(), "bad").contains("was withdrawn");
        if trouble.starts_with("thread") {
            continue;
        }
        eventually!(withdrawn(), "{trouble}\n{}", host.log_end());
        let text = warning(&host.status(), "bad");
        assert!(text.contains(what), "{trouble}: {text}");
        assert!(text.contains("before it could serve"), "{trouble}: {text}");
        check_stands_in(&host, trouble);
        host.control().get("/readyz").assert_status(200);
        assert_eq!(starts(&host), 2, "one worker is lost\n{}", host.log_end());
        let history = host.control().history();
        assert!(history.iter().any(|it| it["verb"] == "withdraw"), "{history:?}");
        host.restart();
        check_stands_in(&host, trouble);
        assert_eq!(starts(&host), 1, "the next start knows\n{}", host.log_end());
        // Whoever wants exactly these bytes can have them.
        std::fs::remove_file(host.home().path().join("trouble/3")).unwrap();
        host.deploy_bytes(&self::trouble(2), "libbad_v2.so").swapped();
        assert_eq!(warning(&host.status(), "bad"), "", "{trouble}");
    }
}

/// What does not load, but ends nobody, is tried again at the next start.
#[test]
fn what_only_fails_is_tried_again() {
    for trouble in ["new fail", "new panic"] {
        let mut host = host();
        make(&host, "3", trouble);
        host.restart();
        check_stands_in(&host, trouble);
        assert_eq!(starts(&host), 1);
        std::fs::remove_file(host.home().path().join("trouble/3")).unwrap();
        host.restart();
        assert_eq!(host.active("bad"), 3, "{trouble}");
        assert_eq!(warning(&host.status(), "bad"), "", "{trouble}");
    }
}

/// A refused upgrade leaves what serves as it was, also what stands in for a version that would load
/// by now: only a deploy and a start try that again.
#[test]
fn a_refused_upgrade_leaves_what_stands_in() {
    let host = host();
    make(&host, "3", "new fail");
    let worker = host.worker_pid();
    host.signal_process(worker, Signal::KILL);
    next_worker(&host, worker);
    check_stands_in(&host, "a worker after a crash");
    std::fs::remove_file(host.home().path().join("trouble/3")).unwrap();
    host.upgrade(&["--wait"]).assert_code(4).assert_says("bad (generation 3) would serve anew");
    check_stands_in(&host, "after the refused upgrade");
    // Through the desk, behind whatever the way back has to do there.
    host.deploy(&fault("plain_v1"), "libhandler_v2.so").swapped();
    check_stands_in(&host, "after the next deploy");
    assert_eq!(host.loaded().len(), 2, "{:?}", host.loaded());
}

/// What keeps the start waiting stands aside from then on: nobody else waits for it again, and who
/// wants it can have it.
#[test]
fn what_keeps_a_start_waiting_stands_aside() {
    let mut host = host();
    make(&host, "3", "new hang");
    host.restart();
    check_stands_in(&host, "new hang");
    assert_eq!(starts(&host), 1, "nobody has died\n{}", host.log_end());
    assert!(warning(&host.status(), "bad").contains("it has kept a start waiting"));
    let history = host.control().history();
    assert!(history.iter().any(|it| it["verb"] == "withdraw"), "{history:?}");
    std::fs::remove_file(host.home().path().join("trouble/3")).unwrap();
    host.restart();
    check_stands_in(&host, "the next start knows");
    host.deploy_bytes(&trouble(2), "libbad_v2.so").swapped();
    assert_eq!(warning(&host.status(), "bad"), "");
}

/// Somebody kills the first worker while it loads what hangs: another one comes up, and nobody is
/// blamed.
#[test]
fn a_kill_of_the_first_worker() {
    // Long enough to be killed while it loads.
    let mut host = prepared(troubled(host!().arg("--load-time=5s")));
    make(&host, "3", "new hang");
    assert!(host.stop().success());
    let (home, before) = (host.home().clone(), host.home().read_log().len());
    let started = || {
        let log = home.read_log();
        let (_, rest) = log[before..].split_once("a worker is started")?;
        let (_, rest) = rest.split_once("worker_pid=")?;
        let pid: i32 = rest.split([' ', '\n']).next()?.parse().ok()?;
        // What loads is mapped from a copy of its own.
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        maps.contains("/loaded/").then_some(pid)
    };
    std::thread::scope(|scope| {
        let starts = scope.spawn(|| host.start_again());
        eventually!(started().is_some(), "the first worker loads\n{}", home.read_log());
        let pid = Pid::from_raw(started().unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        starts.join().unwrap();
    });
    check_stands_in(&host, "killed");
    // For what it did to the second worker, and not for the end of the first.
    let text = warning(&host.status(), "bad");
    assert!(text.contains("kept a start waiting") && !text.contains("died"), "{text}");
}

/// A constructor whose process was stopped for longer than a load may take (a debugger, a container
/// that was suspended) has not used that time: its version serves.
#[test]
fn a_process_that_was_frozen_while_it_loads() {
    let load_time = Duration::from_secs(3);
    let mut host = prepared(troubled(host!().arg("--load-time=3s")));
    make(&host, "3", "constructor wait");
    assert!(host.stop().success());
    let home = host.home().clone();
    let at = |name: &str| home.path().join("trouble").join(name);
    std::thread::scope(|scope| {
        let starts = scope.spawn(|| host.start_again());
        eventually!(at("waits").exists(), "the constructor runs\n{}", home.read_log());
        let log = home.read_log();
        let (_, rest) = log.rsplit_once("worker_pid=").unwrap();
        let pid = Pid::from_raw(rest.split([' ', '\n']).next().unwrap().parse().unwrap()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        let frozen = Instant::now();
        eventually!(frozen.elapsed() > load_time + Duration::from_millis(500));
        kill_process(pid, Signal::CONT).unwrap();
        std::fs::write(at("go"), []).unwrap();
        starts.join().unwrap();
    });
    let status = host.status();
    assert_eq!(warning(&status, "bad"), "", "{}", host.log_end());
    assert_eq!(wire::text(&wire::plugin(&status, "bad"), "/active/label"), "2");
    assert_eq!(starts(&host), 1, "{}", host.log_end());
}

/// Two at once, of which one has nothing before it.
#[test]
fn two_at_once() {
    let mut host = host();
    let worse = host.deploy_bytes(&trouble(9), "libworse_v1.so").swapped().generation;
    make(&host, "3", "new abort");
    make(&host, &worse.to_string(), "constructor exit");
    for lost in [2, 0] {
        host.restart();
        check_stands_in(&host, "two");
        check_out_of_service(&host, "worse");
        assert_eq!(starts(&host), 1 + lost, "{}", host.log_end());
    }
    // The second has written down how the first ended, and told nobody that it had.
    let history = host.control().history();
    let told = history.iter().filter(|it| it["verb"] == "worker" && it["outcome"] == "ended");
    assert_eq!(told.count(), 2, "each once: {history:#?}");
    host.deploy(&fault("plain_v2"), "libworse_v2.so").swapped();
    host.get("/worse").assert_status(200);
    host.control().get("/readyz").assert_status(200);
}

/// The mount stays, and says so; the host is not ready.
#[track_caller]
fn check_out_of_service(host: &Host, plugin: &str) {
    host.get(&format!("/{plugin}")).assert_error(503, "no_generation");
    let text = warning(&host.status(), plugin);
    assert!(text.contains("was withdrawn"), "{text}");
    host.control().get("/readyz").assert_status(503).assert_contains(plugin);
}

/// All versions of a plugin are bad: its mount answers 503, at the next start too, until somebody
/// deploys or unloads it.
#[test]
fn all_versions_of_a_plugin() {
    let mut host = host();
    make(&host, "any", "new abort");
    for lost in [2, 0] {
        host.restart();
        host.get("/").assert_status(200);
        check_out_of_service(&host, "bad");
        assert_eq!(starts(&host), 1 + lost, "{}", host.log_end());
    }
    host.control().unload("bad").assert_status(200);
    host.restart();
    assert_eq!(starts(&host), 1);
    assert!(!wire::list(&host.status(), "/plugins").iter().any(|it| it["name"] == "bad"));
}

/// The content of `bad` with this label.
fn digest(host: &Host, label: &str) -> String {
    let plugin = wire::plugin(&host.status(), "bad");
    let mut versions = wire::list(&plugin, "/kept");
    versions.push(plugin["active"].clone());
    let found = versions.iter().find(|it| it["label"] == label);
    wire::text(found.unwrap_or_else(|| panic!("{label} in {plugin}")), "/digest")
}

/// Nothing of what a worker withdraws can be written, and the next one knows of it all the same.
#[test]
fn one_after_another_on_a_disk_that_can_only_be_read() {
    let builder = builder().arg("--state-probe=100ms").with(fault("plain_v1"), "libhandler_v1.so");
    let Some((host, disk)) = disk::small(builder) else { return };
    for number in [1, 2, 3] {
        host.deploy_bytes(&trouble(number), &format!("libbad_v{number}.so")).swapped();
    }
    make(&host, "any", "new abort");
    if !disk.close() {
        return;
    }
    let worker = host.worker_pid();
    host.signal_process(worker, Signal::KILL);
    next_worker(&host, worker);
    host.get("/").assert_status(200).assert_contains("v1");
    check_out_of_service(&host, "bad");
    assert_eq!(ends(&host), 1 + 3, "each version once\n{}", host.log_end());
}

/// The version before is damaged, or the one that would serve is and what stands in ends the
/// process.
#[test]
fn together_with_a_broken_artifact() {
    for (damaged, bad) in [("1", "3"), ("2", "2")] {
        let mut host = host();
        let digest = digest(&host, damaged);
        assert!(host.stop().success());
        std::fs::remove_file(host.state_file("artifacts").join(format!("{digest}.so"))).unwrap();
        make(&host, bad, "new abort");
        for lost in [1, 0] {
            if lost == 0 {
                assert!(host.stop().success());
            }
            host.start_again();
            host.get("/").assert_status(200);
            host.get("/bad").assert_error(503, "no_generation");
            let text = warning(&host.status(), "bad");
            assert!(text.contains("was withdrawn") && text.contains("does not load"), "{text}");
            assert_eq!(starts(&host), 1 + lost, "{damaged} {bad}\n{}", host.log_end());
        }
    }
}

/// Without a master the process ends; the next one knows of it.
#[test]
fn in_a_single_process() {
    for trouble in ["new abort", "new exit", "constructor _exit", "constructor hang"] {
        let mut host = prepared(builder().arg("--single"));
        make(&host, "3", trouble);
        assert!(host.stop().success());
        let again = host!().at(host.home()).arg("--single").arg("--load-time=1s");
        let (status, _) = troubled(again).start_in_vain();
        assert!(!status.success(), "{trouble}: {status}");
        host.start_again();
        check_stands_in(&host, trouble);
        assert!(warning(&host.status(), "bad").contains("before it could serve"), "{trouble}");
        host.restart();
        check_stands_in(&host, trouble);
    }
}

/// Nor does it forget ends that come later.
#[test]
fn in_the_requests_of_a_single_process() {
    let builder = builder().arg("--single").arg("--crash-count=2").arg("--crash-window=5min");
    let mut host = prepared(builder);
    make(&host, "3", "call exit");
    for _ in 0..2 {
        assert_eq!(host.active("bad"), 3);
        assert_eq!(super::try_get(&host, "/bad"), None);
        assert_eq!(host.wait_exit().code(), Some(3), "its own");
        host.start_again();
    }
    check_stands_in(&host, "call exit");
    // A kill is nobody's fault.
    let active = host.active("bad");
    host.kill9();
    host.start_again();
    assert_eq!(host.active("bad"), active);
}

/// A file in the folder of a first start that ends the process is not tried again, and those beside
/// it come up.
#[test]
fn in_the_folder_of_a_first_start() {
    let builder = builder().with(fault("plain_v1"), "libhandler_v1.so");
    let folder = builder.home().path().join("trouble");
    std::fs::write(folder.join("any"), "new abort").unwrap();
    for (number, name) in [(1, "libbad_v1.so"), (2, "libworse_v1.so")] {
        let file = builder.home().write(name, &trouble(number));
        builder.home().drop_in(&file, name);
    }
    let host = builder.start();
    host.get("/").assert_status(200).assert_contains("v1");
    // The second may come after the ready line.
    wait_ends(&host, 2);
    next_worker(&host, 0);
    let written = || host.control().history();
    let crashed = || written().iter().filter(|it| it["outcome"] == "load_crashed").count();
    eventually!(crashed() == 2, "both are written down: {:?}", written());
    assert_eq!(ends(&host), 2, "{}", host.log_end());
    assert_eq!(warning(&host.status(), "handler"), "", "nobody else is blamed");
    host.assert_logged("its code called `abort`");
    let files = host.status()["files"].clone();
    assert_eq!(files.as_array().map(Vec::len), Some(2), "both say what tries them again: {files}");
}
