//! The listening socket is one for all workers: no connection in its queue is lost, and nothing
//! grows from one worker to the next.

use hotseat_test_support::{eventually, fault, procfs};

use super::{upgrade, whoami};

/// The load under which `SO_REUSEPORT` and a plain close reset connections.
#[test]
fn hand_overs_reset_nobody() {
    let host = whoami().start();
    let load = crate::controls::connecting(host.data());
    let mut pids = vec![host.worker_pid()];
    let listeners = procfs::listeners(host.pid());
    for _ in 0..10 {
        load.wait_for(100);
        pids.push(upgrade(&host).1);
    }
    load.wait_for(100);
    let report = load.stop();
    report.assert_clean().assert_announced().assert_forward(&pids);
    assert_eq!(procfs::listeners(host.pid()), listeners, "the same sockets");
}

/// One upgrade after another, with two plugins: the master and the state folder stay as they are.
#[test]
fn nothing_grows() {
    let host = whoami().with(fault("plain_v1"), "libother_v1.so").start();
    // Each the most of the first few upgrades, which warm up.
    let mut most = (0, 0, 0);
    for round in 1..=30 {
        let (old, _) = upgrade(&host);
        host.wait_gone(old);
        eventually!(host.processes().len() == 2, "master and worker: {:?}", host.processes());
        assert_eq!(procfs::children(host.pid()).len(), 1, "no zombie");
        let state = host.home().state_files();
        let now = (procfs::descriptors(host.pid()), state.len(), procfs::own_kib(host.pid()));
        if round <= 10 {
            most = (most.0.max(now.0), most.1.max(now.1), most.2.max(now.2));
            continue;
        }
        // The master may not have put away yet what it had for the worker that is gone.
        eventually!(
            procfs::descriptors(host.pid()) <= most.0,
            "{} to {} descriptors after {round} upgrades",
            most.0,
            now.0
        );
        assert!(now.1 <= most.1, "{} files after {round} upgrades: {state:?}", now.1);
        // Heaps are not exact; thirty leaks of a list would be more.
        let bound = most.2 + 256;
        assert!(now.2 <= bound, "{} to {} KiB after {round} upgrades", most.2, now.2);
    }
    host.get("/").assert_status(200);
    host.get("/other").assert_status(200);
}
