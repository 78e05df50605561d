//! What fits, and every way in which something does not.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::*;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    room: String,
    #[serde(default)]
    db: Db,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Db {
    #[serde(default)]
    pool: Vec<u8>,
    #[serde(default)]
    password: String,
    port: Option<u16>,
    mode: Option<Mode>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Plain,
}

fn places() -> Places {
    let places = json!({
        "file": "/etc/hotseat.toml",
        "line": 10,
        "lines": { "room": 11, "db": 12, "db.pool": 13, "db.pool[1]": 15, "db.password": 16 },
        "secrets": ["db.password"],
        "host": ["memory_max", "since_then"],
    });
    Places::of(Some(&places.to_string()))
}

#[track_caller]
fn refused(config: &Value) -> String {
    read::<Settings>("test", Some(&config.to_string()), &places()).unwrap_err().to_string()
}

#[test]
fn what_fits_is_there_without_the_keys_of_the_host() {
    let config =
        json!({ "room": "a", "memory_max": "1MiB", "since_then": 1, "db": { "pool": [3] } });
    let read_it: Settings = read("test", Some(&config.to_string()), &places()).unwrap();
    let db = Db { pool: vec![3], ..Db::default() };
    assert_eq!(read_it, Settings { room: "a".to_owned(), db });
    // A host of before says nothing of its keys, and may have none of those that came later.
    let config = json!({ "room": "a", "memory_max": 1, "memory_policy": "warn", "log": "debug" });
    let read_it = read::<Settings>("test", Some(&config.to_string()), &Places::of(None));
    assert_eq!(read_it.unwrap().room, "a");
    let nothing: BTreeMap<String, u8> = read("test", None, &Places::of(None)).unwrap();
    assert!(nothing.is_empty());
}

#[test]
fn a_refusal_says_table_field_and_line() {
    for (config, text) in [
        (json!({}), "/etc/hotseat.toml:10: [plugin.test]: missing field `room`"),
        (
            json!({ "room": 7 }),
            "/etc/hotseat.toml:11: [plugin.test] room: invalid type: integer `7`, expected a string",
        ),
        (
            json!({ "room": "a", "db": { "pool": [1, 300] } }),
            "/etc/hotseat.toml:15: [plugin.test] db.pool[1]: invalid value: integer `300`, expected u8",
        ),
        // Its line is not known: that of what is around it.
        (
            json!({ "room": "a", "db": { "port": -1 } }),
            "/etc/hotseat.toml:12: [plugin.test] db.port: invalid value: integer `-1`, expected u16",
        ),
        (
            json!({ "room": "a", "memory_policy": "warn" }),
            "/etc/hotseat.toml:10: [plugin.test] memory_policy: unknown field `memory_policy`, \
             expected `room` or `db`",
        ),
    ] {
        assert_eq!(refused(&config), text);
    }
    let missing = read::<Settings>("test", None, &Places::of(None)).unwrap_err().to_string();
    assert_eq!(missing, "[plugin.test]: missing field `room` (there is no such table)");
    let missing = read::<Settings>("test", Some("{}"), &Places::of(None)).unwrap_err().to_string();
    assert_eq!(missing, "[plugin.test]: missing field `room`");
}

/// Whether serde repeats a value as it is or as a literal, and wherever else the same value stands.
#[test]
fn no_message_has_a_secret_in_it() {
    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "it is never made")]
    struct Numbers {
        db: BTreeMap<String, u8>,
    }
    let secret = "pass \"word\"";
    let config = json!({ "db": { "password": secret } }).to_string();
    let error = read::<Numbers>("test", Some(&config), &places()).unwrap_err().to_string();
    let place = "/etc/hotseat.toml:16: [plugin.test] db.password: ";
    assert_eq!(error, format!("{place}invalid type: a secret text, expected u8"));
    let config = json!({ "room": "a", "db": { "password": "hunter2", "mode": "hunter2" } });
    let error = refused(&config);
    let said = "what it says of a value is not shown, because that is a secret";
    assert_eq!(error, format!("/etc/hotseat.toml:12: [plugin.test] db.mode: {said}"));
    let config = json!({ "room": "a", "db": { "password": "hunter2", "mode": "other" } });
    assert!(refused(&config).contains("unknown variant `other`"), "{}", refused(&config));
}
