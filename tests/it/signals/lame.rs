//! The lame duck: it serves everything, and asks load balancers for no more.

use hotseat_test_support::{
    Load, LoadPlan,
    proxy::{Backend, Haproxy},
};

use super::*;

fn lame_duck(host: &Host, switch: &str) {
    let control = host.control().address.to_string();
    let args = ["lame-duck", switch, "--wait", "--control", control.as_str()];
    let output = host!().at(host.home()).run(&args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// On and off again: only `/readyz` changes; nobody is sent away, and a worker that takes over
/// meanwhile is a lame duck as well.
#[test]
fn a_lame_duck_closes_nothing() {
    let host = quick(host!()).with(fault("whoami"), "libhandler_v1.so").start();
    let load = Load::start(host.data(), LoadPlan { kept: 20, ..LoadPlan::default() });
    let mut idle = host.connect();
    idle.get("/").unwrap().assert_status(200);
    load.wait_for(100);
    lame_duck(&host, "on");
    host.control().get("/readyz").assert_status(503);
    host.control().get("/livez").assert_status(200);
    let answer = idle.get("/").unwrap();
    assert_eq!(answer.assert_status(200).header("connection"), None);
    host.get("/").assert_status(200);
    load.wait_for(100);
    let before = host.worker_pid();
    host.upgrade(&["--wait"]).assert_code(0);
    assert_ne!(host.worker_pid(), before);
    host.control().get("/readyz").assert_status(503);
    load.wait_for(100);
    lame_duck(&host, "off");
    host.control().get("/readyz").assert_status(200);
    load.wait_for(100);
    idle.get("/").unwrap().assert_status(200);
    load.stop().assert_clean().assert_kept();
}

/// HAProxy sends a lame duck nobody new, takes nobody from it, and comes back.
#[test]
fn haproxy_comes_back_to_a_lame_duck() {
    let hosts: [Host; 3] = std::array::from_fn(|_| {
        host!().arg("--lame-status=404").with(fault("whoami"), "libhandler_v1.so").start()
    });
    let backends = hosts.each_ref().map(Backend::of);
    let Some(proxy) = Haproxy::start(&backends) else { return };
    let watch = proxy.watch();
    let load = Load::start(proxy.address(), LoadPlan { kept: 20, ..LoadPlan::default() });
    load.wait_for(100);
    lame_duck(&hosts[0], "on");
    proxy.wait_state("one", "NOLB");
    load.wait_for(100);
    lame_duck(&hosts[0], "off");
    proxy.wait_state("one", "UP");
    let pid = hosts[0].worker_pid();
    // What was answered until now is left behind: a new load meets it again.
    load.stop().assert_clean().assert_kept();
    let load = Load::start(proxy.address(), LoadPlan { kept: 20, ..LoadPlan::default() });
    eventually!(load.so_far().answered > 200, "answers");
    let report = load.stop();
    report.assert_clean().assert_kept();
    assert!(report.pids().contains(&pid), "it is asked again: {:?}", report.pids());
    assert!(!watch.saw("one", "DOWN") && !watch.saw("two", "NOLB"));
}
