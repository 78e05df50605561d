//! What no unload gives back: the loader's room for thread-locals at fixed places, and libraries that
//! stay. It is told, and with `recycle = "auto"` the host renews its worker.

use hotseat_test_support::{Host, eventually, fault, gate::Held, host, library, start_host, wire};

/// Another library of the same code.
fn version(bytes: &[u8], number: u8) -> Vec<u8> {
    [bytes, &[number]].concat()
}

#[track_caller]
fn renewed(host: &Host) -> u64 {
    let text = host.control().get("/metrics").text().to_owned();
    let line = text.lines().find_map(|it| it.strip_prefix("hotseat_renewed_workers_total "));
    line.expect("the family is there").parse().expect("a number")
}

/// Three fit; the fourth is refused with what helps, what serves goes on, and that helps.
#[test]
fn a_library_without_room_is_refused_and_says_what_helps() {
    let host = start_host!();
    let bytes = library::bytes(&fault("static_tls"));
    for number in 1..4_u8 {
        let name = format!("libhandler_v{number}.so");
        let swapped = host.deploy_bytes(&version(&bytes, number), &name).swapped();
        assert!(swapped.notes.contains("static TLS"), "{swapped:?}");
        host.get("/").assert_status(200).assert_contains("static_tls");
    }
    let offer = || host.deploy_bytes(&version(&bytes, 4), "libhandler_v4.so");
    let refused = offer().assert_refused(422, "static_tls_full");
    assert!(refused.text.contains("in the loader's fixed area"), "{refused:?}");
    for help in ["hotseat upgrade", "recycle", "local_dynamic_tls", "disable_initial_exec_tls"] {
        assert!(refused.hint.contains(help), "{refused:?}");
    }
    host.get("/").assert_status(200).assert_contains("static_tls");
    host.upgrade(&["--wait"]).assert_code(0);
    offer().swapped();
    host.get("/").assert_status(200).assert_contains("static_tls");
    host.assert_no_failed_requests();
}

/// A host in one process has neither another worker nor a master that would ask for room.
#[test]
fn a_host_in_one_process_names_what_helps_there() {
    let host = host!().arg("--single").start();
    let bytes = library::bytes(&fault("static_tls"));
    let offer = |number: u8| {
        host.deploy_bytes(&version(&bytes, number), &format!("libhandler_v{number}.so"))
    };
    let refused = (1..20).map(offer).find(|it| it.answer.status != 200);
    let refused = refused.expect("no room any more").assert_refused(422, "static_tls_full");
    assert!(refused.text.contains("since this process was started;"), "{refused:?}");
    assert!(!refused.text.contains("asked for"), "{refused:?}");
    for absent in ["hotseat upgrade", "recycle", "`static_tls`"] {
        assert!(!refused.hint.contains(absent), "{refused:?}");
    }
    for help in ["GLIBC_TUNABLES=glibc.rtld.optional_static_tls=", "local_dynamic_tls"] {
        assert!(refused.hint.contains(help), "{refused:?}");
    }
}

/// The room is taken out of every thread's stack, also of the smallest that there are.
#[test]
fn threads_of_the_smallest_stack_still_start() {
    let host = start_host!(fault("static_tls"), "libhandler_v1.so");
    host.get("/thread").assert_status(200).assert_contains("a small thread said 7");
}

/// One that no fresh process has room for is refused by the child, which says what to raise.
#[test]
fn a_library_that_never_has_room_is_told_the_setting() {
    let host = host!().arg("--static-tls=0B").start();
    let refused = host.deploy(&fault("static_tls"), "libhandler_v1.so");
    let refused = refused.assert_refused(422, "dlopen_failed");
    assert!(refused.hint.contains("raise `static_tls`"), "{refused:?}");
}

#[track_caller]
fn check_row(count: u8, deploys: impl Fn(&Host, &[u8], u8)) {
    let host = host!()
        .arg("--recycle=auto")
        .arg("--upgrade-drain=30s")
        .with(fault("plain_v1"), "libhandler_v1.so")
        .start();
    let traffic = host.traffic("/");
    traffic.wait_for(10);
    let first = host.worker_pid();
    let bytes = library::bytes(&fault("static_tls"));
    for number in 2..2 + count {
        deploys(&host, &version(&bytes, number), number);
        host.get("/").assert_status(200).assert_contains("static_tls");
    }
    traffic.finish();
    assert_ne!(host.worker_pid(), first, "{}", host.log_end());
    let renewed = renewed(&host);
    assert!(renewed >= u64::from(count / 4), "{renewed}\n{}", host.log_end());
    let history = host.control().get("/v1/history").text().to_owned();
    assert!(history.contains("worn out") || history.contains("\"renew\""), "{history}");
    host.assert_no_failed_requests();
}

/// Deploys in a row, under traffic, far beyond what one worker has room for; each client waits for its
/// answer and knows nothing of the workers.
#[test]
fn deploys_go_on_in_the_next_worker() {
    check_row(12, |host, bytes, number| {
        let name = format!("libhandler_v{number}.so");
        let swapped = host.deploy_bytes(bytes, &name).swapped();
        assert_eq!(swapped.label, number.to_string());
    });
}

/// As many workers as may drain do so, because of a request that takes longer than any upgrade: the
/// order waits until one of them is gone, and is not refused.
#[test]
fn an_order_waits_for_workers_that_drain() {
    let host = host!()
        .arg("--recycle=auto")
        .arg("--draining-count=1")
        .arg("--upgrade-drain=9s")
        .arg("--soak-time=100ms")
        .arg("--freeze-time=1s")
        .with(fault("gate"), "libgate_v1.so")
        .start();
    let held = Held::start(host.connect(), "/gate");
    let bytes = library::bytes(&fault("static_tls"));
    for number in 1..7_u8 {
        let name = format!("libhandler_v{number}.so");
        host.deploy_bytes(&version(&bytes, number), &name).swapped();
    }
    assert!(renewed(&host) >= 2, "{}", host.log_end());
    drop(held);
}

/// The same through the plugins folder: the successor finds the file again.
#[test]
fn files_go_on_in_the_next_worker() {
    check_row(8, |host, bytes, number| {
        let made = host.home().write("made.so", bytes);
        host.home().drop_in(&made, &format!("libhandler_v{number}.so"));
        let serves = || {
            let plugin = wire::plugin(&host.status(), "handler");
            plugin.pointer("/active/label").and_then(|it| it.as_str()) == Some(&number.to_string())
        };
        eventually!(serves(), "version {number} serves\n{}", host.log_end());
    });
}

/// Libraries that stay are left behind with their worker, once there are too many.
#[test]
fn a_worker_with_too_many_resident_libraries_is_renewed() {
    let host = host!()
        .arg("--recycle=auto")
        .arg("--resident-count=2")
        .arg("--upgrade-drain=30s")
        .with(fault("plain_v1"), "libhandler_v1.so")
        .start();
    let first = host.worker_pid();
    let traffic = host.traffic("/");
    let bytes = library::bytes(&fault("leaks_thread"));
    for number in 2..5_u8 {
        host.deploy_bytes(&version(&bytes, number), &format!("libhandler_v{number}.so")).swapped();
    }
    eventually!(host.worker_pid() != first, "another worker\n{}", host.log_end());
    eventually!(host.loaded().len() == 1, "{:?}\n{}", host.loaded(), host.log_end());
    host.get("/").assert_status(200).assert_contains("leaks_thread");
    traffic.finish();
    host.assert_no_failed_requests();
}
