//! A new binary that turns bad after its upgrade: the one before is gone back to.

use hotseat_test_support::{binary, eventually, fault, host, wire};
use rustix::process::Signal;

use super::try_status;

/// It stood the soak; later a worker crashes and no other comes up. The binary is to blame, and
/// nobody was refused meanwhile.
#[test]
fn a_binary_that_does_not_come_up_again_gives_way_to_the_one_before() {
    let builder = host!().arg("--soak-time=0s").arg("--crash-count=2");
    let host = builder.with(fault("whoami"), "libhandler_v1.so").start();
    let real = env!("CARGO_BIN_EXE_hotseat");
    let (new, flag) = (host.home().path().join("new"), host.home().path().join("flag"));
    binary::fragile(real.as_ref(), &new, &flag);
    let of_worker = |status: &serde_json::Value| {
        let all = wire::list(status, "/processes");
        all.iter().find(|it| it["role"] == "serving").map(|it| it["binary"].clone())
    };
    // The master tells its workers of each other a moment after it has acted.
    let served = || {
        eventually!(of_worker(&host.status()).is_some(), "a worker serves: {}", host.status());
        of_worker(&host.status()).unwrap()
    };
    let good = served();
    host.upgrade(&["--binary", new.to_str().unwrap(), "--wait"]).assert_code(0);
    let bad = served();
    assert_ne!(good, bad);
    let generation = host.active("handler");
    let worker = host.worker_pid();
    std::fs::write(&flag, b"").unwrap();
    host.signal_process(worker, Signal::KILL);
    host.wait_gone(worker);
    let mut waiting = host.connect();
    waiting.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    waiting.read_answer().unwrap().assert_status(200);
    let mut now = None;
    eventually!(
        {
            now = try_status(&host).as_ref().and_then(of_worker);
            now.is_some()
        },
        "a worker\n{}",
        host.log_end()
    );
    assert_ne!(now, Some(bad), "{}", host.log_end());
    assert_eq!(host.active("handler"), generation);
    host.assert_logged("the binary is to blame");
    // The one that works is what the next upgrade finds; the other one is as bad as before.
    host.upgrade(&["--wait"]).assert_code(0);
    host.upgrade(&["--binary", new.to_str().unwrap(), "--wait"]).assert_code(4);
}
