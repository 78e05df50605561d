//! Notes in a SQLite database: whatever is swapped, upgraded or killed meanwhile, the file stays whole
//! and has each note that was acknowledged, once.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use hotseat_test_support::{
    Answer, Connection, Gate, Host, eventually, fault, host, library, plugin,
};
use rusqlite::Connection as Database;
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

mod schemas;
mod swaps;
mod writers;

const API: &str = "/notes/api/notes";

/// The plugin, told from others by its last byte.
fn version(number: u16) -> Vec<u8> {
    [&*library::bytes(&plugin("notes")), &number.to_be_bytes()].concat()
}

/// A file with these lines for `notes`.
fn config(lines: &str) -> String {
    format!("[limits]\nsoak_time = \"50ms\"\n[plugin.notes]\n{lines}\n")
}

#[track_caller]
fn with(lines: &str) -> Host {
    let host = host!().config(&config(lines)).arg("--idle-linger=100ms").start();
    host.deploy(&plugin("notes"), "libnotes_v1.so").swapped();
    host
}

/// Where the plugin puts it when nobody says where.
fn file(host: &Host) -> PathBuf {
    host.home().path().join("notes.db")
}

/// The file, for a test that knows that nobody uses it.
#[track_caller]
fn opened(path: &Path) -> Database {
    Database::open(path).unwrap()
}

/// As a client that knows what it does.
fn send(
    connection: &mut Connection,
    method: &str,
    target: &str,
    body: &str,
) -> std::io::Result<Answer> {
    let length = body.len();
    let fields = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n");
    connection.send(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}"))?;
    connection.read_answer()
}

#[track_caller]
fn ask(host: &Host, method: &str, target: &str, body: &Value) -> Answer {
    send(&mut host.connect(), method, target, &body.to_string()).unwrap()
}

#[track_caller]
fn assert_says(answer: &Answer, status: u16, code: &str, message: &str) {
    let error = &answer.assert_status(status).json()["error"];
    assert_eq!(error["code"], code, "{error}");
    assert!(error["message"].as_str().unwrap().contains(message), "{error}");
}

#[test]
fn notes_are_made_read_changed_and_removed() {
    let host = with("note_bytes = 10");
    let made = ask(&host, "POST", API, &json!({"text": " one "}));
    let place = made.assert_status(201).header("location").unwrap().to_owned();
    assert_eq!(place, "/notes/api/notes/1");
    assert_eq!(host.get(&place).assert_status(200).json(), made.json());
    assert_eq!(made.json()["text"], "one");
    ask(&host, "POST", API, &json!({"text": "two"})).assert_status(201);
    ask(&host, "POST", API, &json!({"text": "three"})).assert_status(201);
    let listed = |query: &str| {
        let answer = host.get(&format!("{API}{query}"));
        let notes = answer.assert_status(200).json();
        notes.as_array().unwrap().iter().map(|it| it["text"].to_string()).collect::<String>()
    };
    assert_eq!(listed(""), r#""one""two""three""#);
    assert_eq!(listed("?after=1&limit=1"), r#""two""#);
    let changed = ask(&host, "PUT", &place, &json!({"text": "1"}));
    assert_eq!(changed.assert_status(200).json()["text"], "1");
    assert!(changed.json()["changed"].is_string(), "{}", changed.text());
    ask(&host, "DELETE", &place, &json!(null)).assert_status(204);
    assert_eq!(listed(""), r#""two""three""#);
    for (method, body) in
        [("GET", json!(null)), ("PUT", json!({"text": "a"})), ("DELETE", json!(0))]
    {
        assert_says(&ask(&host, method, &place, &body), 404, "not_found", "no such note");
    }
    // The number of a note that is gone is not given again.
    ask(&host, "DELETE", &format!("{API}/3"), &json!(null)).assert_status(204);
    let made = ask(&host, "POST", API, &json!({"text": "four"}));
    assert_eq!(made.header("location"), Some("/notes/api/notes/4"));
}

#[test]
fn what_is_wrong_is_told_as_json() {
    let host = with("note_bytes = 10");
    for (method, target, body, status, says) in [
        ("POST", API, r#"{"text": " "}"#, 422, "`text` is empty"),
        ("POST", API, r#"{"text": "12345678901"}"#, 422, "`text` has 11 bytes, 10 are allowed"),
        ("POST", API, r#"{"tex": "a"}"#, 422, "unknown field `tex`"),
        ("POST", API, "{", 400, "Failed to parse"),
        ("GET", "/notes/api/notes?limit=all", "", 400, "invalid digit"),
        ("GET", "/notes/api/notes/one", "", 400, "Cannot parse"),
        ("GET", "/notes/api", "", 404, "no such page"),
        ("PATCH", API, "", 405, "no such method"),
    ] {
        let answer = send(&mut host.connect(), method, target, body).unwrap();
        assert_says(&answer, status, "refused", says);
    }
    let long = json!({"text": "a".repeat(2000)}).to_string();
    let answer = send(&mut host.connect(), "POST", API, &long).unwrap();
    assert_says(&answer, 413, "refused", "length limit exceeded");
}

/// What is internal is in the log, and not in the answer.
#[test]
fn what_is_internal_is_logged() {
    let host = with("");
    opened(&file(&host)).execute_batch("drop table notes").unwrap();
    assert_says(&host.get(API), 500, "internal", "the notes cannot be reached");
    host.assert_logged("no such table: notes");
}

#[test]
fn the_page_is_below_its_mount() {
    let host = with("");
    for target in ["/notes", "/notes/"] {
        let page = host.get(target);
        let kind = page.assert_status(200).header("content-type").unwrap();
        assert!(kind.starts_with("text/html"), "{kind}");
        page.assert_contains("location.pathname");
    }
}

/// A wait for the database has an end, for requests as for a version that comes.
#[test]
fn a_wait_for_the_database_is_bounded() {
    let host = with("busy_time = '50ms'");
    let lock = std::fs::File::open(file(&host).with_extension("db.lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let answer = host.get(API);
    assert_says(&answer, 503, "busy", "try again");
    assert_eq!(answer.header("retry-after"), Some("1"));
    let refused = host.deploy_bytes(&version(2), "libnotes_v2.so").refused();
    assert!(refused.text.contains("notes.db`: the database is in use"), "{refused:?}");
    flock(&lock, FlockOperation::Unlock).unwrap();
    host.get(API).assert_status(200);
    host.deploy_bytes(&version(2), "libnotes_v2.so").swapped();
}

/// Others have the host's whole pool: a client may try again, and the lock is free meanwhile.
#[test]
fn a_full_pool_is_503() {
    let builder = host!().arg("--blocking-threads=1").arg("--blocking-queue-count=1");
    let host = builder.with(fault("blocks"), "libhandler_v1.so").start();
    host.deploy(&plugin("notes"), "libnotes_v1.so").swapped();
    let gate = Gate::new();
    let ask = |target: &str| {
        let mut connection = host.connect();
        connection.send_request("GET", target, "").unwrap();
        connection
    };
    let held = ask(&format!("/?{}", gate.query()));
    let waiting = gate.entered();
    // One of them waits in the queue once the other one is refused.
    let two = [ask("/"), ask("/")];
    let is_refused = |it: &Connection| it.wait_readable(Duration::ZERO).unwrap();
    eventually!(two.iter().any(is_refused), "one is refused");
    for _ in 0..2 {
        let answer = host.get(API);
        assert_says(&answer, 503, "full", "no room");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    waiting.release();
    drop((held, two));
    eventually!(host.get(API).status == 200, "room in the pool");
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    for (lines, says) in [
        ("database = 3", ":4: [plugin.notes] database: invalid type: integer `3`"),
        ("database = '/nowhere/notes.db'", "`/nowhere`: No such file or directory"),
        ("database = '/dev/null'", "`/dev/null`: it is no file"),
        ("note_bytes = 0", ":4: [plugin.notes] note_bytes: invalid value: integer `0`"),
        (
            "busy_time = 'soon'",
            ":4: [plugin.notes] busy_time: invalid value: string \"soon\", expected a duration",
        ),
        ("busy_time = 2", ":4: [plugin.notes] busy_time: invalid type: integer `2`"),
        ("colour = 'red'", ":4: [plugin.notes] colour: unknown field `colour`"),
    ] {
        let host = host!().config(&config(lines)).start();
        let deploy = host.deploy(&plugin("notes"), "libnotes_v1.so");
        let refused = deploy.assert_refused(422, "new_failed");
        assert!(refused.text.contains(says), "{says}: {refused:?}");
        assert!(!file(&host).exists());
    }
}

/// `hotseat check` makes nothing, and finds what would be refused.
#[test]
fn a_preflight_changes_nothing() {
    let host = host!().config(&config("")).start();
    host.home().place(&plugin("notes"), "libnotes_v1.so");
    let check = || {
        let args = ["check", "libnotes_v1.so", "--config", "hotseat.toml"];
        let output = host.command().args(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = check();
    assert_eq!(code, Some(0), "{said}");
    assert!(!file(&host).exists() && !file(&host).with_extension("db.lock").exists());
    std::fs::write(file(&host), "a text").unwrap();
    let (code, said) = check();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("notes.db`: it is no SQLite database"), "{said}");
    assert_eq!(std::fs::read_to_string(file(&host)).unwrap(), "a text");
}

/// A later version has changed the schema: one that does not know it cannot come back.
#[test]
fn a_schema_of_later_is_refused() {
    let host = with("");
    ask(&host, "POST", API, &json!({"text": "a"})).assert_status(201);
    host.deploy_bytes(&version(2), "libnotes_v2.so").swapped();
    opened(&file(&host)).pragma_update(None, "user_version", 3).unwrap();
    let says =
        "notes.db`: its schema is 3, and this version of the plugin knows up to 2: deploy one";
    let deploy = host.deploy_bytes(&version(3), "libnotes_v3.so");
    let refused = deploy.assert_refused(422, "new_failed");
    assert!(refused.text.contains(says), "{refused:?}");
    // What served serves on, also beside a version that has added something.
    ask(&host, "POST", API, &json!({"text": "b"})).assert_status(201);
    let refused = host.control().rollback(Some("notes"), None).refused();
    assert!(refused.text.contains(says), "{refused:?}");
}
