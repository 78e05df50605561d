//! A version that does not know the schema cannot come back, whoever would bring it.

use hotseat_test_support::{Builder, Connection, Host, eventually, fault, host, plugin, wire};

use super::{API, config, file, opened};
use crate::crash::{next_worker, try_status, warning};

const SAYS: &str = "its schema is 3, and this version of the plugin knows up to 2";

/// A folder in which `trouble` is told what to do, by the generation.
fn builder() -> Builder {
    let builder = host!().config(&config("")).arg("--crash-count=1").arg("--crash-window=5min");
    let folder = builder.home().path().join("trouble");
    std::fs::create_dir_all(&folder).unwrap();
    builder.env("HOTSEAT_TEST_TROUBLE", folder)
}

/// Generation 2 has changed the schema, and does `what` from now on.
fn changed_by_one_that(what: &str) -> Host {
    let host = builder().start();
    host.deploy(&plugin("notes"), "libnotes_v1.so").swapped();
    host.get(API).assert_status(200);
    assert_eq!(host.deploy(&fault("trouble"), "libnotes_v2.so").swapped().generation, 2);
    opened(&file(&host)).pragma_update(None, "user_version", 3).unwrap();
    std::fs::write(host.home().path().join("trouble/2"), what).unwrap();
    host
}

/// Version 2 is withdrawn, and the one before is not made: nobody serves, and the log says why.
#[track_caller]
fn check_nobody_serves(host: &Host) {
    let told = || try_status(host).map(|it| warning(&it, "notes")).unwrap_or_default();
    eventually!(told().contains("generation 2 (v2)"), "{}\n{}", told(), host.log_end());
    assert_eq!(wire::active(&host.status(), "notes"), None, "{}", host.status());
    host.get(API).assert_status(503);
    host.assert_logged(SAYS);
}

#[test]
fn not_after_a_crash() {
    let host = changed_by_one_that("call abort");
    let worker = host.worker_pid();
    let answer = Connection::open(host.data()).unwrap().get(API);
    assert!(answer.is_err(), "{answer:?}");
    next_worker(&host, worker);
    check_nobody_serves(&host);
}

#[test]
fn not_at_a_start() {
    let mut host = changed_by_one_that("new abort");
    host.restart();
    check_nobody_serves(&host);
}
