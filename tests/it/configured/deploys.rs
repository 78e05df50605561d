//! A library and the settings that it needs are one deploy, whatever the version before says to them.

use hotseat_test_support::{Host, eventually, fault, host, wire};
use rustix::process::Signal;
use serde_json::json;

use super::{BASE, file, named, refused, reloaded, says, shop, with_shop};

/// What v1 denies and v2 needs.
const MORE: &str = "room = 'two'\ncolour = 'red'";

/// `shop` v1 serves, and the file has what only v2 takes.
fn host() -> Host {
    let host = shop("room = 'one'");
    host.home().rewrite_config(&file(MORE));
    host
}

/// Brings v2; the text of the answer.
#[track_caller]
fn deploy(host: &Host) -> String {
    let deploy = host.deploy(&fault("configured_more"), "libshop_v2.so");
    deploy.answer.assert_status(200);
    deploy.answer.text()
}

#[track_caller]
fn crash(host: &Host) {
    let before = host.worker_pid();
    host.signal_process(before, Signal::KILL);
    host.wait_other_worker(before);
}

fn warning(host: &Host) -> String {
    wire::text(&wire::plugin(&host.status(), "shop"), "/warning")
}

/// A setting without a default is deployed over a version that denies it: a reload asks the version that
/// serves, and says what to do; the deploy goes by the file as it is now, and so does all that follows.
#[test]
fn a_new_setting_comes_with_the_version_that_needs_it() {
    let host = host();
    let (code, message) = refused(&host);
    assert_eq!(code, "new_failed", "{message}");
    let hint = super::reload(&host).json()["error"]["hint"].as_str().unwrap().to_owned();
    assert!(hint.contains("a deploy reads the table of its plugin anew"), "{hint}");
    let traffic = host.traffic("/shop");
    traffic.wait_for(20);
    let text = deploy(&host);
    let note = "[plugin.shop] is taken as the file has it now: it has changed";
    assert!(text.lines().any(|it| it.contains(note)), "{text}");
    assert_eq!(says(&host), "red two");
    let met = traffic.finish();
    assert_eq!(met.keys().collect::<Vec<_>>(), ["one [] ", "red two"]);
    host.assert_no_failed_requests();
    assert_eq!(reloaded(&host)["unchanged"], json!(["shop"]));
    host.home().rewrite_config("colour = 1\n");
    crash(&host);
    assert_eq!(says(&host), "red two");
}

/// Without a reload in between the next worker has the deploy's table as well, and those that nobody has
/// asked for are not in force.
#[test]
fn a_deploy_takes_its_own_table_alone() {
    let both = |shop: &str, other: &str| format!("{}[plugin.other]\n{other}\n", file(shop));
    let host = with_shop(host!().config(&both("room = 'one'", "room = 'one'")));
    host.deploy(&fault("configured"), "libother_v1.so").swapped();
    host.home().rewrite_config(&both(MORE, "room = 'unasked'"));
    deploy(&host);
    host.home().rewrite_config("colour = 1\n");
    for _ in 0..2 {
        assert_eq!((says(&host), host.get("/other").text()), ("red two".into(), "one [] ".into()));
        crash(&host);
    }
}

/// A file that is wrong keeps no deploy back that goes without it, and is told where one does not.
#[test]
fn a_file_that_is_wrong_is_told_and_not_needed() {
    let host = shop("room = 'one'");
    host.home().rewrite_config(&format!("{}\ncolour", file(MORE)));
    let note = "the settings are those that were accepted last, because now there are none: ";
    let deploy = host.deploy(&fault("configured_more"), "libshop_v2.so");
    let refused = deploy.assert_refused(422, "new_failed");
    assert!(refused.text.contains("missing field `colour`"), "{}", refused.text);
    assert!(deploy.answer.text().contains(note), "{}", deploy.answer.text());
    assert!(deploy.answer.text().contains(&named(&host)), "{}", deploy.answer.text());
    let path = host.home().path().join("libshop_v1.so");
    let force = json!({ "path": path, "force": true });
    let answer = host.control().post_json("/v1/deploys", &force);
    answer.assert_status(200).assert_contains(note);
    assert_eq!(says(&host), "one [] ");
}

/// A rollback leads to a version that does not take what is there now: it has what it had.
#[test]
fn a_rollback_has_the_settings_of_its_version() {
    let host = host();
    deploy(&host);
    let rollback = || host.control().post_json("/v1/rollback", &json!({ "plugin": "shop" }));
    let answer = rollback();
    answer.assert_status(200).assert_contains("with which it served last");
    assert_eq!(says(&host), "one [] ");
    host.home().rewrite_config("colour = 1\n");
    crash(&host);
    assert_eq!(says(&host), "one [] ", "{}", host.log_end());
    // What it takes it is given, as before.
    host.home().rewrite_config(&file("room = 'three'"));
    reloaded(&host);
    assert_eq!(says(&host), "three [] ");
    host.home().rewrite_config(&file(MORE));
    deploy(&host);
    host.home().rewrite_config(BASE);
    assert_eq!(rollback().status, 200);
    assert_eq!(says(&host), "three [] ");
}

/// So has the version before one that is withdrawn.
#[test]
fn a_version_that_is_withdrawn_takes_its_settings_with_it() {
    let limits = format!("{BASE}crash_count = 1\n");
    let text = |shop: &str| file(shop).replace(BASE, &limits);
    let host = with_shop(host!().config(&text("room = 'one'")));
    host.home().rewrite_config(&text(MORE));
    deploy(&host);
    let before = host.worker_pid();
    let _ = host.connect().get("/shop/abort");
    host.wait_other_worker(before);
    eventually!(host.get("/shop").status == 200, "{}", host.log_end());
    assert_eq!(says(&host), "one [] ");
    assert!(warning(&host).contains("was withdrawn"), "{}", warning(&host));
    let log = host.home().read_log();
    assert!(log.contains("it was given the settings with which it served last"), "{log}");
}

/// What the host itself goes by for a plugin comes with the deploy as well.
#[test]
fn a_deploy_brings_the_hosts_own_keys_of_its_table() {
    let host = shop("room = 'one'");
    let room = "x".repeat(3 << 20);
    let rule = "memory_max = '1MiB'\nmemory_policy = 'refuse'";
    host.home().rewrite_config(&file(&format!("room = '{room}'\ncolour = 'red'\n{rule}")));
    deploy(&host);
    let refuses = || host.control().get("/").text().contains("new requests are refused");
    eventually!(refuses(), "nobody looks at the memory that it may hold since");
}
