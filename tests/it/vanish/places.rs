//! Who has the place of a state folder that was lost: this host or another one, and which of them
//! knows what.

use std::fs;

use hotseat_test_support::fault;
use rustix::fs::{FlockOperation, flock};

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
