//! What serves is carried by content: neither the plugins folder nor the state folder is asked.

use std::fs;

use hotseat_test_support::{fault, procfs};

use super::{history, other, quick, serves};

/// v2 came by a request, v3 by a file and was refused. Then everything in the folder is altered,
/// truncated and removed: the next worker serves v2 all the same, and nothing happens to the one
/// before, which still has a request in flight.
#[test]
fn the_plugins_folder_may_be_altered() {
    let host = quick(50).with(fault("gate"), "libhandler_v1.so").start();
    let posted = host.home().write("libhandler_v2.so", &other("gate", 2));
    assert_eq!(host.control().deploy(&posted).swapped().generation, 2);
    let mut events = host.events();
    let refused = host.home().drop_in(&fault("new_fails"), "libhandler_v3.so");
    events.wait_phase("refused");
    let before = serves(&host);
    let held = host.hold("/held");
    let worker = host.worker_pid();
    let traffic = host.traffic("/");
    for bytes in [vec![0xcc; 1 << 20], b"tiny".to_vec(), Vec::new()] {
        // In place, as `cp` does: whoever has mapped it sees it.
        for path in [&posted, &host.home().plugins().join("libhandler_v1.so"), &refused] {
            // The watcher is to leave v3 alone because it knows it, not because it is gone.
            if *path != refused {
                fs::write(path, &bytes).unwrap();
            }
        }
        traffic.wait_for(20);
    }
    fs::remove_file(&posted).unwrap();
    fs::remove_file(host.home().plugins().join("libhandler_v1.so")).unwrap();
    host.upgrade(&["--wait"]).assert_code(0);
    assert_ne!(host.worker_pid(), worker);
    traffic.wait_for(20);
    assert_eq!(serves(&host), before);
    assert_eq!(host.loaded().len(), 1, "v3 is not loaded: {:?}", host.loaded());
    assert!(procfs::state(worker).is_some(), "it has a request in flight");
    held.release().assert_status(200).assert_contains("gate 2");
    host.wait_gone(worker);
    traffic.finish();
    host.assert_no_failed_requests();
    let refusals = history(&host, "handler").into_iter().filter(|it| it.2 == "3");
    assert_eq!(refusals.count(), 1, "v3 was tried once");
    assert!(!host.home().read_log().contains("ended unasked"), "{}", host.log_end());
}

/// Somebody has cleaned the state folder: the open descriptors win, also in a crash, and the files
/// are there again afterwards.
#[test]
fn artifacts_may_be_removed() {
    let host = quick(50).with(fault("gate"), "libhandler_v1.so").start();
    host.deploy_bytes(&other("gate", 2), "libhandler_v2.so").swapped();
    let before = serves(&host);
    let artifacts = host.state_file("artifacts");
    let files = || fs::read_dir(&artifacts).unwrap().map(|it| it.unwrap().path());
    let traffic = host.traffic("/");
    for crash in [false, true] {
        assert!(files().count() > 0);
        files().for_each(|file| fs::remove_file(file).unwrap());
        let worker = host.worker_pid();
        if crash {
            kill(&host, worker);
        } else {
            host.upgrade(&["--wait"]).assert_code(0);
            traffic.wait_for(20);
            host.assert_no_failed_requests();
        }
        host.wait_other_worker(worker);
        assert_eq!(serves(&host), before);
        host.get("/").assert_status(200).assert_contains("gate 2");
        let names: Vec<_> = files().collect();
        assert!(names.iter().any(|it| it.ends_with(format!("{}.so", before.1))), "{names:?}");
    }
}

/// Kills the worker; what is lost with it is no failure.
fn kill(host: &hotseat_test_support::Host, worker: u32) {
    host.signal_process(worker, rustix::process::Signal::KILL);
    host.wait_gone(worker);
}
