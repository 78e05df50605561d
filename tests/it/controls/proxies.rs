//! The proxies that are put before hosts, with the recommended configurations.

use hotseat_test_support::{
    Failure, Host, Load, LoadPlan, fault, host,
    proxy::{Backend, Haproxy, Nginx},
    server::{Manner, Server},
};

/// Three good servers, which also answer health checks.
fn servers() -> [Server; 3] {
    std::array::from_fn(|_| Server::start(Manner::Good))
}

fn backends(servers: &[Server; 3]) -> [Backend; 3] {
    servers.each_ref().map(|it| Backend { data: it.address(), health: it.address() })
}

fn plan() -> LoadPlan {
    LoadPlan { kept: 20, ..LoadPlan::default() }
}

/// HAProxy passes requests on, and sees one that does not listen any more.
#[test]
fn haproxy_stands_before_three() {
    let servers = servers();
    let Some(proxy) = Haproxy::start(&backends(&servers)) else { return };
    let watch = proxy.watch();
    let load = Load::start(proxy.address(), plan());
    load.wait_for(300);
    load.stop().assert_clean().assert_kept();
    let [one, ..] = servers;
    one.close();
    proxy.wait_state("one", "DOWN");
    assert_eq!(proxy.states()["two"], "UP");
    assert!(watch.saw("one", "UP") && !watch.saw("two", "DOWN") && !watch.saw("one", "NOLB"));
}

/// A host that answers health checks with 404 gets no more requests, and loses none.
#[test]
fn haproxy_understands_lame_ducks() {
    let (servers, health) = (servers(), servers());
    let pairs = std::array::from_fn(|at| {
        let (data, health) = (servers[at].address(), health[at].address());
        Backend { data, health }
    });
    let Some(proxy) = Haproxy::start(&pairs) else { return };
    let watch = proxy.watch();
    let load = Load::start(proxy.address(), plan());
    for _ in 0..2 {
        load.wait_for(100);
        health[0].change(Manner::Lame);
        proxy.wait_state("one", "NOLB");
        load.wait_for(100);
        health[0].change(Manner::Good);
        proxy.wait_state("one", "UP");
    }
    load.stop().assert_clean().assert_kept();
    assert!(watch.saw("one", "NOLB") && !watch.saw("one", "DOWN") && !watch.saw("two", "NOLB"));
}

/// Real hosts are found ready, and answer.
#[test]
fn haproxy_finds_hosts_ready() {
    let hosts: [Host; 3] =
        std::array::from_fn(|_| host!().with(fault("whoami"), "libhandler_v1.so").start());
    let backends = hosts.each_ref().map(Backend::of);
    let Some(proxy) = Haproxy::start(&backends) else { return };
    let load = Load::start(proxy.address(), plan());
    load.wait_for(300);
    let report = load.stop();
    report.assert_clean().assert_kept();
    assert_eq!(report.pids(), hosts.iter().map(Host::worker_pid).collect());
}

/// nginx passes requests on.
#[test]
fn nginx_stands_before_three() {
    let servers = servers();
    let Some(proxy) = Nginx::start(&backends(&servers)) else { return };
    let load = Load::start(proxy.address(), plan());
    load.wait_for(300);
    load.stop().assert_clean().assert_kept();
}

/// A proxy hides no mistake of a host from the load.
#[test]
fn a_proxy_hides_no_failure() {
    let servers: [Server; 3] = std::array::from_fn(|_| Server::start(Manner::Fails));
    let Some(proxy) = Nginx::start(&backends(&servers)) else { return };
    let load = Load::start(proxy.address(), plan());
    load.wait_for(100);
    hotseat_test_support::eventually!(load.so_far().count(Failure::Status) > 0, "bad answers");
    let report = load.stop();
    report.assert_only(&[Failure::Status]);
}
