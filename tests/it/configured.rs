//! Plugins' own settings: as types, with secrets, and changed while the host serves.
//!
//! Owns the words in which a test says what `shop`, the plugin `configured`, is given and answers.

use std::path::PathBuf;

use hotseat_test_support::{Answer, Builder, Host, fault, host};
use serde_json::{Value, json};

mod deploys;
mod refusals;
mod reloads;
mod secrets;
mod workers;

/// What the file says besides the plugins' tables; its two lines come first.
const BASE: &str = "[limits]\nsoak_time = \"50ms\"\n";

/// A file whose table of `shop` begins on its third line.
fn file(lines: &str) -> String {
    format!("{BASE}[plugin.shop]\n{lines}\n")
}

/// A host whose `shop` v1 is in traffic with these settings.
#[track_caller]
fn shop(lines: &str) -> Host {
    with_shop(host!().config(&file(lines)))
}

#[track_caller]
fn with_shop(builder: Builder) -> Host {
    let host = builder.arg("--idle-linger=100ms").start();
    host.deploy(&fault("configured"), "libshop_v1.so").swapped();
    host
}

/// How the file is named in messages.
fn named(host: &Host) -> String {
    host.home().path().join("hotseat.toml").display().to_string()
}

/// A file with a secret.
fn secret(host: &Host, text: &str) -> PathBuf {
    host.home().write("secret", text.as_bytes())
}

fn reload(host: &Host) -> Answer {
    host.control().post_json("/v1/reload-config", &json!({}))
}

/// The object of a reload that was carried out.
#[track_caller]
fn reloaded(host: &Host) -> Value {
    let answer = reload(host);
    answer.assert_status(200);
    answer.json()
}

/// Code and message of a reload that was refused.
#[track_caller]
fn refused(host: &Host) -> (String, String) {
    let answer = reload(host);
    assert!(answer.status >= 400, "{}", answer.text());
    let said = &answer.json()["error"];
    (said["code"].as_str().unwrap().to_owned(), said["message"].as_str().unwrap().to_owned())
}

/// What `shop` answers.
#[track_caller]
fn says(host: &Host) -> String {
    let answer = host.get("/shop");
    answer.assert_status(200);
    answer.text()
}

/// The digest of the settings that `shop` serves with.
fn config(host: &Host) -> Value {
    let status = host.status();
    let plugins = status["plugins"].as_array().unwrap();
    let shop = plugins.iter().find(|it| it["name"] == "shop").unwrap();
    shop["active"]["config"].clone()
}
