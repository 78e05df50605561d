//! Who has the place of a state folder that was lost: this host or another one, and which of them
//! knows what.

use std::fs;

use hotseat_test_support::{fault, host};
use rustix::{
    fs::{FlockOperation, flock},
    process::Signal,
};

use super::{assert_unwritable, folders::remove, looking, other};

/// In containers the master has the same number everywhere: a lock that names it is not this host's
/// for that. By the release before, or by another host of this one.
#[test]
fn a_lock_with_the_same_process_number_is_another_hosts() {
    let host = looking("1h").with(fault("plain_v1"), "libhandler_v1.so").start();
    let state = host.home().state();
    let pid = host.pid();
    for (label, text) in [(2, format!("{pid}\n")), (3, format!("{pid:<15}\n{:032}\n", 7))] {
        remove(&state);
        fs::create_dir(&state).unwrap();
        let path = state.join("lock");
        fs::write(&path, text).unwrap();
        let lock = fs::File::open(&path).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        let (library, name) = (other("plain_v2", label), format!("libhandler_v{label}.so"));
        host.deploy_bytes(&library, &name).assert_refused(500, "state_locked");
        assert_unwritable(&host, "state_locked");
        drop(lock);
        host.deploy_bytes(&library, &name).swapped();
        host.get("/").assert_status(200).assert_contains("v2");
        // The release before reads so much of it, and no more.
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text[..16].trim(), pid.to_string());
    }
}

/// What a new worker has committed is known to the master: it is not forgotten when that worker and
/// the folder go at once.
#[test]
fn what_a_new_worker_has_committed_outlives_it_and_the_folder() {
    let builder = host!().arg("--state-probe=1h").arg("--soak-time=30min");
    let builder = builder.arg("--idle-linger=100ms").arg("--mount=/=handler");
    let mut host = builder.with(fault("plain_v1"), "libhandler_v1.so").start();
    let upgrading = host.begin_upgrade(&["--wait"]);
    host.wait_role("parked");
    let new = host.wait_role("soaking").pid;
    let generation = host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped().generation;
    remove(&host.home().state());
    host.signal_process(new, Signal::KILL);
    upgrading.wait().assert_code(6);
    assert_eq!(host.active("handler"), generation, "{}", host.log_end());
    host.get("/").assert_status(200).assert_contains("v2");
    // Whoever changes something makes the folder again.
    host.deploy(&fault("plain_v1"), "libother_v1.so").swapped();
    host.restart();
    assert_eq!(host.active("handler"), generation, "{}", host.log_end());
    host.get("/").assert_status(200).assert_contains("v2");
}
