//! The master goes over to a new binary itself, as the process that it is.

use hotseat_test_support::{Host, LoadPlan, binary, eventually, load::Load, procfs};

use super::{
    assert_one_worker,
    binaries::{own_copy, post},
    builder, serving_number,
};

/// The master runs this version.
#[track_caller]
fn wait_image(host: &Host, version: &str) {
    eventually!(
        host.process("master").is_some_and(|it| it.version == version),
        "the master in version {version}: {:?}",
        host.processes()
    );
}

/// Several times under load: nobody notices, the process id stays, and so do the sockets.
#[test]
fn the_master_goes_over_too() {
    let (host, path, real) = own_copy(builder());
    let sockets = procfs::listeners(host.pid());
    let load = Load::start(host.data(), LoadPlan { kept: 20, ..LoadPlan::default() });
    let descriptors = || procfs::descriptors(host.pid());
    let mut counts = Vec::new();
    for number in 11..16 {
        let variant = binary::variant(&real, &path, number);
        assert_eq!(post(&host), "committed");
        wait_image(&host, &variant.version);
        assert_one_worker(&host, host.worker_pid());
        counts.push(descriptors());
        load.wait_for(20);
    }
    load.stop().assert_clean().assert_announced();
    assert_eq!(procfs::listeners(host.pid()), sockets);
    // The first change leaves one binary more: that of before.
    eventually!(descriptors() == counts[1], "{counts:?}, not {}", descriptors());
    assert_eq!(serving_number(&host), 6);
}

/// A signal that comes while the master changes is not lost: each HUP after a commit is an upgrade.
#[test]
fn no_signal_is_lost_on_the_way() {
    let (host, path, real) = own_copy(builder());
    let mut commits = 1;
    for number in 11..16 {
        let variant = binary::variant(&real, &path, number);
        assert_eq!(post(&host), "committed");
        host.hup();
        commits += 2;
        eventually!(serving_number(&host) == commits, "{commits} commits: {:?}", host.processes());
        wait_image(&host, &variant.version);
    }
    assert_one_worker(&host, host.worker_pid());
}

/// A stop that comes while the master changes is a stop.
#[test]
fn a_stop_is_not_lost_on_the_way() {
    for number in [11, 12] {
        let (mut host, path, real) = own_copy(builder());
        let variant = binary::variant(&real, &path, number);
        assert_eq!(post(&host), "committed");
        assert_eq!(host.stop().code(), Some(0), "{variant:?}: {}", host.log_end());
    }
}

/// It stays what it is where that is wanted.
#[test]
fn the_master_stays_if_told_so() {
    let (host, path, real) = own_copy(builder().arg("--master-reexec=never"));
    let variant = binary::variant(&real, &path, 12);
    assert_eq!(post(&host), "committed");
    assert_eq!(host.wait_role("serving").version, variant.version);
    assert_eq!(post(&host), "committed");
    assert_eq!(host.wait_role("master").version, env!("CARGO_PKG_VERSION"));
}
