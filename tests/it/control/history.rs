//! What is done to the host as a whole stands in the history as deploys do, with who asked.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
};

use hotseat_test_support::{Host, eventually, fault, host, wire};
use rustix::{
    fs::{CWD, Mode, OFlags, mkfifoat},
    process::{Signal, getuid},
};
use serde_json::{Value, json};

fn text(line: &Value, name: &str) -> String {
    line[name].as_str().unwrap_or_default().to_owned()
}

/// Waits for a line with this verb and outcome that is newer than `after`, and gives it.
#[track_caller]
fn wait_line(host: &Host, after: u64, verb: &str, outcome: &str) -> Value {
    let find = || {
        let lines = host.control().history().into_iter();
        let mut lines = lines.filter(|it| it["id"].as_u64() > Some(after));
        lines.find(|it| (&*text(it, "verb"), &*text(it, "outcome")) == (verb, outcome))
    };
    eventually!(find().is_some(), "{verb} {outcome}: {:#?}", host.control().history());
    find().unwrap()
}

fn id(line: &Value) -> u64 {
    wire::number(line, "/id")
}

#[test]
fn what_is_done_to_the_host_stands_there() {
    let builder = host!().arg("--soak-time=30min").arg("--idle-linger=100ms");
    let mut host = builder.with(fault("whoami"), "libhandler_v1.so").start();
    let this = u64::from(std::process::id());
    let start = wait_line(&host, 0, "start", "started");
    assert_eq!(text(&start, "source"), "host");

    // The switch of /readyz.
    let switch = |on| host.control().post_json("/v1/lame-duck", &json!({ "on": on }));
    switch(true).assert_status(200);
    let on = wait_line(&host, id(&start), "lame_duck", "on");
    assert_eq!(text(&on, "source"), "control");
    switch(false).assert_status(200);
    switch(false).assert_status(200);
    let off = wait_line(&host, id(&on), "lame_duck", "off");

    // An upgrade that is refused, and one that is taken back.
    host.upgrade(&["--binary", "./nobody", "--wait"]).assert_code(3);
    let refused = wait_line(&host, id(&off), "upgrade", "preflight");
    assert_eq!(text(&refused, "source"), "control");
    assert_eq!(id(&refused), id(&off) + 1, "what was off already is not switched off");
    host.home().write("bad.toml", b"nonsense = 1");
    host.upgrade(&["--config", "./bad.toml", "--wait"]).assert_code(3);
    let begun = wait_line(&host, id(&refused), "upgrade", "begun");
    assert_eq!(text(&begun, "source"), "control");
    let refused = wait_line(&host, id(&begun), "upgrade", "preflight");
    host.hup();
    let candidate = host.wait_role("soaking").pid;
    let begun = wait_line(&host, id(&refused), "upgrade", "begun");
    assert_eq!((text(&begun, "source"), begun["pid"].as_u64()), ("signal".to_owned(), Some(this)));
    assert_eq!(begun["uid"].as_u64(), Some(u64::from(getuid().as_raw())));
    host.signal_process(candidate, Signal::KILL);
    let back = wait_line(&host, id(&begun), "upgrade", "rolled_back");
    let ended = wait_line(&host, id(&begun), "worker", "ended");
    assert!(text(&ended, "text").contains(&format!("(pid {candidate})")), "{ended}");

    // A worker that is killed.
    let worker = host.worker_pid();
    host.signal_process(worker, Signal::KILL);
    host.wait_gone(worker);
    let killed = wait_line(&host, id(&back).max(id(&ended)), "worker", "ended");
    assert!(text(&killed, "text").contains("SIGKILL"), "{killed}");
    assert_eq!(text(&killed, "source"), "crash");
    // Nobody would write down what the master tells while it comes up.
    crate::crash::next_worker(&host, worker);

    // A stop, which the next host shows.
    host.restart();
    let stop = wait_line(&host, id(&killed), "stop", "stopping");
    assert_eq!((text(&stop, "source"), stop["pid"].as_u64()), ("signal".to_owned(), Some(this)));
    let start = wait_line(&host, id(&stop), "start", "started");
    assert_eq!(id(&start), id(&stop) + 1);
    let control = host.ready().control.to_string();
    let output = host.command().args(["history", "--control", &control]).output().unwrap();
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(page.contains(&format!("signal (pid {this}, uid ")), "{page}");
}

/// An upgrade that is kept, with the master going over too; whoever listens hears of it.
#[test]
fn a_kept_upgrade_stands_there() {
    let builder = host!().arg("--soak-time=50ms").arg("--idle-linger=100ms");
    let host = builder.with(fault("whoami"), "libhandler_v1.so").start();
    let mut events = host.control().events_after(0);
    host.upgrade(&["--wait"]).assert_code(0);
    let committed = wait_line(&host, 0, "upgrade", "committed");
    assert!(text(&committed, "text").contains("worker 2"), "{committed}");
    events.wait_for(|event| event.phase == "upgrade" && event.detail.starts_with("begun: "));
}

/// Over a Unix socket the kernel tells who asks.
#[test]
fn who_asks_over_a_unix_socket_is_known() {
    let builder = host!();
    let path = builder.home().path().join("control.sock");
    let host = builder.arg("--control").arg(format!("unix:{}", path.display())).start();
    host.home().place(&fault("plain_v1"), "libhandler_v1.so");
    let mut stream = UnixStream::connect(&path).unwrap();
    let body = "./libhandler_v1.so";
    let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let line = wait_line(&host, 0, "deploy", "swapped");
    let by = [&line["pid"], &line["uid"]].map(Value::as_u64);
    assert_eq!(by, [std::process::id(), getuid().as_raw()].map(|it| Some(u64::from(it))));
    assert_eq!(text(&line, "subject"), body);
}

/// Behind what is in memory the pages go on from the disk, to the first line.
#[test]
fn the_history_is_read_to_its_begin() {
    let builder = host!().arg("--history-memory-count=3");
    let host = builder.with(fault("plain_v1"), "libhandler_v1.so").start();
    for _ in 0..10 {
        host.control().deploy("./nobody.so").refused();
    }
    let (mut before, mut seen) = (None, Vec::new());
    loop {
        let query = before.map_or_else(String::new, |before| format!("&before={before}"));
        let page = host.control().get_json(&format!("/v1/history?limit=4{query}"));
        let page: Vec<u64> = wire::list(&page, "/history").iter().map(id).collect();
        let Some(last) = page.last() else { break };
        before = Some(*last);
        seen.extend(page);
    }
    assert!(seen.len() >= 11, "{seen:?}");
    assert_eq!(seen, (1..=seen[0]).rev().collect::<Vec<_>>(), "each once, newest first");
}

/// Whoever reads what is old may wait for the disk for ever: nobody else waits for that, neither with
/// another question nor with an order.
#[test]
fn a_disk_that_does_not_answer_holds_up_nobody_else() {
    let builder = host!().arg("--history-memory-count=3");
    let host = builder.with(fault("plain_v1"), "libhandler_v1.so").start();
    for _ in 0..4 {
        host.control().deploy("./nobody.so").refused();
    }
    let pipe = host.state_file("history.1.jsonl");
    mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
    let mut waits = host.control().connect();
    waits.send_request("GET", "/v1/history?limit=50", "").unwrap();
    // Whoever opens a pipe to write to it is refused until somebody reads it.
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut writer = None;
    eventually!(
        {
            writer = rustix::fs::open(&pipe, flags, Mode::empty()).ok();
            writer.is_some()
        },
        "somebody reads the history"
    );
    let control = host.control();
    assert!(wire::list(&control.status(), "/plugins").len() == 1);
    control.get("/v1/history?limit=3").assert_status(200);
    control.get("/v1/deploys/999").assert_status(404);
    control.deploy("./nobody.so").refused();
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    host.upgrade(&["--binary", "./nobody", "--wait"]).assert_code(3);
    control.post_json("/v1/lame-duck", &json!({ "on": true })).assert_status(200);
    std::fs::remove_file(&pipe).unwrap();
    drop(writer);
    let page = waits.read_answer().unwrap();
    page.assert_status(200).assert_contains("file_missing");
    wait_line(&host, 0, "upgrade", "preflight");
    wait_line(&host, 0, "lame_duck", "on");
}

/// A host in one process writes the same lines.
#[test]
fn a_single_process_writes_its_start_and_its_end() {
    let mut host = host!().arg("--single").with(fault("plain_v1"), "libhandler_v1.so").start();
    let start = wait_line(&host, 0, "start", "started");
    host.control().post_json("/v1/lame-duck", &json!({ "on": true })).assert_status(200);
    let on = wait_line(&host, id(&start), "lame_duck", "on");
    host.restart();
    let stop = wait_line(&host, id(&on), "stop", "stopping");
    wait_line(&host, id(&stop), "start", "started");
}

/// An upgrade that is still watched when the host stops: the worker that stays writes how it ended.
#[test]
fn the_end_of_an_upgrade_that_a_stop_cuts_short() {
    let builder = host!().arg("--soak-time=30min").arg("--idle-linger=100ms");
    let mut host = builder.with(fault("whoami"), "libhandler_v1.so").start();
    host.hup();
    host.wait_role("soaking");
    assert!(host.stop().success(), "{}", host.log_end());
    let lines = std::fs::read_to_string(host.state_file("history.jsonl")).unwrap();
    let told = |verb: &str, outcome: &str| {
        let lines = lines.lines().map(|it| serde_json::from_str::<Value>(it).unwrap());
        let mut lines = lines.into_iter();
        lines.any(|it| (&*text(&it, "verb"), &*text(&it, "outcome")) == (verb, outcome))
    };
    assert!(told("stop", "stopping"), "{lines}");
    assert!(told("upgrade", "refused"), "{lines}");
}
