//! Cells that outlive the whole host.

use std::fs;

use hotseat_test_support::{Builder, Host, eventually};

use super::{builder, count, set};

fn on_disk() -> Builder {
    builder().arg("--cells-on-disk=handler,other").arg("--state-probe=100ms")
}

/// The file has this value.
#[track_caller]
fn wait_written(host: &Host, value: &str) {
    let path = host.state_file("cells/handler");
    let has = |bytes: &[u8]| bytes.windows(value.len()).any(|it| it == value.as_bytes());
    eventually!(fs::read(&path).is_ok_and(|it| has(&it)), "`{value}` in {}", path.display());
}

#[test]
fn a_stop_loses_nothing() {
    let mut host = on_disk().start();
    assert_eq!((count(&host), count(&host)), (1, 2));
    let version = set(&host, "a", "kept");
    host.restart();
    assert_eq!(count(&host), 3);
    host.get("/a").assert_contains("kept");
    host.restart();
    assert_eq!(count(&host), 4);
    assert!(set(&host, "a", "newer") > version, "versions go on");
}

#[test]
fn what_is_in_memory_alone_ends_with_the_host() {
    let mut host = builder().start();
    assert_eq!(count(&host), 1);
    host.restart();
    assert_eq!(count(&host), 1);
    assert!(!host.state_file("cells").exists());
}

/// As a power cut would, but for the disk itself.
#[test]
fn what_was_written_outlives_a_kill_of_everything() {
    let mut host = on_disk().start();
    for round in 0..3 {
        set(&host, "a", &format!("round {round}"));
        wait_written(&host, &format!("round {round}"));
        host.kill9();
        host.start_again();
        host.get("/a").assert_contains(&format!("round {round}"));
    }
}

/// Both workers' changes get there, and an upgrade loses none.
#[test]
fn an_upgrade_goes_on_writing() {
    let mut host = on_disk().arg("--soak-time=100ms").arg("--idle-linger=200ms").start();
    set(&host, "a", "before");
    host.upgrade(&["--wait"]).assert_code(0);
    wait_written(&host, "before");
    set(&host, "a", "after");
    wait_written(&host, "after");
    host.restart();
    host.get("/a").assert_contains("after");
}

/// A file that is not what it was is told, kept aside and not believed.
#[test]
fn a_damaged_file_is_not_believed() {
    let mut host = on_disk().start();
    set(&host, "a", "this value");
    assert!(host.stop().success());
    let path = host.state_file("cells/handler");
    let damaged = String::from_utf8_lossy(&fs::read(&path).unwrap()).replace("this", "that");
    fs::write(&path, damaged).unwrap();
    host.start_again();
    host.assert_logged("the cells on the disk are damaged");
    host.get("/a").assert_status(404);
    assert!(host.state_file("cells/handler.damaged").exists());
}

/// A state folder that is removed is made again by the host, and the cells in it.
#[test]
fn a_lost_folder_is_filled_again() {
    let host = on_disk().start();
    set(&host, "a", "first");
    wait_written(&host, "first");
    let state = host.home().state();
    fs::rename(&state, state.with_extension("aside")).unwrap();
    assert_eq!(count(&host), 1);
    wait_written(&host, "first");
    set(&host, "a", "second");
    wait_written(&host, "second");
}
