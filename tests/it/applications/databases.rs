//! What `docs/databases.md` says of files that are locked for as long as a version is there.

use hotseat_test_support::{eventually, fault, host, library};

/// One that keeps its file locked excludes its next version, which is refused while it serves on.
#[test]
fn one_that_keeps_its_lock_keeps_its_next_version_out() {
    let builder = host!();
    let file = builder.home().path().join("locked");
    let config = format!("[plugin.handler]\nfile = '{}'\n", file.display());
    let host = builder.config(&config).with(fault("locks"), "libhandler_v1.so").start();
    let next = [&*library::bytes(&fault("locks")), &[2]].concat();
    let deploy = || host.deploy_bytes(&next, "libhandler_v2.so");
    let refused = deploy().assert_refused(422, "new_failed");
    assert!(refused.text.contains(&format!("lock `{}`", file.display())), "{refused:?}");
    assert_eq!(host.get("/").assert_status(200).text(), "has it");
    host.control().unload("handler").assert_status(200);
    eventually!(host.loaded().is_empty(), "{:?}", host.loaded());
    deploy().swapped();
    assert_eq!(host.get("/").assert_status(200).text(), "has it");
}
