//! Negative controls: what the host must not do, done by others, is seen to fail under the very
//! load that finds no fault with the host.
//!
//! Owns nothing of the host. A control repeats its round until the failure was seen, because each
//! round only makes it likely; the bound on rounds is far beyond what was ever needed.

use std::{net::SocketAddr, time::Duration};

use hotseat_test_support::{
    Failure, Idle, Load, LoadPlan, Report,
    server::{Manner, Server, reuseport},
};

mod binaries;
mod clients;
mod graceful;
mod proxies;
mod surroundings;

/// Rounds of a control. One is nearly always enough.
const ROUNDS_MAX: usize = 100;

/// Repeats `round` until `seen` holds for what it gave.
#[track_caller]
fn until_seen(text: &str, mut round: impl FnMut() -> Report, seen: impl Fn(&Report) -> bool) {
    for number in 1..=ROUNDS_MAX {
        let report = round();
        assert!(report.answered > 0, "the load ran\n{report}");
        if seen(&report) {
            println!("{text}: round {number}: {report}");
            return;
        }
    }
    panic!("{text}: not seen in {ROUNDS_MAX} rounds; the load does not find what it must find");
}

/// New connections all the time, and some that are kept.
pub(crate) fn connecting(address: SocketAddr) -> Load {
    let think = Duration::ZERO..=Duration::from_millis(2);
    let plan = LoadPlan { kept: 10, fresh: 40, think, idle: Idle::Watched, ..LoadPlan::default() };
    Load::start(address, plan)
}

/// Binding the port once more with `SO_REUSEPORT` for each generation: what waits in the queue of
/// the socket that is closed is reset, although the other one listens.
#[test]
fn rebinding_with_reuseport_resets_connections() {
    let hand_over = || {
        let mut server = Server::on(reuseport(0).unwrap(), Manner::Good);
        let address = server.address();
        let load = connecting(address);
        for _ in 0..10 {
            let next = Server::on(reuseport(address.port()).unwrap(), Manner::Good);
            load.wait_for(100);
            std::mem::replace(&mut server, next).close();
        }
        load.wait_for(100);
        load.stop()
    };
    let resets = |report: &Report| report.count(Failure::Reset) > 0;
    until_seen("SO_REUSEPORT, 10 hand-overs", hand_over, resets);
}

/// The control's control: generations that share one socket, closed just as plainly, fail nobody.
#[test]
fn sharing_one_socket_resets_none() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let share = || Server::on(listener.try_clone().unwrap(), Manner::Good);
    let mut server = share();
    let load = connecting(server.address());
    for _ in 0..10 {
        let next = share();
        load.wait_for(100);
        std::mem::replace(&mut server, next).close();
    }
    load.wait_for(100);
    load.stop().assert_clean().assert_kept();
}

/// Closing a listener that is still in rotation: completed handshakes in its queue are reset.
#[test]
fn a_plain_close_resets_connections() {
    let close = || {
        let server = Server::start(Manner::Good);
        let load = connecting(server.address());
        load.wait_for(200);
        server.close();
        // Whoever comes from now on is refused, which shows that the close is over.
        hotseat_test_support::eventually!(load.so_far().count(Failure::Refused) > 0, "refusals");
        load.stop()
    };
    let resets = |report: &Report| report.count(Failure::Reset) > 0;
    until_seen("a plain close", close, resets);
}
