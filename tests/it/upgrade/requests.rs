//! Many who ask at once: one upgrade runs, one waits, and the others are told so.

use std::sync::mpsc;

use hotseat_test_support::{Upgrade, eventually, patience};

use super::{Hook, builder, last_verdict, serving_number};

/// Ten commands and some HUPs while one upgrade runs.
#[test]
fn one_runs_and_one_waits() {
    let builder = builder();
    let hook = Hook::new(&builder, "gate");
    let builder = builder.arg("--hook-time=1min").arg(format!("--hook=pre_hup={}", hook.command()));
    let host = builder.start();
    let first = host.begin_upgrade(&["--wait"]);
    let held = hook.runs();
    let (ended, ends) = mpsc::channel::<Upgrade>();
    for _ in 0..10 {
        let (upgrading, ended) = (host.begin_upgrade(&["--wait"]), ended.clone());
        std::thread::spawn(move || ended.send(upgrading.wait()));
    }
    for _ in 0..9 {
        let busy = ends.recv_timeout(patience()).unwrap();
        busy.assert_code(7).assert_says("another one waits");
        assert_eq!(busy.verdict(), "busy");
    }
    for _ in 0..3 {
        host.hup();
    }
    drop(held);
    first.wait().assert_code(0);
    drop(hook.runs());
    ends.recv_timeout(patience()).unwrap().assert_code(0);
    assert_eq!(serving_number(&host), 3, "two upgrades");
}

/// HUPs that come while one runs are one more upgrade together.
#[test]
fn signals_coalesce() {
    let builder = builder();
    let hook = Hook::new(&builder, "gate");
    let builder = builder.arg("--hook-time=1min").arg(format!("--hook=pre_hup={}", hook.command()));
    let host = builder.start();
    host.hup();
    let held = hook.runs();
    for _ in 0..5 {
        host.hup();
    }
    drop(held);
    eventually!(serving_number(&host) == 2, "the first one's commit");
    drop(hook.runs());
    eventually!(
        serving_number(&host) == 3 && host.processes().len() == 2,
        "two upgrades: {:?}",
        host.processes()
    );
    assert_eq!(last_verdict(&host).as_deref(), Some("committed"));
    // Nothing else waits: the next one begins at once.
    let third = host.begin_upgrade(&["--wait"]);
    drop(hook.runs());
    third.wait().assert_code(0);
    assert_eq!(serving_number(&host), 4);
}
