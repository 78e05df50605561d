//! A flood of connections leaves descriptors to everything else.

use hotseat_test_support::procfs;

use super::*;

/// Of all descriptors, and so of connections: the reserve is half where there are so few.
const DESCRIPTORS: usize = 400;
const CONNECTIONS: usize = DESCRIPTORS / 2;

/// More clients than the process has descriptors, each with a connection that it keeps: the control
/// plane answers throughout, a version and the host itself are replaced, and the log says why no
/// more is accepted.
#[test]
fn a_flood_leaves_descriptors_to_everything_else() {
    let limit = format!("ulimit -n {DESCRIPTORS} && exec \"$@\"");
    let builder = whoami().arg("--idle-linger=100ms").through(&["sh", "-c", &limit, "sh"]);
    let host = builder.start();
    let mut flood: Vec<Connection> = (0..DESCRIPTORS + 100).map(|_| host.connect()).collect();
    for connection in &mut flood {
        connection.send_request("GET", "/", "").unwrap();
    }
    let worker = host.worker_pid();
    for connection in &mut flood[..CONNECTIONS / 2] {
        connection.read_answer().unwrap().assert_status(200);
    }
    eventually!(procfs::descriptors(worker) >= CONNECTIONS, "the flood inside");
    let mut events = host.events();
    for _ in 0..20 {
        host.control().get("/readyz").assert_status(200);
        host.control().get("/metrics").assert_status(200);
    }
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    events.wait_generation(2, "committed");
    let open = procfs::descriptors(worker);
    assert!(open < DESCRIPTORS - 50, "{open} descriptors are open");
    host.assert_logged("allows fewer connections than are configured");
    let log = host.home().read_log();
    assert_eq!(log.matches("allows fewer connections than are configured").count(), 1, "{log}");
    host.upgrade(&["--wait"]).assert_code(0);
    assert_eq!(host.active("handler"), 2);
    drop(flood);
    host.get("/").assert_status(200).assert_contains("v2");
}
