//! Workers that drain for long are allowed, up to a number.

use hotseat_test_support::stream::Socket;
use rustix::process::Signal;

use super::builder;

/// With the limit reached an upgrade is refused and says who is in the way; USR2 makes room.
#[test]
fn too_many_draining_workers_hold_upgrades_up() {
    let host = builder().arg("--draining-count=2").arg("--upgrade-drain=10min").start();
    let mut sockets = Vec::new();
    let mut draining = Vec::new();
    for _ in 0..2 {
        let mut socket = Socket::open(host.data(), "/ws").unwrap();
        draining.push(socket.who().unwrap());
        sockets.push(socket);
        host.upgrade(&["--wait"]).assert_code(0);
    }
    let refused = host.upgrade(&["--wait"]);
    refused.assert_code(7).assert_says("2 workers are draining").assert_says("USR2");
    for pid in &draining {
        refused.assert_says(&format!("pid {pid} ("));
    }
    for (socket, pid) in sockets.iter_mut().zip(&draining) {
        assert_eq!(socket.who().unwrap(), *pid, "it is still served");
    }
    let serving = host.worker_pid();
    host.signal(Signal::USR2);
    draining.iter().for_each(|pid| host.wait_gone(*pid));
    assert_eq!(host.worker_pid(), serving, "who serves is left alone");
    host.upgrade(&["--wait"]).assert_code(0);
}
