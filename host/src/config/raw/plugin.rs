//! A plugin's own table in the file, and what of it is the host's.
//!
//! Owns the keys of such a table that the host reads, as they are listed in
//! [`HOST_KEYS`]. The plugin sees them as well: it may want to know how
//! much room it has.

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Map, Value};

use super::values::{MIB, Size, TIB};
use crate::{
    config::{
        MemoryPolicy, MemoryRule,
        plugin::{HOST_KEYS, Places, PluginTable},
    },
    log::Levels,
};

/// `[plugin.NAME]`, as typed.
#[derive(Clone, Debug, Default)]
pub struct RawPlugin {
    pub(super) memory: Option<MemoryRule>,
    pub(super) log: Option<Levels>,
    /// All of it.
    pub(super) table: Map<String, Value>,
}

/// The keys that the host reads.
#[derive(Deserialize)]
struct Ours {
    memory_max: Option<Size<MIB, TIB>>,
    memory_policy: Option<RawMemoryPolicy>,
    log: Option<Levels>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawMemoryPolicy {
    Warn,
    Refuse,
    Withdraw,
}

impl<'de> Deserialize<'de> for RawPlugin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = toml::Table::deserialize(deserializer)?;
        let ours: Ours = table.clone().try_into().map_err(|error| {
            // Only the message: its place would be one in the table.
            D::Error::custom(toml::de::Error::message(&error))
        })?;
        let memory = ours.memory().map_err(D::Error::custom)?;
        let table = json(table, "").map_err(|unfit| D::Error::custom(unfit.text))?;
        Ok(Self { memory, log: ours.log, table })
    }
}

/// A value that JSON has not.
struct Unfit {
    /// Where, as in [`Places::lines`].
    path: String,
    text: String,
}

/// A plugin's table, or one within it at `path`, as JSON. TOML's dates become text.
fn json(table: toml::Table, path: &str) -> Result<Map<String, Value>, Unfit> {
    let inner = |(key, typed)| {
        let path = if path.is_empty() { String::clone(&key) } else { format!("{path}.{key}") };
        Ok((key, value(typed, path)?))
    };
    table.into_iter().map(inner).collect()
}

fn value(typed: toml::Value, path: String) -> Result<Value, Unfit> {
    Ok(match typed {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) if !number.is_finite() => {
            let typed = number.to_string().to_ascii_lowercase();
            let text = format!(
                "a plugin cannot be given `{typed}`, because its settings are JSON: write it as a text, \
                 or leave it out"
            );
            return Err(Unfit { path, text });
        }
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(truth) => truth.into(),
        toml::Value::Datetime(date) => date.to_string().into(),
        toml::Value::Array(list) => {
            let all = list.into_iter().enumerate();
            let all = all.map(|(at, inner)| value(inner, format!("{path}[{at}]")));
            Value::Array(all.collect::<Result<_, _>>()?)
        }
        toml::Value::Table(table) => json(table, &path)?.into(),
    })
}

impl Ours {
    fn memory(&self) -> Result<Option<MemoryRule>, &'static str> {
        let policy = match self.memory_policy {
            None | Some(RawMemoryPolicy::Warn) => MemoryPolicy::Warn,
            Some(RawMemoryPolicy::Refuse) => MemoryPolicy::Refuse,
            Some(RawMemoryPolicy::Withdraw) => MemoryPolicy::Withdraw,
        };
        if self.memory_max.is_none() && self.memory_policy.is_some() {
            return Err("`memory_policy` needs a `memory_max`");
        }
        Ok(self.memory_max.map(|max| MemoryRule { max: max.into(), policy }))
    }
}

/// Which key in `[plugin.NAME]` of `text` is told `said` of by [`RawPlugin`], and on which line it stands.
pub(super) fn culprit(
    text: &str,
    name: &str,
    said: &str,
    places: &Places,
) -> Option<(String, usize)> {
    let document: toml::Table = text.parse().ok()?;
    let table = document.get("plugin")?.get(name)?.as_table()?;
    let line = |key: &str| places.lines.get(key).copied().unwrap_or(places.line);
    let ours = HOST_KEYS.into_iter().find(|key| {
        let alone = table.get(*key).map(|it| ((*key).to_owned(), it.clone()));
        let wrong = match toml::Table::from_iter(alone).try_into::<Ours>() {
            Ok(ours) => ours.memory().err().map(str::to_owned),
            Err(error) => Some(error.message().trim_end().replace('\n', ", ")),
        };
        wrong.is_some_and(|wrong| wrong == said)
    });
    if let Some(key) = ours {
        return Some((key.to_owned(), line(key)));
    }
    let unfit = json(table.clone(), "").err().filter(|unfit| unfit.text == said)?;
    let line = line(&unfit.path);
    Some((unfit.path, line))
}

/// A table that a process of this host has understood before. `None`: it means nothing to this one.
#[must_use]
pub fn understood(table: Map<String, Value>, places: Option<Places>) -> Option<PluginTable> {
    let ours: Ours = serde_json::from_value(Value::Object(table.clone())).ok()?;
    Some(PluginTable { memory: ours.memory().ok()?, log: ours.log, table, places })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_reads_its_keys_and_leaves_them_there() {
        let text = "memory_max = '64MiB'\nmemory_policy = 'refuse'\nown = 1";
        let plugin: RawPlugin = toml::from_str(text).unwrap();
        let rule = MemoryRule { max: 64 << 20, policy: MemoryPolicy::Refuse };
        assert_eq!((plugin.memory, plugin.table.len()), (Some(rule), 3));
        let plugin: RawPlugin = toml::from_str("memory_max = 1048576").unwrap();
        let rule = MemoryRule { max: 1 << 20, policy: MemoryPolicy::Warn };
        assert_eq!(plugin.memory, Some(rule));
        assert_eq!(toml::from_str::<RawPlugin>("own = 1").unwrap().memory, None);
        for (text, error) in [
            ("memory_max = '64MB'", "is not a size"),
            ("memory_max = 1000", "outside the bounds"),
            ("memory_max = true", "boolean"),
            ("log = 'loud'", "is not a plugin's log levels: write"),
            ("log = 3", "integer"),
            ("own = [1.0, { a = -inf }]", "cannot be given `-inf`, because its settings are JSON"),
            ("memory_policy = 'warn'", "needs a `memory_max`"),
            ("memory_max = '1GiB'\nmemory_policy = 'kill'", "`withdraw`"),
        ] {
            let told = toml::from_str::<RawPlugin>(text).unwrap_err().to_string();
            assert!(told.contains(error), "{text}: {told}");
        }
    }
}
