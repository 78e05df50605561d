//! Workers that are killed under load: nobody is refused, and only what was in flight is lost.

use std::time::{Duration, Instant};

use hotseat_test_support::{Connection, Failure, Host, Idle, Load, LoadPlan, fault, host};
use rustix::process::Signal;

use super::next_worker;

const KEPT: usize = 8;
const FRESH: usize = 4;

fn plan() -> LoadPlan {
    let think = Duration::ZERO..=Duration::from_millis(20);
    LoadPlan { kept: KEPT, fresh: FRESH, think, idle: Idle::Watched, ..LoadPlan::default() }
}

/// How long it takes until somebody answers after the worker was killed.
#[track_caller]
fn kill(host: &Host, worker: u32) -> Duration {
    host.signal_process(worker, Signal::KILL);
    let killed = Instant::now();
    loop {
        // Never refused: a connection waits until it is answered, or was lost with the worker.
        let mut connection = Connection::open(host.data()).expect("connect");
        match connection.get("/") {
            Ok(answer) if answer.header("x-pid") != Some(&worker.to_string()) => {
                answer.assert_status(200);
                return killed.elapsed();
            }
            _ => {}
        }
    }
}

/// `HOTSEAT_SLOW=1`: a hundred times.
#[test]
fn many_kills_under_load() {
    let slow = std::env::var_os("HOTSEAT_SLOW").is_some_and(|it| it == "1");
    let kills = if slow { 100 } else { 20 };
    let host = host!()
        .with(fault("whoami"), "libhandler_v1.so")
        .with(fault("reflect"), "libreflect_v1.so")
        .start();
    host.deploy_bytes(&super::other("whoami", 2), "libhandler_v2.so").swapped();
    let generations = [host.active("handler"), host.active("reflect")];
    let load = Load::start(host.data(), plan());
    let mut took = Vec::new();
    let mut worker = host.worker_pid();
    for _ in 0..kills {
        load.wait_for(20);
        took.push(kill(&host, worker));
        worker = next_worker(&host, worker);
    }
    load.wait_for(20);
    let report = load.stop();
    took.sort();
    eprintln!("answers again after {:?} (median), {:?} at most", took[kills / 2], took[kills - 1]);
    // Neither refused nor without an answer for long.
    report.assert_only(&[Failure::Reset, Failure::Closed, Failure::Short]);
    let most = u64::try_from(kills * (KEPT + FRESH)).unwrap();
    assert!(report.failed() <= most, "more than was in flight\n{report}");
    assert_eq!([host.active("handler"), host.active("reflect")], generations);
    let crashes = u32::try_from(kills).map(f64::from).unwrap();
    assert_eq!(super::metric(&host, "hotseat_worker_crashes_total"), crashes);
    assert!(host.home().read_log().matches("withdrawn").next().is_none());
}
