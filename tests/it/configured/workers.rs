//! Settings over the ends of workers: what was accepted last serves, and nothing in between.

use hotseat_test_support::{Host, fault, host};
use rustix::process::Signal;

use super::{config, file, named, refused, reloaded, says, secret, shop, with_shop};

/// Kills the worker; the next one serves afterwards.
#[track_caller]
fn crash(host: &Host) {
    let before = host.worker_pid();
    host.signal_process(before, Signal::KILL);
    host.wait_other_worker(before);
}

/// What a reload has refused, or nobody has asked for, is not what a worker after a crash begins with.
#[test]
fn a_worker_after_a_crash_serves_with_what_was_accepted_last() {
    let builder = host!();
    let path = builder.home().write("secret", b"first\n");
    let lines =
        |room: &str| file(&format!("room = '{room}'\ndb.password = 'file:{}'", path.display()));
    let host = with_shop(builder.config(&lines("one")));
    let digest = config(&host);
    // Nobody has asked for it.
    host.home().rewrite_config(&lines("unasked"));
    std::fs::remove_file(&path).unwrap();
    crash(&host);
    assert_eq!((says(&host), config(&host)), ("one [] first".to_owned(), digest.clone()));
    // It is refused.
    assert_eq!(refused(&host).0, "secret_unreadable");
    crash(&host);
    assert_eq!((says(&host), config(&host)), ("one [] first".to_owned(), digest));
    // It is accepted, and then the file is anything.
    secret(&host, "second");
    host.home().rewrite_config(&lines("two"));
    assert_eq!(reloaded(&host)["deployed"][0]["plugin"], "shop");
    let digest = config(&host);
    host.home().rewrite_config("colour = 1\n");
    std::fs::remove_file(&path).unwrap();
    crash(&host);
    assert_eq!((says(&host), config(&host)), ("two [] second".to_owned(), digest));
}

/// An upgrade reads everything anew: refused settings refuse it with the same words, and the worker
/// after the refusal has what it had.
#[test]
fn an_upgrade_reads_the_settings_anew() {
    let host = shop("room = 'one'");
    host.home().rewrite_config(&file("room = 'reloaded'"));
    reloaded(&host);
    host.home().rewrite_config(&file("room = 7"));
    let (_, said) = refused(&host);
    let place = format!("{}:4: [plugin.shop] room: invalid type: integer `7`", named(&host));
    assert!(said.contains(&place), "{said}");
    host.upgrade(&["--wait"]).assert_code(3).assert_says(&place);
    assert_eq!(says(&host), "reloaded [] ");
    host.home().rewrite_config(&file("room = 'env:NOBODY_SETS_IT'"));
    let missing = "[plugin.shop] room: the host was started without the variable `NOBODY_SETS_IT`";
    host.upgrade(&["--wait"]).assert_code(3).assert_says(missing);
    crash(&host);
    assert_eq!(says(&host), "reloaded [] ");
    // What it was before the reload is new again.
    host.home().rewrite_config(&file("room = 'one'"));
    let before = host.worker_pid();
    host.hup();
    // Only then is nothing taken back any more.
    host.wait_gone(before);
    assert_eq!(says(&host), "one [] ");
    crash(&host);
    assert_eq!(says(&host), "one [] ");
    host.home().rewrite_config(&file("room = 'two'"));
    assert_eq!(reloaded(&host)["deployed"][0]["plugin"], "shop");
    assert_eq!(says(&host), "two [] ");
}

/// What did not come up for its settings is tried again by a reload, and is in nobody's way if it fails.
#[test]
fn a_reload_brings_up_what_a_start_could_not() {
    let builder = host!();
    let path = builder.home().write("secret", b"first\n");
    let shop = file(&format!("room = 'one'\ndb.password = 'file:{}'", path.display()));
    let text = |room: &str| format!("[plugin.other]\nroom = '{room}'\n{shop}");
    let mut host = with_shop(builder.config(&text("one")));
    host.deploy(&fault("configured"), "libother_v1.so").swapped();
    std::fs::remove_file(&path).unwrap();
    host.restart();
    host.get("/shop").assert_status(503);
    assert_eq!(host.get("/other").text(), "one [] ");
    host.home().rewrite_config(&text("two"));
    let answer = reloaded(&host);
    let why = answer["not_loaded"]["shop"].as_str().unwrap();
    assert!(why.contains("[plugin.shop] db.password: cannot read"), "{why}");
    assert_eq!(host.get("/other").text(), "two [] ");
    host.get("/shop").assert_status(503);
    secret(&host, "second");
    assert_eq!(reloaded(&host)["deployed"][0]["plugin"], "shop");
    assert_eq!(says(&host), "one [] second");
    host.control().get("/readyz").assert_status(200);
    std::fs::remove_file(&path).unwrap();
    crash(&host);
    assert_eq!(says(&host), "one [] second");
}

/// A host in one process reloads as well.
#[test]
fn a_single_process_reloads() {
    let host = with_shop(host!().config(&file("room = 'one'")).arg("--single"));
    host.home().rewrite_config(&file("room = 'two'"));
    assert_eq!(reloaded(&host)["deployed"][0]["plugin"], "shop");
    assert_eq!(says(&host), "two [] ");
}
