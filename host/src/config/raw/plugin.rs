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
    pub(super) table: toml::Table,
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
        Ok(Self { memory, log: ours.log, table })
    }
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

/// Which of the host's keys in `[plugin.NAME]` of `text` is told `said` of, and on which line it stands.
pub(super) fn culprit(
    text: &str,
    name: &str,
    said: &str,
    places: &Places,
) -> Option<(&'static str, usize)> {
    let document: toml::Table = text.parse().ok()?;
    let table = document.get("plugin")?.get(name)?.as_table()?;
    HOST_KEYS.into_iter().find_map(|key| {
        let alone = toml::Table::from_iter([(key.to_owned(), table.get(key)?.clone())]);
        let wrong = match alone.try_into::<Ours>() {
            Ok(ours) => ours.memory().err()?.to_owned(),
            Err(error) => error.message().trim_end().replace('\n', ", "),
        };
        (wrong == said).then(|| (key, places.lines.get(key).copied().unwrap_or(places.line)))
    })
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
            ("memory_policy = 'warn'", "needs a `memory_max`"),
            ("memory_max = '1GiB'\nmemory_policy = 'kill'", "`withdraw`"),
        ] {
            let told = toml::from_str::<RawPlugin>(text).unwrap_err().to_string();
            assert!(told.contains(error), "{text}: {told}");
        }
    }
}
