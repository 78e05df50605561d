//! The worker before takes over again: what was acknowledged meanwhile is what it serves.

use hotseat_test_support::{Host, eventually, fault, wire};
use rustix::process::Signal;

use super::{long, other, serves};

/// In the soak of an upgrade: the candidate serves. Its process id.
#[track_caller]
fn soaking(host: &Host) -> u32 {
    host.hup();
    host.wait_role("soaking").pid
}

/// The candidate dies and the worker before serves again.
#[track_caller]
fn kill_candidate(host: &Host, candidate: u32, before: u32) {
    host.signal_process(candidate, Signal::KILL);
    host.wait_gone(candidate);
    eventually!(host.process("serving").is_some_and(|it| it.pid == before), "{}", host.log_end());
}

#[test]
fn what_was_deployed_meanwhile_serves() {
    let host = long().with(fault("whoami"), "libhandler_v1.so").start();
    let before = host.worker_pid();
    for number in 2..5 {
        let candidate = soaking(&host);
        let name = format!("libhandler_v{number}.so");
        let swapped = host.deploy_bytes(&other("whoami", number), &name).swapped();
        let acknowledged = serves(&host);
        assert_eq!(acknowledged.0, swapped.generation);
        kill_candidate(&host, candidate, before);
        assert_eq!(serves(&host), acknowledged);
        let answer = host.get("/");
        assert_eq!(answer.header("x-pid"), Some(&*before.to_string()));
        assert_eq!(answer.header("x-label"), Some(&*number.to_string()));
        assert_eq!(answer.header("x-generation"), Some(&*swapped.generation.to_string()));
    }
    let next = host.deploy_bytes(&other("whoami", 9), "libhandler_v9.so").swapped();
    assert!(next.generation > 4, "no number is used twice");
}

#[test]
fn what_was_taken_out_or_rolled_back_meanwhile_is_so() {
    let host = long().with(fault("whoami"), "libhandler_v1.so").start();
    host.deploy_bytes(&other("whoami", 2), "libhandler_v2.so").swapped();
    host.deploy(&fault("reflect"), "libreflect_v1.so").swapped();
    let before = host.worker_pid();
    let candidate = soaking(&host);
    host.control().unload("reflect").assert_status(200);
    let back = host.control().rollback(Some("handler"), None).swapped();
    host.deploy(&fault("plain_v1"), "libnewcomer_v1.so").swapped();
    kill_candidate(&host, candidate, before);
    let status = host.status();
    assert_eq!(wire::active(&status, "handler"), Some(back.generation));
    assert_eq!(wire::active(&status, "reflect"), None);
    assert!(wire::active(&status, "newcomer").is_some());
    assert_eq!(host.get("/").header("x-label"), Some("1"));
    host.get("/newcomer/").assert_status(200).assert_contains("v1");
}

/// What crashes after a deploy in the soak ends the candidate; the worker before follows the deploy
/// as it was acknowledged, and is blamed no more than any other.
#[test]
fn a_crash_of_what_was_deployed_meanwhile() {
    let host = long().arg("--crash-count=1").with(fault("plain_v1"), "libhandler_v1.so").start();
    let before = host.worker_pid();
    let candidate = soaking(&host);
    host.deploy(&fault("crash"), "libhandler_v2.so").swapped();
    assert!(host.connect().get("/crash?how=segv").is_err());
    host.wait_gone(candidate);
    eventually!(host.process("serving").is_some_and(|it| it.pid == before), "{}", host.log_end());
    assert_eq!(host.active("handler"), 2);
    assert!(host.connect().get("/crash?how=segv").is_err());
    host.wait_gone(before);
    eventually!(
        host.connect().get("/").is_ok_and(|it| it.text().contains("v1")),
        "v1 again\n{}",
        host.log_end()
    );
}
