//! Plugins that handle faults themselves: what is theirs they survive, and what is not is blamed on
//! whoever it was.

use hotseat_test_support::{Host, eventually, fault, library};

use super::{strict, try_get, try_status, warning};

fn numbered(name: &str, number: u8) -> Vec<u8> {
    [library::bytes(&fault(name)), vec![number]].concat()
}

#[track_caller]
fn check_blamed(host: &Host, generation: u64, what: &str) {
    let told = || try_status(host).map(|it| warning(&it, "handler")).unwrap_or_default();
    eventually!(!told().is_empty(), "a withdrawal for `{what}`\n{}", host.log_end());
    let text = told();
    let who = format!("generation {generation} (v{generation}) was withdrawn");
    assert!(text.contains(&who) && text.contains(what), "`{who}` for `{what}` in {text}");
}

/// Each generation has found the host's handler there, and none the one of a generation before it.
#[test]
fn a_chain_ends_at_the_host() {
    let faults = [
        ("/segv", "SIGSEGV at 0x8"),
        ("/reset", "SIGSEGV at 0x8"),
        ("/stack", "a stack overflow at "),
    ];
    for (path, what) in faults {
        let host = strict().with(fault("plain_v1"), "libhandler_v1.so").start();
        let mut events = host.events();
        for number in 2..4_u8 {
            let file = format!("libhandler_v{number}.so");
            host.deploy_bytes(&numbered("segv_chain", number), &file).swapped();
        }
        events.wait_generation(2, "unloaded");
        host.get("/").assert_contains("segv_chain");
        assert_eq!(try_get(&host, path), None);
        check_blamed(&host, 3, what);
    }
}

/// In a process whose last handler is the standard library's, which has to give the signal back.
#[test]
fn a_candidate_that_faults_is_refused_and_does_not_hang() {
    let builder = strict().config("[plugin.handler]\ncrash = true\n");
    let host = builder.with(fault("plain_v1"), "libhandler_v1.so").start();
    let refused = host.deploy(&fault("segv_chain"), "libhandler_v2.so").refused();
    assert_eq!(refused.code, "preflight_crashed", "{refused:?}");
    assert!(refused.text.contains("SIGSEGV"), "{refused:?}");
}

/// With the runtime that catches its own faults another plugin lives, whose faults it does not get.
#[test]
fn faults_that_are_caught_end_nobody() {
    let mounts = strict().arg("--mount=/=handler").arg("--mount=/t=traps");
    let host = mounts.with(fault("plain_v1"), "libhandler_v1.so").start();
    for number in 1..5_u8 {
        let mut events = host.events();
        host.deploy_bytes(&numbered("traps", number), &format!("libtraps_v{number}.so")).swapped();
        for _ in 0..20 {
            assert_eq!(host.get("/t/").text(), "trapped");
        }
        if number > 1 {
            events.wait_for(|it| it.plugin == "traps" && it.phase == "unloaded");
        }
    }
    // Whose handler is the newest.
    host.deploy(&fault("segv_chain"), "libhandler_v6.so").swapped();
    for _ in 0..20 {
        assert_eq!(host.get("/t/").text(), "trapped");
    }
    let generation = host.deploy(&fault("crash"), "libhandler_v7.so").swapped().generation;
    assert_eq!(generation, 7);
    assert_eq!(try_get(&host, "/crash?how=segv"), None);
    check_blamed(&host, generation, "SIGSEGV");
}

/// The second stack that the runtime gave the host's threads went with it: the kernel has the
/// thread's own, on which it is noted that the first is used up.
#[test]
fn a_thread_gets_its_own_second_stack_back() {
    let host = strict().with(fault("plain_v1"), "libhandler_v1.so").start();
    host.deploy(&fault("traps"), "libhandler_v2.so").swapped();
    let cores = host.status()["cores"].as_array().map_or(1, Vec::len);
    for _ in 0..cores * 8 {
        assert_eq!(host.connect().get("/").unwrap().text(), "trapped");
    }
    let mut events = host.events();
    host.deploy(&fault("crash"), "libhandler_v3.so").swapped();
    events.wait_generation(2, "unloaded");
    assert_eq!(try_get(&host, "/crash?how=stack"), None);
    check_blamed(&host, 3, "a stack overflow at ");
}

/// Whoever goes where a library lay is not to blame for it, however often: who has left the address is.
#[test]
fn what_has_gone_is_blamed_and_not_who_is_led_there() {
    let mounts = strict().arg("--mount=/=handler").arg("--mount=/left=left");
    let host = mounts.with(fault("leads_astray"), "libhandler_v1.so").start();
    for number in 1..4_u8 {
        let mut events = host.events();
        let generation = u64::from(number) + 1;
        let file = format!("libleft_v{number}.so");
        host.deploy_bytes(&numbered("leads_astray", number), &file).swapped();
        host.get("/left/leave").assert_contains("left");
        host.get("/follow").assert_contains("42");
        host.control().unload("left").assert_status(200);
        events.wait_generation(generation, "unloaded");
        assert_eq!(try_get(&host, "/follow"), None);
        let who = format!("in generation {generation}, which had been unloaded");
        host.assert_logged(&who);
        eventually!(try_get(&host, "/").is_some(), "it is there again\n{}", host.log_end());
    }
    let told = try_status(&host).map(|it| warning(&it, "handler")).unwrap_or_default();
    assert_eq!(told, "", "nothing is withdrawn");
}
