//! What is kept: kill -9 at any moment leaves a state that boots.

use std::{fs, sync::mpsc, time::Duration};

use hotseat_test_support::{Host, eventually, fault, library, wire};

/// The last generation that was acknowledged in `answers`, each a generation and a text that it
/// answers with.
fn post_until_killed(host: &Host, round: u64) -> mpsc::Receiver<u64> {
    let (sender, receiver) = mpsc::channel();
    let control = host.control();
    let home = host.home().clone();
    std::thread::spawn(move || {
        for number in 0_u64.. {
            let even = number.is_multiple_of(2);
            let good = library::bytes(&fault(if even { "plain_v2" } else { "plain_v1" }));
            let bytes = [good, round.to_le_bytes().into(), number.to_le_bytes().into()].concat();
            let name = format!("libhandler_v{}.so", number + 2);
            home.write(&name, &bytes);
            // The host may be killed before, within or after any of these.
            let Ok(mut connection) = hotseat_test_support::Connection::open(control.address) else {
                return;
            };
            let head = "POST / HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n";
            let sent =
                connection.send(format!("{head}Content-Length: {}\r\n\r\n{name}", name.len()));
            let Ok(answer) = sent.and_then(|()| connection.read_answer()) else { return };
            assert_eq!(answer.status, 200, "{}", answer.text());
            if sender.send(wire::number(&answer.json(), "/generation")).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A killed host boots what was acknowledged last, or something newer. Returns that generation.
#[track_caller]
fn check_boots(host: &mut Host, answers: &mpsc::Receiver<u64>, committed: u64) -> u64 {
    let committed = answers.iter().last().unwrap_or(committed);
    host.start_again();
    host.get("/").assert_status(200);
    let status = host.status();
    let plugin = wire::plugin(&status, "handler");
    let label: u64 = wire::text(&plugin, "/active/label").parse().unwrap();
    let generation = wire::number(&plugin, "/active/generation");
    assert!(generation >= committed, "generation {generation} after {committed}: {status}");
    let acknowledged = label_of(host, generation);
    assert!(acknowledged.is_none_or(|it| it == label), "generation {generation}: {status}");
    let folders = fs::read_dir(host.state_file("loaded")).unwrap().count();
    assert_eq!(folders, 1, "the folders of dead processes are swept");
    committed
}

/// kill -9 as soon as each phase of a deploy has become true.
#[test]
fn kill_9_in_each_phase_leaves_a_state_that_boots() {
    let mut host = crate::plain_host();
    let mut committed = host.active("handler");
    for (round, phase) in
        (20..).zip(["queued", "staged", "verified", "passed", "loaded", "committed"])
    {
        let mut events = host.events();
        let answers = post_until_killed(&host, round);
        events.wait_phase(phase);
        host.kill9();
        committed = check_boots(&mut host, &answers, committed);
    }
}

/// Rounds of updates, each ended by kill -9 a little later than the one before: in every phase.
/// What was acknowledged boots, or something newer that was not yet acknowledged.
#[test]
fn kill_9_at_any_moment_leaves_a_state_that_boots() {
    let mut host = crate::plain_host();
    let mut committed = host.active("handler");
    for round in 0..15_u64 {
        let answers = post_until_killed(&host, round);
        committed = answers.recv().expect("the first update of a round is acknowledged");
        // The moment is what is varied: nothing is waited for.
        hotseat_test_support::patience::breathe(Duration::from_millis(round * 3));
        host.kill9();
        committed = check_boots(&mut host, &answers, committed);
    }
    assert!(committed > 15, "{committed}");
}

/// The label under which `generation` was deployed, from the history.
fn label_of(host: &Host, generation: u64) -> Option<u64> {
    let history = host.control().history();
    let entry = history.iter().find(|it| it["generation"] == generation)?;
    entry["label"].as_str()?.parse().ok()
}

/// A manifest that cannot be read: the one before it boots, with an error in the log.
#[test]
fn a_bad_manifest_falls_back_to_the_one_before() {
    let mut host = crate::plain_host();
    // The one before is kept from the moment that it is on the disk; each deploy looks anew. The very
    // first has no version yet.
    let mut label = 2;
    eventually!(
        {
            let library = fault(if label % 2 == 0 { "plain_v2" } else { "plain_v1" });
            host.deploy(&library, &format!("libhandler_v{label}.so")).swapped();
            label += 1;
            let before = fs::read_to_string(host.state_file("manifest.previous.json"));
            before.is_ok_and(|text| text.contains("handler"))
        },
        "a manifest before with a version is kept"
    );
    host.kill9();
    fs::write(host.state_file("manifest.json"), b"{ this is no manifest").unwrap();
    host.start_again();
    host.get("/").assert_status(200);
    host.assert_logged("manifest");
    host.deploy(&fault("versioned"), "libhandler_v7.so").swapped();
}

/// A kept artifact that is not what was kept: the version before boots, and the error is told.
#[test]
fn a_damaged_artifact_falls_back_to_the_version_before() {
    let mut host = crate::plain_host();
    host.deploy(&fault("plain_v2"), "libhandler_v2.so").swapped();
    let digest = wire::text(&wire::plugin(&host.status(), "handler"), "/active/digest");
    host.kill9();
    let artifact = host.state_file("artifacts").join(format!("{digest}.so"));
    let mut bytes = fs::read(&artifact).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&artifact).unwrap();
    fs::write(&artifact, bytes).unwrap();
    host.start_again();
    host.get("/").assert_status(200).assert_contains("v1");
    host.assert_logged("artifact_damaged");
    // The status says so, and what is kept and served is what it is.
    let plugin = wire::plugin(&host.status(), "handler");
    let warning = wire::text(&plugin, "/warning");
    assert!(warning.starts_with("committed generation 2 (v2) does not load: "), "{warning}");
    assert!(warning.ends_with("; serving generation 1"), "{warning}");
    host.control().get("/").assert_contains("warning: handler: committed generation 2");
    let kept: Vec<_> =
        wire::list(&plugin, "/kept").iter().map(|it| wire::number(it, "/generation")).collect();
    assert_eq!(kept, [2]);
    host.control().rollback(Some("handler"), Some(1)).assert_refused(409, "already_serves");
    let refused = host.control().rollback(Some("handler"), Some(2)).refused();
    assert_ne!(refused.code, "already_serves", "it does not serve: {refused:?}");
    host.deploy(&fault("plain_v2"), "libhandler_v3.so").swapped();
    let plugin = wire::plugin(&host.status(), "handler");
    assert!(plugin["warning"].is_null(), "{plugin}");
}

/// A committed plugin whose place is taken meanwhile is left out at the start and by a rollback.
#[test]
fn a_plugin_whose_place_is_taken_is_left_out() {
    let first = hotseat_test_support::host!()
        .with(fault("plain_v1"), "libhandler_v1.so")
        .with(fault("reflect"), "libreflect_v1.so");
    let home = first.home().clone();
    let mut host = first.start();
    assert!(host.stop().success());
    let host = hotseat_test_support::host!().at(&home).arg("--mount=/reflect=handler").start();
    host.get("/reflect").assert_status(200).assert_contains("v1");
    let plugin = wire::plugin(&host.status(), "reflect");
    assert!(plugin["active"].is_null(), "{plugin}");
    assert!(wire::text(&plugin, "/warning").contains("belongs to `handler`"), "{plugin}");
    host.assert_logged("mount_taken");
    let generation = wire::number(&plugin, "/kept/0/generation");
    let back = host.control().rollback(Some("reflect"), Some(generation));
    back.assert_refused(409, "mount_taken");
    host.get("/reflect").assert_status(200).assert_contains("v1");
}

/// None of its artifacts is there any more: its mount answers 503, the others serve.
#[test]
fn nothing_left_to_boot_is_a_503() {
    let mut host = hotseat_test_support::host!()
        .with(fault("plain_v1"), "libhandler_v1.so")
        .with(fault("reflect"), "libreflect_v1.so")
        .start();
    let digest = wire::text(&wire::plugin(&host.status(), "handler"), "/active/digest");
    host.kill9();
    fs::remove_file(host.state_file("artifacts").join(format!("{digest}.so"))).unwrap();
    host.start_again();
    host.get("/").assert_error(503, "no_generation");
    host.get("/reflect").assert_status(200);
    host.control().get("/readyz").assert_status(503).assert_contains("missing");
}

/// The active version and five before it are kept, no more.
#[test]
fn retention_is_bounded() {
    let host = crate::plain_host();
    for version in 2..12_u8 {
        let bytes = [library::bytes(&fault("plain_v2")), vec![version]].concat();
        host.deploy_bytes(&bytes, &format!("libhandler_v{version}.so")).swapped();
    }
    // What is too much is forgotten after the answer.
    let kept = || wire::list(&wire::plugin(&host.status(), "handler"), "/kept");
    hotseat_test_support::eventually!(kept().len() == 5, "five others: {:?}", kept());
    let count = || fs::read_dir(host.state_file("artifacts")).unwrap().count();
    hotseat_test_support::eventually!(count() == 6, "{} artifacts", count());
}

/// Nobody but the host's own account may look into its state.
#[test]
fn the_state_is_private() {
    use std::os::unix::fs::PermissionsExt as _;

    let host = crate::plain_host();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&host.home().state()), 0o700);
    for entry in fs::read_dir(host.state_file("artifacts")).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o400);
    }
}

/// History has a line for each order, refusals among them, newest first, and outlives the process.
#[test]
fn history_tells_every_order() {
    let mut host = crate::plain_host();
    host.deploy(&fault("new_fails"), "libhandler_v2.so").assert_refused(422, "new_failed");
    host.deploy(&fault("plain_v2"), "libhandler_v3.so").swapped();
    host.restart();
    let history = host.control().history();
    let outcomes: Vec<_> = history.iter().map(|it| it["outcome"].as_str().unwrap_or("?")).collect();
    let refused = outcomes.iter().position(|it| *it == "new_failed");
    assert!(refused.is_some(), "{history:?}");
    assert!(outcomes[..refused.unwrap()].contains(&"swapped"), "{history:?}");
}
