//! What an upgrade carries over: versions, orders, files, counters; and what it leaves alone when it
//! fails.

use hotseat_test_support::{Builder, Host, fault, host, library};
use serde_json::Value;

mod counters;
pub(crate) mod lack;
mod orders;
mod resume;
mod versions;

/// Short waits. Units: milliseconds.
fn quick(soak: u32) -> Builder {
    let builder = host!().arg("--debounce=20ms").arg("--rescan=200ms").arg("--idle-linger=100ms");
    builder.arg(format!("--soak-time={soak}ms"))
}

/// A host that soaks for as long as the test lasts.
fn long() -> Builder {
    host!().arg("--debounce=20ms").arg("--rescan=200ms").arg("--soak-time=1h")
}

/// The same library with another content.
fn other(name: &str, number: u32) -> Vec<u8> {
    [library::bytes(&fault(name)), number.to_le_bytes().to_vec()].concat()
}

/// What serves `handler`: generation and content.
fn serves(host: &Host) -> (u64, String) {
    let status: Value = host.status();
    let active = &hotseat_test_support::wire::plugin(&status, "handler")["active"];
    (active["generation"].as_u64().unwrap(), active["digest"].as_str().unwrap().to_owned())
}

/// Lines of the history that begin something new for `plugin`, oldest first: verb, outcome, label.
fn history(host: &Host, plugin: &str) -> Vec<(String, String, String)> {
    let text = |it: &Value, name: &str| it[name].as_str().unwrap_or_default().to_owned();
    let all = host.control().history().into_iter().rev().filter(|it| it["plugin"] == plugin);
    all.map(|it| (text(&it, "verb"), text(&it, "outcome"), text(&it, "label"))).collect()
}
