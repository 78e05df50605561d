//! A plugin's own settings as a type of its author.
//!
//! Owns what is said when they do not fit: the table, the field, the line of the file. Reads nothing by
//! itself; where each key stands is the host's to say.
//! Invariant: no message has the value of a secret in it.

use std::fmt::{self, Write as _};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};

use super::Context;

/// The keys that hosts read which do not say it.
const HOST_KEYS: [&str; 3] = ["log", "memory_max", "memory_policy"];

/// Why a plugin's configuration does not fit, and where, as [`Context::config_as`] says it.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigError {
    text: Box<str>,
}

impl ConfigError {
    fn new(text: String) -> Self {
        Self { text: text.into_boxed_str() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConfigError({:?})", self.text)
    }
}

impl std::error::Error for ConfigError {}

impl Context {
    /// The plugin's own configuration, the table `[plugin.NAME]` of the host's file, as a `T`. Without
    /// such a table it is read as an empty one, so a `T` with a default for everything can be had.
    ///
    /// The keys that the host reads itself (`memory_max`, `memory_policy`, `log`) are left out, so that
    /// `T` may deny unknown fields; [`config`](Self::config) has them.
    ///
    /// # Errors
    /// What does not fit, and where, to be handed on from [`Handler::new`](crate::Handler::new):
    /// ``/etc/hotseat.toml:14: [plugin.test] db.pool[1]: invalid value: integer `300`, expected u8``.
    /// What the value of a secret is, it never says.
    pub fn config_as<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        let places = Places::of(self.inner.config_places.as_deref());
        read(self.name(), self.config(), &places)
    }
}

fn read<T: DeserializeOwned>(
    plugin: &str,
    config: Option<&str>,
    places: &Places,
) -> Result<T, ConfigError> {
    let parsed = serde_json::from_str(config.unwrap_or("{}"));
    let mut value: Value = parsed
        .map_err(|error| ConfigError::new(format!("[plugin.{plugin}]: it is no JSON: {error}")))?;
    let secrets = places.secrets(&value);
    if let Value::Object(table) = &mut value {
        table.retain(|key, _| !places.is_of_host(key));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let names = names(error.path());
        let mut text = places.of_names(&names);
        let path = joined(&names);
        // Writing to a text does not fail.
        let _ = write!(text, "[plugin.{plugin}]");
        if !path.is_empty() {
            let _ = write!(text, " {path}");
        }
        let why = without_secrets(error.into_inner().to_string(), &secrets);
        let _ = write!(text, ": {why}");
        if config.is_none() {
            text.push_str(" (there is no such table)");
        }
        ConfigError::new(text)
    })
}

/// Where the host's text comes from; nothing where it does not say.
struct Places(Map<String, Value>);

impl Places {
    fn of(text: Option<&str>) -> Self {
        Self(text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default())
    }

    fn is_of_host(&self, key: &str) -> bool {
        match self.0.get("host") {
            Some(Value::Array(keys)) => keys.iter().any(|it| it == key),
            _ => HOST_KEYS.contains(&key),
        }
    }

    /// The values of the secrets in `config`.
    fn secrets(&self, config: &Value) -> Vec<String> {
        let paths = self.0.get("secrets").and_then(Value::as_array);
        let mut found = Vec::new();
        for path in paths.into_iter().flatten().filter_map(Value::as_str) {
            collect(config, &mut String::new(), path, &mut found);
        }
        found
    }

    /// `FILE:LINE: ` of what is closest around that place.
    fn of_names(&self, names: &[String]) -> String {
        let Some(file) = self.0.get("file").and_then(Value::as_str) else { return String::new() };
        let line = |count| self.0.get("lines")?.get(joined(&names[..count]))?.as_u64();
        let around = (1..=names.len()).rev().find_map(line);
        match around.or_else(|| self.0.get("line")?.as_u64()) {
            Some(line) => format!("{file}:{line}: "),
            None => format!("{file}: "),
        }
    }
}

/// The texts of `value`, which is at `at`, that are at `path`.
fn collect(value: &Value, at: &mut String, path: &str, found: &mut Vec<String>) {
    if let Value::String(text) = value {
        found.extend((at == path).then(|| text.clone()));
        return;
    }
    let mut enter = |name: String, inner: &Value| {
        let before = at.len();
        push(at, &name);
        if path.starts_with(at.as_str()) {
            collect(inner, at, path, found);
        }
        at.truncate(before);
    };
    match value {
        Value::Object(table) => table.iter().for_each(|(key, inner)| enter(key.clone(), inner)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, it)| enter(format!("[{index}]"), it));
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The steps to a place, as hosts write them: `db`, `pool`, `[1]`.
fn names(path: &Path) -> Vec<String> {
    let known = |it: &&Segment| !matches!(it, Segment::Unknown);
    path.iter().filter(known).map(ToString::to_string).collect()
}

fn push(path: &mut String, name: &str) {
    if !path.is_empty() && !name.starts_with('[') {
        path.push('.');
    }
    path.push_str(name);
}

fn joined(names: &[String]) -> String {
    let mut path = String::new();
    names.iter().for_each(|name| push(&mut path, name));
    path
}

/// A message of serde that may repeat a value.
fn without_secrets(mut why: String, secrets: &[String]) -> String {
    for secret in secrets.iter().filter(|it| !it.is_empty()) {
        // As serde repeats what is of a wrong type, or out of range.
        why = why.replace(&format!("string {secret:?}"), "a secret text");
    }
    let quoted = |secret: &String| {
        let printed = format!("{secret:?}");
        let inner = &printed[1..printed.len() - 1];
        !secret.is_empty() && (why.contains(secret.as_str()) || why.contains(inner))
    };
    if secrets.iter().any(quoted) {
        return "what it says of a value is not shown, because that is a secret".to_owned();
    }
    why
}

#[cfg(test)]
mod tests;
