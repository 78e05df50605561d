//! The end of the listeners: whoever has connected is answered, whoever comes later is refused.

use hotseat_test_support::{Failure, Idle, Load, LoadPlan};

use super::*;

/// How often each of two hosts is stopped.
const ROUNDS: usize = 5;

/// Twenty clients connect as fast as they can while the host stops, so that its queue is full of
/// them; a plain close would reset those (`controls::a_plain_close_resets_connections`). A client
/// has connected before it sends: for that long, however busy its machine is, the host waits.
fn stop_under_load() {
    let builder = host!().arg("--idle-linger=1s").with(fault("whoami"), "libhandler_v1.so");
    let mut host = builder.start();
    for round in 0..ROUNDS {
        let think = Duration::ZERO..=Duration::ZERO;
        let idle = Idle::Watched;
        let plan = LoadPlan { kept: 0, fresh: 20, think, idle, ..LoadPlan::default() };
        let load = Load::start(host.data(), plan);
        load.wait_for(100);
        assert_eq!(host.stop().code(), Some(0), "{}", host.log_end());
        eventually!(load.so_far().count(Failure::Refused) > 0, "refusals");
        let report = load.stop();
        println!("round {round}: {report}");
        report.assert_only(&[Failure::Refused]);
        host.start_again();
    }
}

/// Ten times. Most of it is waiting, so two hosts do it side by side.
#[test]
fn a_stop_answers_whoever_has_connected() {
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(stop_under_load);
        }
    });
}
