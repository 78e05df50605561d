//! Orders and files that come while an upgrade runs, at each of its steps.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use hotseat_test_support::{Connection, Host, eventually, fault};
use serde_json::Value;

use super::{history, long, other, quick, serves};

/// Generations that were acknowledged, by whoever asked for them.
#[derive(Default)]
struct Acknowledged(Mutex<Vec<u64>>);

impl Acknowledged {
    fn add(&self, answer: &Value) {
        let generation = answer["generation"].as_u64();
        self.0.lock().unwrap().push(generation.unwrap_or_else(|| panic!("refused: {answer}")));
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// A library that was never deployed before.
fn fresh_library(host: &Host, next: &AtomicUsize) -> PathBuf {
    let number = u32::try_from(next.fetch_add(1, SeqCst)).unwrap();
    host.home().write(&format!("libhandler_v{number}.so"), &other("whoami", number))
}

/// One order on `kept`; says whether the connection can be used again.
fn post_kept(host: &Host, kept: &mut Option<Connection>, path: &str) -> Value {
    let connection = kept.get_or_insert_with(|| host.control().connect());
    let port = host.ready().control.port();
    let head = format!("POST / HTTP/1.1\r\nHost: localhost:{port}\r\nAccept: application/json\r\n");
    connection.send(format!("{head}Content-Length: {}\r\n\r\n{path}", path.len())).unwrap();
    let answer = connection.read_answer().unwrap();
    let closes = answer.header("connection").is_some_and(|it| it.contains("close"));
    let json = answer.json();
    if closes {
        *kept = None;
    }
    json
}

/// Orders come without a pause, each on a connection of its own, on kept connections and by
/// `hotseat load`, while one upgrade follows the other. Each is answered once; what was
/// acknowledged last serves, and nothing else was done.
#[test]
fn orders_during_upgrades_are_answered_once() {
    let builder = quick(50).arg("--history-memory-count=10000");
    let host = builder.with(fault("whoami"), "libhandler_v1.so").start();
    let (acknowledged, next) = (Acknowledged::default(), AtomicUsize::new(2));
    let ended = AtomicBool::new(false);
    let tries = if std::env::var_os("HOTSEAT_SLOW").is_some_and(|it| it == "1") { 200 } else { 40 };
    let traffic = host.traffic("/");
    let upgrades = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(SeqCst) {
                let path = fresh_library(&host, &next);
                acknowledged.add(&host.control().deploy(path).answer.json());
            }
        });
        scope.spawn(|| {
            let mut kept = None;
            while !ended.load(SeqCst) {
                let path = fresh_library(&host, &next);
                acknowledged.add(&post_kept(&host, &mut kept, path.to_str().unwrap()));
            }
        });
        scope.spawn(|| {
            let control = host.ready().control.to_string();
            while !ended.load(SeqCst) {
                let path = fresh_library(&host, &next);
                let args = ["load", "--json", "--control", &control];
                let output = host.command().args(args).arg(path).output().unwrap();
                let json = serde_json::from_slice(&output.stdout);
                acknowledged.add(&json.unwrap_or_else(|_| panic!("{output:?}")));
            }
        });
        let mut upgrades = 0;
        let _end = EndOf(&ended);
        while upgrades < 5 || acknowledged.count() < tries {
            host.upgrade(&["--wait"]).assert_code(0);
            upgrades += 1;
        }
        upgrades
    });
    let mut all = acknowledged.0.into_inner().unwrap();
    all.sort_unstable();
    let count = all.len();
    all.dedup();
    assert_eq!(all.len(), count, "no order shares its number");
    assert_eq!(serves(&host).0, all[count - 1], "the last one serves, after {upgrades} upgrades");
    let swaps = host.control().get_json("/v1/history?limit=1000");
    let swaps = swaps["history"].as_array().unwrap().iter();
    let swaps = swaps.filter(|it| it["outcome"] == "swapped").count();
    assert_eq!(swaps, count + 1, "nothing was done twice");
    assert_eq!(host.get("/").header("x-generation"), Some(&*all[count - 1].to_string()));
    traffic.finish();
    host.assert_no_failed_requests();
}

/// Also when the test fails.
struct EndOf<'a>(&'a AtomicBool);

impl Drop for EndOf<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Files that arrive before, while and after the next worker comes up are deployed once each.
#[test]
fn files_that_arrive_during_an_upgrade_are_deployed_once() {
    let fifo = tempfile::tempdir().unwrap();
    let (entered, go_on) = (fifo.path().join("entered"), fifo.path().join("go"));
    let hook = format!("--hook=pre_hup={}", fifo.path().join("hook").display());
    let script = format!(
        "#!/bin/sh\ntouch {}\nwhile [ ! -e {} ]; do sleep 0.01; done\n",
        entered.display(),
        go_on.display()
    );
    fs::write(fifo.path().join("hook"), script).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(fifo.path().join("hook"), executable).unwrap();
    // So that the next worker is a while at coming up.
    let builder = long().arg(hook).with(fault("new_slow"), "libslow_v1.so");
    let host = builder.with(fault("plain_v1"), "libhandler_v1.so").start();
    let drop_in = |name: &str| {
        host.home().drop_in(&fault("plain_v2"), &format!("lib{name}_v1.so"));
    };
    host.hup();
    eventually!(entered.exists(), "the hook");
    drop_in("early");
    fs::write(&go_on, b"").unwrap();
    // Nobody answers the control plane meanwhile: the log tells.
    let started = || host.home().read_log().contains("a worker is started worker=2");
    eventually!(started(), "{}", host.log_end());
    drop_in("booting");
    let candidate = host.wait_role("soaking").pid;
    drop_in("soaking");
    let names = ["early", "booting", "soaking"];
    for name in names {
        eventually!(
            hotseat_test_support::wire::active(&host.status(), name).is_some(),
            "`{name}`\n{}",
            host.log_end()
        );
    }
    assert_eq!(host.loaded().len(), 5, "each once: {:?}", host.loaded());
    // The worker before follows, and does nothing a second time.
    let before = host.wait_role("parked").pid;
    host.signal_process(candidate, rustix::process::Signal::KILL);
    eventually!(host.process("serving").is_some_and(|it| it.pid == before), "{}", host.log_end());
    drop_in("late");
    eventually!(
        hotseat_test_support::wire::active(&host.status(), "late").is_some(),
        "the folder was worked through\n{}",
        host.log_end()
    );
    for name in ["early", "booting", "soaking", "late"] {
        let lines = history(&host, name);
        assert_eq!(lines.len(), 1, "{name}: {lines:?}");
        assert_eq!(lines[0].1, "swapped", "{name}: {lines:?}");
    }
    assert_eq!(host.loaded().len(), 6, "each once: {:?}", host.loaded());
}
