//! Clients of HTTP/2 that change their minds about what they take.

use std::time::Duration;

use hotseat_test_support::{
    http2::{RawHttp2, frame::kind, raw::INITIAL_WINDOW_SIZE},
    patience::pass,
};

use super::{assert_well, edge};

/// A peer that was given all of its answers and then shuts the windows again is cut as well, with
/// its connection: no stream is left that could be.
#[test]
fn a_peer_that_shuts_its_windows_again_is_cut() {
    let host = edge().arg("--body-gap=1s").start();
    let mut client = RawHttp2::open(host.data(), &[(INITIAL_WINDOW_SIZE, 1 << 30)]).unwrap();
    client.grants = false;
    client.grant(0, 1 << 30).unwrap();
    // More than a socket takes at once, in pieces that each are given away whole.
    for _ in 0..60 {
        client.begin("GET", "/edge?answer=bytes&size=300000", &[], true).unwrap();
    }
    pass(Duration::from_millis(500));
    client.send(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).unwrap();
    client.wait_closed().expect("it is not waited for");
    assert_well(&host);
}
