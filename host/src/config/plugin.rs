//! A plugin's own settings: what its table says, and what one load of it is given.
//!
//! Owns the step between the two: a text `file:/path` stands for what that file holds, `env:NAME` for a
//! variable that the host was started with, and `literal:` for whatever follows it. A table has what was
//! typed; only [`PluginSettings`] have the values, and these nobody prints.
//! Invariant: no message says what a secret's value is, or what is no reference after all.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Map, Value, json};

use super::{MemoryRule, raw::file};
use crate::{
    error::{Coded, Kind},
    ids::PluginName,
    log::Levels,
    sys::{
        path::{remedy, shown},
        start::start,
    },
};

pub mod near;

/// The keys of a plugin's table that the host reads itself: they stay in it, but no type of an author
/// has to have them.
pub const HOST_KEYS: [&str; 3] = ["log", "memory_max", "memory_policy"];

/// What one file may hold. Units: bytes.
const SECRET_BYTES: usize = 64 << 10;

/// A shorter text is too likely to stand in a message by chance, and is none. Units: bytes.
const HIDDEN_BYTES: usize = 4;

/// What a message has in place of a secret.
const HIDDEN: &str = "(secret)";

/// Where the keys of a table stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The file, as it was named.
    pub file: PathBuf,
    /// The line of the table itself.
    pub line: usize,
    /// The line of each key in it, by its path (`db.pool`, `list[0]`).
    pub lines: BTreeMap<String, usize>,
}

/// `[plugin.NAME]`, with its references as they were typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginTable {
    /// All of it.
    pub table: Map<String, Value>,
    /// What the host reads of it.
    pub memory: Option<MemoryRule>,
    /// Which of its log lines are written, where that is not for the host's filter to say.
    pub log: Option<Levels>,
    /// `None`: it comes from no file.
    pub places: Option<Places>,
}

/// The values that references of one plugin stood for, by the references as typed.
pub type Secrets = BTreeMap<String, String>;

/// What one load of a plugin is given.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PluginSettings {
    /// The table with all values, as JSON text. `None`: there is no table.
    pub json: Option<String>,
    /// For messages: see `abi::NewArgs::config_places`.
    pub places: Option<String>,
    /// What its references stood for.
    pub secrets: Secrets,
    /// The table as it was typed, where this is the process that has read it.
    pub typed: Option<Arc<PluginTable>>,
}

impl fmt::Debug for PluginSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginSettings").finish_non_exhaustive()
    }
}

impl PluginSettings {
    /// Whether a plugin that was given these needs no others: which of its lines are logged is changed
    /// without it.
    #[must_use]
    pub fn serves_as(&self, other: &Self) -> bool {
        let own = |it: &Self| {
            let mut table = it.json.as_deref().map(serde_json::from_str::<Map<String, Value>>);
            if let Some(Ok(table)) = &mut table {
                table.remove("log");
            }
            table.and_then(Result::ok)
        };
        // Another reference to the same value counts: the next worker needs to know it.
        self.secrets == other.secrets && (self.json == other.json || own(self) == own(other))
    }

    /// A text that a plugin has given, without what it was given to keep.
    #[must_use]
    pub fn hide(&self, text: String) -> String {
        let long = self.secrets.values().filter(|it| it.len() >= HIDDEN_BYTES);
        // The longer first: another one may be a part of it.
        let mut values: Vec<&String> = long.collect();
        values.sort_by_key(|it| std::cmp::Reverse(it.len()));
        values.into_iter().fold(text, |text, value| {
            let printed = format!("{value:?}");
            text.replace(value, HIDDEN).replace(&printed[1..printed.len() - 1], HIDDEN)
        })
    }
}

/// A reference that stands for nothing.
#[derive(Debug, thiserror::Error)]
#[error("{place}[plugin.{plugin}] {key}: {problem}")]
pub struct SecretError {
    /// `FILE:LINE: `, as far as known.
    place: String,
    plugin: PluginName,
    /// Its path in the table.
    key: String,
    problem: Problem,
}

/// Who has looked, and so whose environment it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    Host,
    Check,
}

impl fmt::Display for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "the host",
            Self::Check => {
                "`hotseat check`, which goes by this shell's environment and not by the host's,"
            }
        })
    }
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("what follows `file:` is no absolute path")]
    NoPath,
    #[error("what follows `file:` is a URL, and not the path of a file with the value")]
    Url,
    #[error("what follows `env:` is no name of a variable")]
    NoName,
    #[error("{1} was started without the variable `{0}`")]
    NoVariable(String, Reader),
    #[error("the variable `{0}` is not UTF-8")]
    VariableNotText(String),
    #[error("cannot read `{}`: {source}", shown(.path))]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot read `{}`: it is {what}", shown(.path))]
    NoFile { path: PathBuf, what: &'static str },
}

impl Coded for SecretError {
    fn code(&self) -> &'static str {
        "secret_unreadable"
    }

    fn kind(&self) -> Kind {
        Kind::Refused
    }

    fn hint(&self) -> Option<String> {
        let key = &self.key;
        Some(match &self.problem {
            Problem::NoPath | Problem::Url => {
                "write `file:/path` for what a file holds, or `literal:file:…` for the text itself"
                    .to_owned()
            }
            Problem::NoName => {
                "write `env:NAME` for a variable, or `literal:env:…` for the text itself".to_owned()
            }
            Problem::NoVariable(name, Reader::Check) => format!(
                "set {name} for this command to what the host has: `{name}=… hotseat check …`"
            ),
            Problem::NoVariable(name, Reader::Host) | Problem::VariableNotText(name) => format!(
                "set {name} where the host is started and start it anew (an upgrade keeps the \
                 environment), or use `file:/path`"
            ),
            Problem::Read { source, .. } if source.kind() == io::ErrorKind::InvalidData => {
                "save it as UTF-8 text: a secret of bytes is read by the plugin itself".to_owned()
            }
            Problem::Read { path, source } => remedy(path, source, key),
            Problem::NoFile { .. } => format!("give the path of a small text file in `{key}`"),
        })
    }
}

impl SecretError {
    /// As `hotseat check` says it, which has an environment of its own.
    #[must_use]
    pub fn of_check(mut self) -> Self {
        if let Problem::NoVariable(_, reader) = &mut self.problem {
            *reader = Reader::Check;
        }
        self
    }
}

impl PluginTable {
    /// What a load is given now; the values in `kept` are not read again.
    ///
    /// # Errors
    /// [`SecretError`], of the first reference that stands for nothing.
    pub fn resolve(
        &self,
        plugin: &PluginName,
        kept: &Secrets,
    ) -> Result<PluginSettings, SecretError> {
        let mut walk = Walk { kept, secrets: Secrets::new(), paths: Vec::new() };
        let mut table = Map::new();
        for (key, value) in &self.table {
            let value = if HOST_KEYS.contains(&key.as_str()) {
                Ok(value.clone())
            } else {
                walk.value(value, key.clone())
            };
            let value = value.map_err(|(key, problem)| {
                let plugin = plugin.clone();
                SecretError { place: self.place_of(&key), plugin, key, problem }
            })?;
            table.insert(key.clone(), value);
        }
        let Walk { secrets, paths, .. } = walk;
        let places = self.places.as_ref().map(|Places { file, line, lines }| {
            let file = shown(file);
            json!({ "file": file, "line": line, "lines": lines, "secrets": paths, "host": HOST_KEYS })
                .to_string()
        });
        let json = Some(Value::Object(table).to_string());
        Ok(PluginSettings { json, places, secrets, typed: Some(Arc::new(self.clone())) })
    }

    fn place_of(&self, key: &str) -> String {
        self.places.as_ref().map_or_else(String::new, |Places { file, line, lines }| {
            format!("{}:{}: ", shown(file), lines.get(key).unwrap_or(line))
        })
    }
}

/// What a plugin of these tables is given now.
///
/// # Errors
/// See [`PluginTable::resolve`].
pub fn settings_of(
    tables: &BTreeMap<PluginName, PluginTable>,
    plugin: &PluginName,
    kept: &Secrets,
) -> Result<PluginSettings, SecretError> {
    tables.get(plugin).map_or_else(|| Ok(PluginSettings::default()), |it| it.resolve(plugin, kept))
}

/// On the way through a table.
struct Walk<'a> {
    kept: &'a Secrets,
    secrets: Secrets,
    /// Where the secrets are.
    paths: Vec<String>,
}

impl Walk<'_> {
    fn value(&mut self, typed: &Value, path: String) -> Result<Value, (String, Problem)> {
        Ok(match typed {
            Value::String(text) => match self.text(text) {
                Ok(None) => text.strip_prefix("literal:").unwrap_or(text).into(),
                Ok(Some(value)) => {
                    self.paths.push(path);
                    value.into()
                }
                Err(problem) => return Err((path, problem)),
            },
            Value::Array(list) => {
                let inner = (0..).zip(list);
                let inner =
                    inner.map(|(at, it): (usize, _)| self.value(it, format!("{path}[{at}]")));
                Value::Array(inner.collect::<Result<_, _>>()?)
            }
            Value::Object(table) => {
                let mut inner = Map::new();
                for (key, it) in table {
                    inner.insert(key.clone(), self.value(it, format!("{path}.{key}"))?);
                }
                Value::Object(inner)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => typed.clone(),
        })
    }

    /// What a text stands for; `None`: for itself.
    fn text(&mut self, text: &str) -> Result<Option<String>, Problem> {
        let value = if let Some(value) = self.secrets.get(text).or_else(|| self.kept.get(text)) {
            value.clone()
        } else if let Some(path) = text.strip_prefix("file:") {
            of_file(path)?
        } else if let Some(name) = text.strip_prefix("env:") {
            of_variable(name)?
        } else {
            return Ok(None);
        };
        self.secrets.insert(text.to_owned(), value.clone());
        Ok(Some(value))
    }
}

fn of_file(path: &str) -> Result<String, Problem> {
    if path.starts_with("//") {
        return Err(Problem::Url);
    }
    // The folder that a relative one would begin at is another one for whoever runs `hotseat check`.
    if !path.starts_with('/') {
        return Err(Problem::NoPath);
    }
    let path = Path::new(path);
    let mut text = file::read(path, (SECRET_BYTES, "larger than 64 KiB")).map_err(|error| {
        let path = path.to_owned();
        match error {
            file::NotRead::Io(source) => Problem::Read { path, source },
            file::NotRead::NoFile(what) => Problem::NoFile { path, what },
        }
    })?;
    // Of an editor, or of `echo`.
    if text.ends_with('\n') {
        text.pop();
        text.truncate(text.strip_suffix('\r').map_or(text.len(), str::len));
    }
    Ok(text)
}

fn of_variable(name: &str) -> Result<String, Problem> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty()
        || !name.chars().all(is_name)
        || name.starts_with(|c: char| c.is_ascii_digit())
    {
        return Err(Problem::NoName);
    }
    // Not what a plugin has put into the environment since.
    let missing = || Problem::NoVariable(name.to_owned(), Reader::Host);
    let value = start().variable(name).ok_or_else(missing)?;
    let value = value.to_str().ok_or_else(|| Problem::VariableNotText(name.to_owned()))?;
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests;
