//! A master of one release leads workers of the other, for as long as it is told to stay what it
//! is: everything that the two say to each other is understood.

use hotseat_test_support::{
    Connection, Host, Release,
    binary::{self, Fault},
    eventually, wire,
};
use rustix::process::Signal;

use super::{assert_label, assert_run, go_over, pairs, replaceable};
use crate::crash::{next_worker, try_get, try_status, warning};

#[track_caller]
fn run(host: &Host, args: &[&str]) {
    let control = host.control().address.to_string();
    let output = host.command().args(args).args(["--control", &control]).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}\n{}", host.log_end());
}

/// Orders of the control plane, and the switch that the master keeps.
#[track_caller]
fn check_orders(host: &Host, made_by: &Release) {
    host.deploy(&made_by.fault("whoami"), "libhandler_v2.so").swapped();
    host.deploy_bytes(b"no library", "libhandler_v3.so").refused();
    host.deploy(&made_by.plugin("echo_v1"), "libecho_v1.so").swapped();
    host.control().unload("echo").assert_status(200);
    host.control().rollback(Some("handler"), None).swapped();
    assert_label(&host.get("/"), "1");
    host.control().rollback(Some("handler"), Some(2)).swapped();
    for (word, status) in [("on", 503), ("off", 200)] {
        run(host, &["lame-duck", word]);
        eventually!(host.control().get("/readyz").status == status, "{word}: {status}");
    }
    host.signal(Signal::USR1);
}

/// The end of a worker by somebody else, and by a plugin, which is withdrawn.
#[track_caller]
fn check_ends(host: &Host, made_by: &Release) {
    let (serves, before) = (host.active("handler"), host.worker_pid());
    host.signal_process(before, Signal::KILL);
    let before = next_worker(host, before);
    assert_eq!(host.active("handler"), serves);
    host.deploy(&made_by.fault("crash"), "libhandler_v4.so").swapped();
    assert!(try_get(host, "/crash?how=abort").is_none());
    next_worker(host, before);
    assert_withdrawn(host, "v4");
}

#[track_caller]
fn assert_withdrawn(host: &Host, label: &str) {
    let told = || {
        try_status(host).is_some_and(|status| {
            warning(&status, "handler").contains(&format!("({label}) was withdrawn"))
        })
    };
    eventually!(told(), "the withdrawal of {label}\n{}", host.log_end());
    assert_label(&host.get("/"), "2");
}

/// Data threads stand still: the worker is replaced, and the version is withdrawn.
#[track_caller]
fn check_stuck(host: &Host, made_by: &Release) {
    host.deploy(&made_by.fault("stands_still"), "libhandler_v5.so").swapped();
    let before = host.worker_pid();
    let mut lost: Vec<Connection> = Vec::new();
    for _ in 0..2 {
        let mut connection = host.connect();
        connection.send_request("GET", "/loop", "").unwrap();
        lost.push(connection);
    }
    next_worker(host, before);
    assert_withdrawn(host, "v5");
}

/// Further upgrades: to the same, and to something that does not come up.
#[track_caller]
fn check_upgrades(host: &Host, worker: &Release) {
    let path = host.home().path().join("bad");
    binary::faulty(&worker.binary, &path, Fault::Exits);
    host.upgrade(&["--wait", "--binary", path.to_str().unwrap()]).assert_code(4);
    let before = host.worker_pid();
    go_over(host, worker);
    assert_ne!(host.worker_pid(), before);
    // Whoever asked is answered by the worker before; the one that serves hears of it by itself.
    let verdict = || try_status(host).map(|status| status["upgrade"]["verdict"].clone());
    eventually!(verdict().is_some_and(|it| it == "committed"), "{}", host.status());
    assert_eq!(wire::list(&host.status(), "/listen").len(), 1);
}

#[test]
fn a_master_leads_workers_of_the_other_release() {
    for [first, second] in pairs() {
        let args = ["--master-reexec=never", "--crash-count=1", "--crash-window=5min"];
        let times = ["--threads=2", "--stuck-time=2s", "--beat-time=100ms"];
        let builder =
            args.iter().chain(&times).fold(replaceable(&first, "100ms"), |it, arg| it.arg(*arg));
        let mut host = builder.with(first.fault("whoami"), "libhandler_v1.so").start();
        go_over(&host, &second);
        assert_run(&host, &first, &second);
        check_orders(&host, &second);
        check_ends(&host, &first);
        check_upgrades(&host, &second);
        check_stuck(&host, &second);
        assert_run(&host, &first, &second);
        assert_eq!(host.stop().code(), Some(0), "{}", host.log_end());
    }
}
