//! Without `/proc`, without the right to run what lies in the state folder, with few descriptors.

use hotseat_test_support::{eventually, fault, host};
use rustix::process::Signal;

use super::mounting;

/// Deploys, upgrades, crashes and the master's next image: all of it without `/proc`. What cannot be
/// known is not shown as 0.
#[test]
fn a_host_does_without_proc() {
    let Some(words) = mounting("mount -t tmpfs none /proc") else { return };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let builder = host!().through(&words).arg("--soak-time=100ms");
    let mut host = builder.with(fault("plain_v1"), "libhandler_v1.so").start();
    assert!(host.status()["rss_bytes"].is_null());
    assert!(!host.control().get("/metrics").text().contains("resident_memory"));
    for (version, text) in [("plain_v2", "v2"), ("plain_v1", "v1"), ("plain_v2", "v2")] {
        host.deploy(&fault(version), "libhandler_v3.so").swapped();
        assert_eq!(host.get("/").text(), text);
    }
    let crashed = host.deploy(&fault("new_aborts"), "libbad_v1.so");
    crashed.assert_refused(422, "preflight_crashed");
    for _ in 0..2 {
        let before = host.worker_pid();
        host.upgrade(&["--wait"]).assert_code(0);
        eventually!(host.worker_pid() != before, "another worker");
        assert_eq!(host.get("/").text(), "v2");
    }
    let before = host.worker_pid();
    host.signal_process(before, Signal::KILL);
    eventually!(host.connect().get("/").is_ok_and(|it| it.text() == "v2"), "another worker");
    assert_ne!(host.worker_pid(), before);
    assert!(host.stop().success(), "{}", host.log_end());
}

/// Plugins are served, deployed and booted by way of memory; the start says what is left undone.
#[test]
fn a_state_folder_from_which_nothing_may_be_run_serves() {
    let prepare = "mkdir state && mount -t tmpfs -o noexec,mode=0700 none state";
    let Some(words) = mounting(prepare) else { return };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let builder = host!().through(&words).arg("--soak-time=100ms");
    let mut host = builder.with(fault("plain_v1"), "libhandler_v1.so").start();
    host.assert_logged("remount,exec");
    assert_eq!(host.get("/").text(), "v1");
    for (version, text) in [("plain_v2", "v2"), ("plain_v1", "v1"), ("plain_v2", "v2")] {
        host.deploy(&fault(version), "libhandler_v3.so").swapped();
        assert_eq!(host.get("/").text(), text);
    }
    let before = host.worker_pid();
    host.signal_process(before, Signal::KILL);
    host.wait_other_worker(before);
    eventually!(host.connect().get("/").is_ok_and(|it| it.text() == "v2"), "another worker");
    host.upgrade(&["--wait"]).assert_code(0);
    assert_eq!(host.get("/").text(), "v2");
    assert!(host.stop().success(), "{}", host.log_end());
}

/// Without `/proc` a copy in memory is not found. The mount is named, and what to do; it is the host's
/// trouble and not the library's.
#[test]
fn a_state_folder_from_which_nothing_may_be_run_is_named() {
    let prepare = "mkdir state && mount -t tmpfs -o noexec,mode=0700 none state && \
                   mount -t tmpfs none /proc";
    let Some(words) = mounting(prepare) else { return };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let host = host!().through(&words).start();
    let mount = host.home().state().display().to_string();
    let refused =
        host.deploy(&fault("plain_v1"), "libhandler_v1.so").assert_refused(500, "state_noexec");
    assert!(refused.text.contains("noexec") && refused.text.contains(&mount), "{refused:?}");
    for words in ["--state-dir", &format!("mount -o remount,exec {mount}")] {
        assert!(refused.hint.contains(words), "no `{words}` in {refused:?}");
        assert!(host.home().read_log().contains(words), "no `{words}` in the log");
    }
}

/// As few as the README promises serve what is in the folder, with fewer threads, and a few more take
/// deploys as well; more listeners leave less to threads.
#[test]
fn few_descriptors_are_for_fewer_threads() {
    for (count, listeners) in [(40_u32, 1), (48, 1), (56, 1), (64, 1), (52, 3), (56, 3), (64, 3)] {
        let limit = format!("--nofile={count}");
        let builder = host!().through(&["prlimit", &limit]).arg("--threads=8");
        let builder = builder.listen(&vec!["127.0.0.1:0"; listeners]);
        let host = builder.with(fault("plain_v1"), "libhandler_v1.so").start();
        assert_eq!(host.get("/").text(), "v1", "{count} {listeners}: {}", host.log_end());
        if count < 48 {
            continue;
        }
        let deploy = host.deploy(&fault("plain_v2"), "libhandler_v2.so");
        deploy.swapped();
        assert_eq!(host.get("/").text(), "v2", "{count} {listeners}: {}", host.log_end());
    }
}

/// With a few descriptors everything is done, or the message says how many there are and which
/// setting raises that. What serves goes on.
#[test]
fn few_descriptors_are_named_where_they_do_not_suffice() {
    for count in [40_u32, 44, 48, 56, 64, 100, 200] {
        let limit = format!("--nofile={count}");
        let builder =
            host!().through(&["prlimit", &limit]).arg("--soak-time=100ms").arg("--threads=8");
        let says_so = |text: &str| {
            let told = ["ulimit -n", "LimitNOFILE=", &count.to_string()];
            assert!(told.iter().all(|it| text.contains(it)), "{count}: {text}");
        };
        let host = builder.start();
        let deploy = host.deploy(&fault("plain_v1"), "libhandler_v1.so");
        let done = deploy.answer.status == 200;
        if !done {
            says_so(&format!("{:?}", deploy.refused()));
        }
        let upgrade = host.upgrade(&["--wait"]);
        if upgrade.code != Some(0) {
            says_so(&upgrade.text());
        }
        eventually!(
            host.connect().get("/").is_ok_and(|it| it.status == if done { 200 } else { 503 })
        );
        assert!(count < 100 || done && upgrade.code == Some(0), "{count} suffice: {upgrade:?}");
    }
}
