//! Several workers, at one time or one after another.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use hotseat_test_support::{Connection, Host, eventually, wire};
use rustix::process::Signal;

use super::{ask_on, builder, count, set};

/// A request whose body is still to come, in the worker that has it.
struct Held(Connection);

impl Held {
    #[track_caller]
    fn start(address: SocketAddr) -> Self {
        let mut connection = Connection::open(address).unwrap();
        let headers = "Content-Length: 4\r\nExpect: 100-continue\r\n";
        connection.send_request("POST", "/count/visits", headers).unwrap();
        assert_eq!(connection.read_line().unwrap(), "HTTP/1.1 100 Continue");
        assert_eq!(connection.read_line().unwrap(), "");
        Self(connection)
    }

    /// Who has counted, and up to which number.
    #[track_caller]
    fn finish(mut self) -> (u32, u64) {
        self.0.send("body").unwrap();
        let answer = self.0.read_answer().unwrap();
        answer.assert_status(200);
        (answer.header("x-pid").unwrap().parse().unwrap(), answer.text().parse().unwrap())
    }
}

/// The old worker drains and counts, the new one serves and counts, at the same time: no number
/// comes twice, and none is left out.
#[test]
fn two_workers_count_together() {
    let builder = builder().arg("--soak-time=100ms").arg("--idle-linger=200ms");
    let host = builder.start();
    let mut counted = 0;
    for round in 0..3 {
        let old = host.worker_pid();
        let held: Vec<_> = (0..20).map(|_| Held::start(host.data())).collect();
        let traffic = host.traffic("/count/visits");
        traffic.wait_for(50);
        host.upgrade(&["--wait"]).assert_code(0);
        assert_ne!(host.worker_pid(), old);
        let mut numbers: Vec<u64> = Vec::new();
        for held in held {
            traffic.wait_for(3);
            let (pid, number) = held.finish();
            assert_eq!(pid, old, "it ends where it began");
            numbers.push(number);
        }
        traffic.wait_for(50);
        let bodies = traffic.finish();
        assert!(bodies.values().all(|times| *times == 1), "round {round}: {bodies:?}");
        numbers.extend(bodies.keys().map(|text| text.parse::<u64>().unwrap()));
        numbers.sort_unstable();
        let wanted: Vec<_> = (counted + 1..=counted + numbers.len() as u64).collect();
        assert_eq!(numbers, wanted, "round {round}");
        counted += numbers.len() as u64;
    }
    assert_eq!(count(&host), counted + 1);
}

/// Counts as long as `ends` is not set; how often that was acknowledged, and how often it is not
/// known.
fn hammer(address: SocketAddr, ends: &AtomicBool, acknowledged: &AtomicU64) -> u64 {
    let mut lost = 0;
    let mut connection = Connection::open(address).unwrap();
    while !ends.load(Ordering::Relaxed) {
        let sent = connection.get("/count/visits");
        match sent {
            Ok(answer) => {
                answer.assert_status(200);
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {
                lost += 1;
                connection = Connection::open(address).unwrap();
            }
        }
    }
    lost
}

#[track_caller]
fn kill_worker(host: &Host) {
    let worker = host.worker_pid();
    host.signal_process(worker, Signal::KILL);
    host.wait_other_worker(worker);
}

/// Workers are killed while they count: what was acknowledged is there, and nobody waits for the
/// dead.
#[test]
fn what_was_acknowledged_outlives_kill_9() {
    let host = builder().start();
    let large = "0123456789".repeat(10_000);
    set(&host, "large", &large);
    let (ends, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let lost: u64 = std::thread::scope(|scope| {
        let one = || scope.spawn(|| hammer(host.data(), &ends, &acknowledged));
        let threads = [one(), one(), one(), one()];
        for _ in 0..8 {
            let goal = acknowledged.load(Ordering::Relaxed) + 30;
            eventually!(acknowledged.load(Ordering::Relaxed) >= goal, "more counts");
            kill_worker(&host);
        }
        ends.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let (last, acknowledged) = (count(&host) - 1, acknowledged.into_inner());
    let range = acknowledged..=acknowledged + lost;
    assert!(range.contains(&last), "{last} of {acknowledged}, {lost} not known");
    host.get("/large").assert_contains(&large);
    let kept = wire::list(&host.status(), "/cells");
    let bytes = large.len() + "large".len() + "visits".len() + last.to_string().len();
    let ours = (wire::number(&kept[0], "/count"), wire::number(&kept[0], "/bytes"));
    // The number has grown by one digit at most.
    assert!(ours.0 == 2 && (bytes as u64..=bytes as u64 + 1).contains(&ours.1), "{kept:?}");
}

/// One that was stopped, as by a debugger, keeps nobody waiting: the lock is not held meanwhile, but
/// for a moment that no test can hit at will.
#[test]
fn a_worker_that_stands_still_holds_nobody_up() {
    let builder = builder().arg("--soak-time=100ms").arg("--idle-linger=200ms");
    let host = builder.start();
    let held = Held::start(host.data());
    let old = host.worker_pid();
    host.upgrade(&["--wait"]).assert_code(0);
    host.signal_process(old, Signal::STOP);
    let mut connection = host.connect();
    for _ in 0..20 {
        ask_on(&mut connection, "POST", "/count/visits", "").assert_status(200);
    }
    host.signal_process(old, Signal::CONT);
    assert_eq!(held.finish(), (old, 21));
}
