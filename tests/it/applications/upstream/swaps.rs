//! It is swapped as others are: nobody notices, and nothing of its clients is left.

use hotseat_test_support::{eventually, library, plugin, procfs};

use super::{Origin, origin::Always, send, start};

/// With `HOTSEAT_SLOW=1`: 300.
fn swaps() -> u32 {
    if std::env::var_os("HOTSEAT_SLOW").is_some_and(|it| it == "1") { 300 } else { 60 }
}

#[test]
fn nothing_is_left_of_it_under_load() {
    let upstream = Always::new("answered");
    let host = start(&upstream.url(), "tries = 1");
    let bytes = library::bytes(&plugin("upstream"));
    let worker = host.worker_pid();
    let held = || (procfs::descriptors(worker), procfs::threads(worker));
    let traffic = host.traffic("/upstream/x");
    let mut early = (0, 0);
    for version in 0..swaps() {
        traffic.wait_for(6);
        let bytes = [&*bytes, &version.to_le_bytes()].concat();
        host.deploy_bytes(&bytes, "libupstream_v2.so").swapped();
        if version == 10 {
            early = held();
        }
    }
    traffic.wait_for(6);
    let seen = traffic.finish();
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["answered"]);
    host.assert_no_failed_requests();
    host.assert_all_unloaded("upstream");
    assert_eq!(host.worker_pid(), worker);
    println!("{} swaps, {} requests; {early:?} to {:?}", swaps(), seen["answered"], held());
    // While it was busy there were more, if anything.
    eventually!(held().0 <= early.0 && held().1 <= early.1, "{early:?} to {:?}", held());
}

/// Who was asking when it was swapped has its answer from the version that it began with, which then
/// goes; the next request meets the new one.
#[test]
fn who_is_asking_ends_on_its_version() {
    let origin = Origin::new();
    let host = start(&origin.url(), "");
    let mut events = host.events();
    let mut client = send(&host, "GET", "");
    let mut asked = origin.asked();
    let bytes = [library::bytes(&plugin("upstream")), vec![0]].concat();
    host.deploy_bytes(&bytes, "libupstream_v2.so").swapped();
    let mut later = send(&host, "GET", "");
    origin.asked().answer("200 OK", "later");
    later.read_answer().unwrap().assert_contains("later");
    asked.connection.send("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nearlier").unwrap();
    client.read_answer().unwrap().assert_contains("earlier");
    // The connection that its pool keeps is closed with it.
    asked.connection.wait_closed().unwrap();
    events.wait_generation(1, "unloaded");
    host.assert_all_unloaded("upstream");
}
