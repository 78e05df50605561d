//! How tasks begin and end: each moment of a version's life, and each place that a task is spawned from.

use hotseat_test_support::{Host, eventually, fault, wire};

use super::*;
use crate::hooks::quick;

/// From `new`, from a task, from a task of a task, from a thread of the plugin's own, from a request.
const ORIGINS: [&str; 5] = ["new", "chain", "link", "thread", "request"];

/// `beside`, whose tasks from everywhere run.
#[track_caller]
fn started(builder: Builder) -> (Host, Of) {
    let host = builder.start();
    host.get("/spawn?request").assert_status(200);
    let first = serving(&host);
    assert_begun(&host, first, &ORIGINS);
    (host, first)
}

#[track_caller]
fn assert_begun(host: &Host, of: Of, origins: &[&str]) {
    for name in origins {
        let begun = || count(host, of, name, "begun") == 1;
        eventually!(begun(), "`{name}` in {:?}\n{}", book(host), host.log_end());
    }
    eventually!(count(host, of, "every", "ran") > 0, "{:?}", book(host));
}

/// Each task has begun and ended once, on one data thread, before `stop`; what was spawned at the end was
/// refused, and nothing of the version did anything afterwards.
#[track_caller]
fn check_ended(host: &Host, of: Of, origins: &[&str]) {
    // The last line of all.
    let ended = || count(host, of, "in-drop", "refused:Ended") == 1;
    eventually!(ended(), "the end of {of:?} in {:?}\n{}", book(host), host.log_end());
    let book = book(host);
    let one = |name: &str, what: &str| -> usize {
        let found = places(&book, of, name, what);
        assert_eq!(found.len(), 1, "{name} {what} of {of:?}: {book:?}");
        found[0]
    };
    let stop = one("handler", "stop");
    for name in origins {
        let (begun, dropped) = (one(name, "begun"), one(name, "dropped"));
        assert!(begun < dropped && dropped < stop, "{name}: {book:?}");
        let thread = &book[begun].thread;
        assert!(thread.starts_with("core-"), "{name}: {book:?}");
        assert_eq!(*thread, book[dropped].thread, "{name}: {book:?}");
    }
    for name in ["after-chain", "after-link", "in-stop", "in-drop"] {
        one(name, "refused:Ended");
    }
    let late = book[stop..].iter().filter(|it| it.of == of && it.what == "ran");
    assert_eq!(late.count(), 0, "{book:?}");
    assert!(book.iter().all(|it| it.name != "late"), "{book:?}");
}

#[test]
fn a_swap_ends_them() {
    let (host, first) = started(builder());
    host.deploy_bytes(&version(2), "libhandler_v2.so").swapped();
    check_ended(&host, first, &ORIGINS);
    host.assert_all_unloaded("beside");
    assert_begun(&host, serving(&host), &["new", "chain", "link", "thread"]);
}

#[test]
fn a_withdrawal_ends_them() {
    let (host, first) = started(builder());
    host.control().unload("handler").assert_status(200);
    check_ended(&host, first, &ORIGINS);
    eventually!(host.loaded().is_empty(), "{:?}", host.loaded());
}

/// They go on as long as the last request does, and periodic work ends with the notice.
#[test]
fn they_go_on_until_the_last_request() {
    let (host, first) = started(builder());
    let held = host.hold("/gate");
    host.deploy_bytes(&version(2), "libhandler_v2.so").swapped();
    let second = serving(&host);
    let ran = |of| count(&host, of, "every", "ran");
    let mut before = (ran(first), ran(second));
    // Until the new version has run five times in which the old one has not once.
    eventually!(
        {
            let now = (ran(first), ran(second));
            if now.0 != before.0 {
                before = now;
            }
            now.1 >= before.1 + 5
        },
        "{:?}",
        book(&host)
    );
    for name in ORIGINS {
        assert_eq!(count(&host, first, name, "dropped"), 0, "{:?}", book(&host));
    }
    held.release().assert_status(200);
    check_ended(&host, first, &ORIGINS);
    host.assert_all_unloaded("beside");
}

#[test]
fn a_cut_ends_them() {
    let (host, first) = started(builder().arg("--generation-drain=200ms"));
    let (_connection, waiting) = host.hold("/gate").into_parts();
    host.deploy_bytes(&version(2), "libhandler_v2.so").swapped();
    waiting.wait_dropped();
    check_ended(&host, first, &ORIGINS);
    host.assert_all_unloaded("beside");
}

#[test]
fn a_stop_ends_them() {
    let (mut host, first) = started(builder());
    assert_eq!(host.stop().code(), Some(0), "{}", host.log_end());
    check_ended(&host, first, &ORIGINS);
}

#[test]
fn a_host_in_one_process_ends_them() {
    let (mut host, first) = started(builder().arg("--single"));
    host.deploy_bytes(&version(2), "libhandler_v2.so").swapped();
    check_ended(&host, first, &ORIGINS);
    assert_eq!(host.stop().code(), Some(0), "{}", host.log_end());
}

/// Those of a worker that drains go on until its last request, beside those of the next one.
#[test]
fn an_upgrade_ends_them_with_the_worker() {
    let (host, first) = started(quick(builder()));
    let held = host.hold("/gate");
    host.post_upgrade(&serde_json::json!({ "wait": "commit" })).assert_status(200);
    let second = serving(&host);
    assert_ne!(first, second);
    assert_begun(&host, second, &["new", "chain", "link", "thread"]);
    assert_eq!(count(&host, first, "new", "dropped"), 0, "{:?}", book(&host));
    held.release().assert_status(200);
    host.wait_gone(first.0);
    check_ended(&host, first, &ORIGINS);
    assert_eq!(count(&host, second, "new", "dropped"), 0, "{:?}", book(&host));
}

/// A worker that is given up before it serves runs none.
#[test]
fn a_candidate_that_never_serves_runs_none() {
    let host = quick(builder()).start();
    let file = host.home().path().join("book");
    host.home().rewrite_config(&format!(
        "[plugin.handler]\nfile = '{0}'\n[plugin.other]\nfile = '{0}'\nmode = 'fails'\n",
        file.display()
    ));
    host.upgrade(&["--wait"]).assert_code(0);
    let serves = serving(&host);
    assert_begun(&host, serves, &["new", "chain"]);
    let refused = host.deploy(&fault("beside"), "libother_v1.so").refused();
    assert!(refused.text.contains("as was asked for"), "{refused:?}");
    host.assert_all_unloaded("a load that failed");
    // Of a preflight there are its moments, of the load nothing.
    let begun = |line: &Line| line.what == "begun";
    let book = book(&host);
    assert!(book.iter().filter(|it| begun(it)).all(|it| it.of.1 > 0), "{book:?}");
    assert!(book.iter().all(|it| it.of.1 <= serves.1), "{book:?}");
}

/// One that holds its thread is named; it keeps its own version alone, which goes when it can.
#[test]
fn a_task_that_holds_its_thread_is_named() {
    let (host, first) = started(builder().arg("--threads=2").arg("--heartbeat=100ms"));
    let hold = host.home().write("hold", b"");
    host.get(&format!("/stands?{}", hold.display())).assert_status(200);
    let entry = || crate::blocked::blocked_entry(&host);
    eventually!(entry().is_some(), "{}", host.status());
    let entry = entry().unwrap();
    assert_eq!(entry["doing"], "task", "{entry}");
    assert_eq!((&entry["plugin"], &entry["generation"]), (&"handler".into(), &first.1.into()));
    host.deploy_bytes(&version(2), "libhandler_v2.so").swapped();
    host.get("/spawn?other").assert_status(200);
    assert_begun(&host, serving(&host), &["new", "chain", "link", "thread", "other"]);
    std::fs::remove_file(hold).unwrap();
    check_ended(&host, first, &ORIGINS);
    host.assert_all_unloaded("beside");
}

/// One that does so as it is dropped is what the version waits for, before its `stop`.
#[test]
fn a_task_that_does_not_end_is_told() {
    let (host, first) = started(builder().arg("--threads=2"));
    let hold = host.home().write("hold", b"");
    host.get(&format!("/falls?{}", hold.display())).assert_status(200);
    host.deploy_bytes(&version(2), "libhandler_v2.so").swapped();
    let why = || wire::retired(&host.status(), first.1).map(|it| it["why"].to_string());
    let said = || why().is_some_and(|why| why.contains("a task of it has not ended"));
    eventually!(said(), "{:?}", why());
    assert_eq!(count(&host, first, "handler", "stop"), 0, "{:?}", book(&host));
    std::fs::remove_file(hold).unwrap();
    check_ended(&host, first, &ORIGINS);
    host.assert_all_unloaded("beside");
}
