//! Faults that show only when the code runs: a child runs it first, and dies of it alone.

use hotseat_test_support::{elf, fault, host, library};

use super::{OFFERED, check_with, refused};

refused! {
    /// Its constructor dies on a signal.
    constructor_crashes: 422 "preflight_crashed" =
        |host| host.deploy(&fault("constructor_crashes"), OFFERED);
    /// Its constructor ends the process with status 0, which proves nothing.
    constructor_exits_zero: 422 "preflight_exited" =
        |host| host.deploy(&fault("constructor_exits_zero"), OFFERED);
    /// Its constructor closes every descriptor, the one for the verdict among them.
    constructor_closes_descriptors: 422 "preflight_no_verdict" =
        |host| host.deploy(&fault("constructor_closes_descriptors"), OFFERED);
    /// Its constructor leaves a process behind; that one is ended as well.
    constructor_forks: 422 "preflight_forked" =
        |host| host.deploy(&fault("constructor_forks"), OFFERED);
    /// `new` says no.
    new_fails: 422 "new_failed" = |host| host.deploy(&fault("new_fails"), OFFERED);
    /// `new` panics.
    new_panics: 422 "new_panicked" = |host| host.deploy(&fault("new_panics"), OFFERED);
    /// `new` aborts.
    new_aborts: 422 "preflight_crashed" = |host| host.deploy(&fault("new_aborts"), OFFERED);
    /// `new` dies on a signal.
    new_segfaults: 422 "preflight_crashed" = |host| host.deploy(&fault("new_segfaults"), OFFERED);
    /// `new` ends the process with status 0.
    new_exits: 422 "preflight_exited" = |host| host.deploy(&fault("new_exits"), OFFERED);
    /// The self-test says no.
    self_test_fails: 422 "self_test_failed" =
        |host| host.deploy(&fault("self_test_fails"), OFFERED);
    /// The self-test panics.
    self_test_panics: 422 "self_test_panicked" =
        |host| host.deploy(&fault("self_test_panics"), OFFERED);
}

/// A host that gives a preflight half a second.
#[track_caller]
fn check_hanging(name: &str) {
    let host =
        host!().arg("--preflight-time=500ms").with(fault("gate"), "libhandler_v1.so").start();
    let refused =
        check_with(&host, |host| host.deploy(&fault(name), OFFERED), 422, "preflight_timeout");
    assert!(refused.text.contains("500 ms"), "{refused:?}");
}

/// Its constructor never returns, with the loader's lock held.
#[test]
fn constructor_hangs() {
    check_hanging("constructor_hangs");
}

/// `new` never returns.
#[test]
fn new_hangs() {
    check_hanging("new_hangs");
}

/// The self-test never ends.
#[test]
fn self_test_hangs() {
    check_hanging("self_test_hangs");
}

/// What the plugin said of itself reaches whoever offered it.
#[test]
fn the_refusal_says_why() {
    let host = crate::gate_host();
    let refused = host.deploy(&fault("new_fails"), OFFERED).refused();
    assert!(refused.text.contains("does not want to"), "{refused:?}");
    let refused = host.deploy(&fault("new_panics"), OFFERED).refused();
    assert!(refused.text.contains("was asked to panic"), "{refused:?}");
    assert!(refused.text.contains("new_panics.rs"), "the panic's place: {refused:?}");
}

/// `new` works in the child and fails in the serving process: still nothing changes.
#[test]
fn new_fails_in_the_host_alone() {
    let host = crate::gate_host();
    let mut events = host.events();
    let held = host.hold("/");
    let offered = host.deploy(&fault("new_fails_in_host"), OFFERED);
    offered.assert_refused(422, "new_failed");
    events.wait_phase("refused");
    held.release().assert_status(200).assert_contains("gate 1");
    assert_eq!(host.active("handler"), 1);
    hotseat_test_support::eventually!(host.loaded().len() == 1, "{:?}", host.loaded());
}

/// As above, with a panic.
#[test]
fn new_panics_in_the_host_alone() {
    let host = crate::gate_host();
    let held = host.hold("/");
    let offered = host.deploy(&fault("new_panics_in_host"), OFFERED);
    offered.assert_refused(422, "new_panicked");
    held.release().assert_status(200).assert_contains("gate 1");
    assert_eq!(host.active("handler"), 1);
    hotseat_test_support::eventually!(host.loaded().len() == 1, "{:?}", host.loaded());
}

/// `new` ends too late in the serving process and a thread of it goes on: refused in time, and
/// taken back when the thread has ended, not before.
#[track_caller]
fn check_late(bytes: &[u8], name: &str) {
    let host = host!().arg("--load-time=200ms").with(fault("gate"), "libhandler_v1.so").start();
    let (held, worker) = (host.hold("/"), host.worker_pid());
    let offered = host.deploy_bytes(bytes, name);
    offered.assert_refused(422, "load_timeout");
    held.release().assert_status(200).assert_contains("gate 1");
    hotseat_test_support::eventually!(host.loaded().len() == 1, "{:?}", host.loaded());
    host.get("/").assert_status(200).assert_contains("gate 1");
    assert_eq!(host.worker_pid(), worker, "{}", host.log_end());
}

#[test]
fn new_late_in_the_host_alone() {
    check_late(&library::bytes(&fault("new_late")), OFFERED);
}

/// The thread of a library of before would end the host if the handler were freed beside it.
#[test]
fn new_late_of_a_library_of_before() {
    let bytes = elf::with_abi_minor(library::bytes(&fault("new_late")), 4, 2);
    check_late(&bytes, "libhandler_v2.promised.so");
}
