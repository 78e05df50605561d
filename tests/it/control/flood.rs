//! Many clients at once, of whom each kind leaves the others their places.

use hotseat_test_support::{Connection, Host, eventually, fault, host};

/// Below what the control plane takes besides event streams.
const SILENT: usize = 200;

fn listen(host: &Host) -> (Connection, u16) {
    let mut connection = host.control().connect();
    connection.send_request("GET", "/v1/events", "").unwrap();
    let head = connection.read_head().unwrap();
    if head.status != 200 {
        head.assert_error(429, "too_many_event_streams");
        assert_eq!(head.header("retry-after"), Some("1"));
        // What is refused keeps no place of others'.
        connection.wait_closed().unwrap();
    }
    (connection, head.status)
}

/// More event streams than the control plane has places in all, and clients that say nothing: who
/// asks or orders something is answered as ever.
#[test]
fn listeners_do_not_close_the_control_plane() {
    let host =
        host!().arg("--event-streams-count=40").with(fault("plain_v1"), "libhandler_v1.so").start();
    let silent: Vec<_> = (0..SILENT).map(|_| host.control().connect()).collect();
    let mut streams: Vec<_> = (0..40)
        .map(|_| {
            let (connection, status) = listen(&host);
            assert_eq!(status, 200);
            connection
        })
        .collect();
    for _ in 0..300 {
        assert_eq!(listen(&host).1, 429);
    }
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    assert_eq!(host.active("handler"), 2);
    host.control().get("/metrics").assert_status(200);
    host.control().get("/readyz").assert_status(200);
    for stream in &mut streams {
        assert!(!stream.read_chunk().unwrap().is_empty(), "each hears of it");
    }
    streams.pop().unwrap().reset().unwrap();
    eventually!(listen(&host).1 == 200, "the place of one who went");
    drop(silent);
}
