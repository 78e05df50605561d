//! A constructor that does not return, in the serving process alone, holds the loader: sooner or
//! later every thread waits behind it.

use super::*;

/// The load is refused, and another worker takes over in good order: what is in flight is answered,
/// and what was ordered meanwhile is carried out there.
#[test]
fn a_worker_whose_loader_is_held_is_replaced() {
    let builder = host!().arg("--load-time=2s").arg("--soak-time=50ms").arg("--debounce=20ms");
    let folder = builder.home().path().join("trouble");
    std::fs::create_dir_all(&folder).unwrap();
    let builder = builder.env("HOTSEAT_TEST_TROUBLE", folder.clone());
    let mut host = builder.with(fault("gate"), "libhandler_v1.so").start();
    let before = host.worker_pid();
    let held = host.hold("/");
    std::fs::write(folder.join("any"), "constructor hang").unwrap();
    std::thread::scope(|scope| {
        let bad = scope.spawn(|| host.deploy(&fault("trouble"), "libbad_v1.so"));
        let orders = || wire::list(&host.control().get_json("/v1/deploys"), "/orders");
        eventually!(orders().iter().any(|it| it["state"] == "running"));
        host.home().drop_in(&fault("trouble"), "libworse_v1.so");
        eventually!(orders().iter().any(|it| it["state"] == "waiting"));
        bad.join().unwrap().assert_refused(422, "load_timeout");
    });
    std::fs::remove_file(folder.join("any")).unwrap();
    eventually!(
        try_status(&host).is_some_and(|it| wire::number(&it, "/pid") != u64::from(before)),
        "another worker\n{}",
        host.log_end()
    );
    host.assert_logged("holds the loader, of generation 2");
    held.release().assert_status(200);
    eventually!(host.get("/worse").status == 200, "{}", host.log_end());
    host.deploy(&fault("plain_v2"), "libother_v1.so").swapped();
    host.get("/other").assert_status(200).assert_contains("v2");
    assert_eq!(host.stop().code(), Some(0));
}
