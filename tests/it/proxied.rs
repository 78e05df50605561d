//! Hosts behind real proxies, with the files that `packaging/` recommends: one host after the other
//! is stopped and started, and no client notices. Each has a control that is seen to fail.
//!
//! Proxies keep idle connections shorter here than recommended, and hosts wait for them as much
//! shorter: what counts is which of the two is longer.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use hotseat_test_support::{
    Builder, Host, Load, LoadPlan, Report, eventually, fault, host,
    proxy::{Backend, Haproxy, Nginx},
};

/// How often each host is restarted.
const ROUNDS: usize = 2;
/// With `HOTSEAT_SLOW=1`.
const SLOW_ROUNDS: usize = 5;

fn rounds() -> usize {
    if std::env::var_os("HOTSEAT_SLOW").is_some_and(|it| it == "1") { SLOW_ROUNDS } else { ROUNDS }
}

/// The names of the hosts in HAProxy's file.
const NAMES: [&str; 3] = ["one", "two", "three"];

/// An address that is ours alone, also while nobody listens there: no client's own port can be on
/// it, because those are on 127.0.0.1.
fn own_address() -> SocketAddr {
    static PORT: AtomicU16 = AtomicU16::new(8000);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let port = PORT.fetch_add(1, Ordering::SeqCst);
    SocketAddr::from(([127, 64 | (high & 63), middle, low], port))
}

/// Three hosts that keep their addresses over restarts.
fn hosts(args: &[&str]) -> ([Host; 3], [Backend; 3]) {
    let backends: [Backend; 3] =
        std::array::from_fn(|_| Backend { data: own_address(), health: own_address() });
    let hosts = backends.map(|backend| {
        let builder = host!().listen(&[&backend.data.to_string()]);
        let builder = builder.arg(format!("--health-listen={}", backend.health));
        let builder = args.iter().fold(builder, |builder, arg| builder.arg(*arg));
        Builder::with(builder, fault("whoami"), "libhandler_v1.so").start()
    });
    (hosts, backends)
}

/// Quick requests all the time, and slow ones, of which some are always in flight.
struct Loads([Load; 2]);

impl Loads {
    fn start(address: SocketAddr) -> Self {
        let quick = LoadPlan { kept: 20, ..LoadPlan::default() };
        let (get, post) = ("/?sleep=0.3".to_owned(), "/?sleep=0.4".to_owned());
        let think = Duration::ZERO..=Duration::from_millis(20);
        let slow = LoadPlan { kept: 10, get, post, think, ..LoadPlan::default() };
        Self([quick, slow].map(|plan| Load::start(address, plan)))
    }

    fn wait(&self) {
        let [quick, slow] = &self.0;
        quick.wait_for(50);
        slow.wait_for(10);
    }

    /// Waits until a process answers through the proxy.
    fn wait_answer_of(&self, pid: u32) {
        eventually!(self.0[0].so_far().pids().contains(&pid), "an answer of {pid}");
    }

    fn stop(self) -> [Report; 2] {
        self.0.map(Load::stop)
    }
}

/// Stops and starts each host in turn; the next one only when the one before is back in use.
fn roll(hosts: &mut [Host], loads: &Loads, back: impl Fn(usize)) {
    for (at, host) in hosts.iter_mut().enumerate() {
        loads.wait();
        assert_eq!(host.stop().code(), Some(0), "{}", host.log_end());
        loads.wait();
        host.start_again();
        back(at);
        // A trail is noted when its connection ends; fresh clients end theirs at once.
        loads.wait_answer_of(host.worker_pid());
    }
}

/// Behind nginx, which has no health checks: a host lets the clients go by its answers, waits longer
/// than nginx keeps a connection idle, and only then refuses, on which nginx goes elsewhere.
#[test]
fn nothing_fails_behind_nginx() {
    let (mut hosts, backends) = hosts(&["--idle-linger=600ms"]);
    let Some(proxy) = Nginx::start(&backends) else { return };
    let loads = Loads::start(proxy.address());
    for _ in 0..rounds() {
        roll(&mut hosts, &loads, |_| ());
    }
    loads.wait();
    for report in loads.stop() {
        report.assert_clean().assert_kept();
    }
}

/// The control: a host that does not wait fails requests behind nginx.
#[test]
fn a_hasty_stop_fails_behind_nginx() {
    let (mut hosts, backends) = hosts(&["--idle-linger=0s", "--stop-time=50ms"]);
    let Some(proxy) = Nginx::start(&backends) else { return };
    until_seen(&mut hosts, proxy.address(), |_| ());
}

/// Behind HAProxy: a host is a lame duck first, which HAProxy sees, and gets nothing new.
#[test]
fn nothing_fails_behind_haproxy() {
    let args = ["--lame-duck=1s", "--lame-status=404", "--idle-linger=600ms"];
    let (mut hosts, backends) = hosts(&args);
    let Some(proxy) = Haproxy::start(&backends) else { return };
    let watch = proxy.watch();
    let loads = Loads::start(proxy.address());
    for _ in 0..rounds() {
        roll(&mut hosts, &loads, |at| proxy.wait_state(NAMES[at], "UP"));
    }
    loads.wait();
    for report in loads.stop() {
        report.assert_clean().assert_kept();
    }
    for name in NAMES {
        assert!(watch.saw(name, "NOLB"), "{name} was seen as a lame duck");
    }
}

/// The lame duck alone makes the difference: a stop that has no time for what is in flight fails
/// nobody behind HAProxy with it, and somebody without.
#[test]
fn a_stop_without_a_lame_duck_fails_behind_haproxy() {
    let common = ["--lame-status=404", "--idle-linger=0s", "--stop-time=50ms"];
    for lame in [true, false] {
        let mut args = common.to_vec();
        if lame {
            args.push("--lame-duck=2s");
        }
        let (mut hosts, backends) = hosts(&args);
        let Some(proxy) = Haproxy::start(&backends) else { return };
        let back = |at: usize| proxy.wait_state(NAMES[at], "UP");
        if lame {
            let loads = Loads::start(proxy.address());
            roll(&mut hosts[..1], &loads, back);
            for report in loads.stop() {
                report.assert_clean();
            }
        } else {
            until_seen(&mut hosts, proxy.address(), back);
        }
    }
}

/// Rounds of a control; the first one does nearly always.
const CONTROL_ROUNDS: usize = 10;

/// Rolls until a request has failed.
#[track_caller]
fn until_seen(hosts: &mut [Host; 3], proxy: SocketAddr, back: impl Fn(usize)) {
    for round in 1..=CONTROL_ROUNDS {
        let loads = Loads::start(proxy);
        let [host, ..] = &mut *hosts;
        loads.wait();
        host.stop();
        loads.wait();
        host.start_again();
        back(0);
        let reports = loads.stop();
        let failed: u64 = reports.iter().map(Report::failed).sum();
        println!("round {round}: {failed} failed\n{}\n{}", reports[0], reports[1]);
        if failed > 0 {
            return;
        }
    }
    panic!("no request has failed; the load does not find what it must find");
}
