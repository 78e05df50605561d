//! A constructor that does not return, in the serving process alone, holds the loader: sooner or
//! later every thread waits behind it.

use super::*;

/// The load is refused, and another worker takes over in good order: what is in flight is answered.
#[test]
fn a_worker_whose_loader_is_held_is_replaced() {
    let builder = host!().arg("--load-time=1s").arg("--soak-time=50ms");
    let folder = builder.home().path().join("trouble");
    std::fs::create_dir_all(&folder).unwrap();
    let builder = builder.env("HOTSEAT_TEST_TROUBLE", folder.clone());
    let mut host = builder.with(fault("gate"), "libhandler_v1.so").start();
    let before = host.worker_pid();
    let held = host.hold("/");
    std::fs::write(folder.join("any"), "constructor hang").unwrap();
    host.deploy(&fault("trouble"), "libbad_v1.so").assert_refused(422, "load_timeout");
    std::fs::remove_file(folder.join("any")).unwrap();
    eventually!(
        try_status(&host).is_some_and(|it| wire::number(&it, "/pid") != u64::from(before)),
        "another worker\n{}",
        host.log_end()
    );
    host.assert_logged("holds the loader, of generation 2");
    held.release().assert_status(200);
    host.deploy(&fault("plain_v2"), "libother_v1.so").swapped();
    host.get("/other").assert_status(200).assert_contains("v2");
    assert_eq!(host.stop().code(), Some(0));
}
