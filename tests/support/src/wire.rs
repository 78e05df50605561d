//! The control plane's JSON as tests read it.
//!
//! Owns the field names, so that a test names what it means and not where it stands.

use serde_json::Value;

#[track_caller]
fn at<'a>(json: &'a Value, pointer: &str) -> &'a Value {
    json.pointer(pointer).unwrap_or_else(|| panic!("no `{pointer}` in {json}"))
}

/// A number that must be there.
///
/// # Panics
/// When it is not.
#[must_use]
#[track_caller]
pub fn number(json: &Value, pointer: &str) -> u64 {
    at(json, pointer).as_u64().unwrap_or_else(|| panic!("`{pointer}` is no number in {json}"))
}

/// A text that must be there.
///
/// # Panics
/// When it is not.
#[must_use]
#[track_caller]
pub fn text(json: &Value, pointer: &str) -> String {
    let it = at(json, pointer).as_str();
    it.unwrap_or_else(|| panic!("`{pointer}` is no text in {json}")).to_owned()
}

/// A list that must be there.
///
/// # Panics
/// When it is not.
#[must_use]
#[track_caller]
pub fn list(json: &Value, pointer: &str) -> Vec<Value> {
    let it = at(json, pointer).as_array();
    it.unwrap_or_else(|| panic!("`{pointer}` is no list in {json}")).clone()
}

/// One plugin of a status.
///
/// # Panics
/// When the status does not list it.
#[must_use]
#[track_caller]
pub fn plugin(status: &Value, name: &str) -> Value {
    try_plugin(status, name).unwrap_or_else(|| panic!("no plugin `{name}` in {status}"))
}

/// One plugin of a status, if it is listed.
#[must_use]
#[track_caller]
pub fn try_plugin(status: &Value, name: &str) -> Option<Value> {
    list(status, "/plugins").into_iter().find(|it| it["name"] == name)
}

/// The generation that serves `name`.
#[must_use]
#[track_caller]
pub fn active(status: &Value, name: &str) -> Option<u64> {
    try_plugin(status, name)?.pointer("/active/generation")?.as_u64()
}

/// A generation that left traffic.
#[must_use]
#[track_caller]
pub fn retired(status: &Value, generation: u64) -> Option<Value> {
    list(status, "/retired").into_iter().find(|it| it["generation"] == generation)
}

/// The life of a generation that left traffic: `draining`, `pending`, `unloaded`, `resident`.
#[must_use]
#[track_caller]
pub fn life(status: &Value, generation: u64) -> Option<String> {
    Some(text(&retired(status, generation)?, "/life"))
}
