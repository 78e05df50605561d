use super::*;

/// A thread without work is asked, and answers.
#[test]
fn a_thread_with_nothing_to_do_turns() {
    let plane = plane("idle", Limits { heartbeat: Duration::from_millis(20), ..patient() });
    let (sockets, address) = listen();
    plane.accept(&sockets).unwrap();
    let connection = Connection::open(address).unwrap();
    // Nothing comes: the bound is above what a thread may be without a turn.
    assert!(!connection.wait_readable(Duration::from_secs(1)).unwrap());
    let cores = plane.cores();
    assert!(cores.iter().all(|core| core.stuck.is_none()), "{cores:?}");
    assert!(plane.turns() && !plane.is_stuck());
    plane.end();
}
