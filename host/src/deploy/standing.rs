//! What of the plugins' settings goes from one worker to the next.
//!
//! Owns the form that it has on the way, which other releases read as well, and which table each of the
//! versions that a rollback may lead to was given when it served last.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    config::{
        plugin::{Places, PluginTable, Secrets},
        raw::{file::FileText, plugin::understood},
    },
    ids::{Digest, PluginName},
};

/// What the next worker needs besides the file to have the same settings.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The file that the tables come from, if they were reloaded.
    pub file: Option<FileText>,
    /// What references stood for, of each plugin in traffic.
    pub secrets: BTreeMap<PluginName, Secrets>,
    /// Which tables versions were given, of each plugin in traffic: a deploy's may be of a later reading of
    /// the file.
    pub given: BTreeMap<PluginName, Given>,
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standing").finish_non_exhaustive()
    }
}

/// `None`: there was no table.
type Table = Option<Arc<PluginTable>>;

/// What versions of one plugin were given when they served last, by their content; the latest first.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Given(Vec<(Digest, Table)>);

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(digest, _)| digest)).finish()
    }
}

impl Given {
    /// `digest` serves with `table`; `kept_count` others are remembered.
    pub fn note(&mut self, digest: Digest, table: Option<&PluginTable>, kept_count: usize) {
        // Most versions have the same.
        let known = self.0.iter().find(|(_, it)| it.as_deref() == table);
        let table = known.map_or_else(|| table.cloned().map(Arc::new), |(_, it)| it.clone());
        self.0.retain(|(other, _)| *other != digest);
        self.0.insert(0, (digest, table));
        self.0.truncate(kept_count.saturating_add(1));
    }

    /// What serves was given this.
    #[must_use]
    pub fn latest(&self) -> Option<&PluginTable> {
        self.0.first().and_then(|(_, table)| table.as_deref())
    }

    /// What `digest` was given when it served last; `None`: nobody remembers.
    #[must_use]
    pub fn of(&self, digest: Digest) -> Option<Option<&PluginTable>> {
        self.0.iter().find(|(it, _)| *it == digest).map(|(_, table)| table.as_deref())
    }
}

/// Whether a plugin that has one of them needs not be given the other: where they stand in the file, and
/// which of its lines are logged, is nothing to it.
#[must_use]
pub fn same_settings(one: Option<&PluginTable>, other: Option<&PluginTable>) -> bool {
    let own = |it: &PluginTable| {
        let mut table = it.table.clone();
        table.remove("log");
        table
    };
    one.map(own) == other.map(own)
}

/// As it goes from one worker to the next, by way of the master.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Wire {
    file: Option<WireFile>,
    secrets: BTreeMap<String, Secrets>,
    /// A release of before goes by the file alone.
    given: BTreeMap<String, Vec<WireGiven>>,
}

#[derive(Serialize, Deserialize)]
struct WireFile {
    path: Option<PathBuf>,
    text: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct WireGiven {
    digest: String,
    /// The table is that of the entry before.
    same: bool,
    table: Option<WireTable>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct WireTable {
    table: Map<String, Value>,
    places: Option<WirePlaces>,
}

#[derive(Serialize, Deserialize)]
struct WirePlaces {
    file: PathBuf,
    line: usize,
    lines: BTreeMap<String, usize>,
}

impl Standing {
    /// Of a text of [`to_text`](Self::to_text). `None`: it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let Wire { file, secrets, given } = serde_json::from_str(text).ok()?;
        let file = file.map(|WireFile { path, text }| FileText { path, text });
        let named = secrets.into_iter().filter_map(|(name, it)| Some((name.parse().ok()?, it)));
        let given =
            given.into_iter().filter_map(|(name, it)| Some((name.parse().ok()?, taken(it))));
        Some(Self { file, secrets: named.collect(), given: given.collect() })
    }

    /// For whoever starts the next worker; it has secrets in it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let file = self.file.clone().map(|FileText { path, text }| WireFile { path, text });
        let named = self.secrets.iter().map(|(name, it)| (name.to_string(), it.clone()));
        let given = self.given.iter().map(|(name, it)| (name.to_string(), told(it)));
        let wire = Wire { file, secrets: named.collect(), given: given.collect() };
        serde_json::to_string(&wire).expect("texts always have a JSON form")
    }
}

fn told(Given(list): &Given) -> Vec<WireGiven> {
    let mut before = None;
    let one = |(digest, table): &(Digest, Table)| {
        let same = before.replace(table.clone()).is_some_and(|it| it == *table);
        let table = table.as_deref().filter(|_| !same).map(|it| WireTable {
            table: it.table.clone(),
            places: it.places.clone().map(|Places { file, line, lines }| WirePlaces {
                file,
                line,
                lines,
            }),
        });
        WireGiven { digest: digest.to_string(), same, table }
    };
    list.iter().map(one).collect()
}

fn taken(list: Vec<WireGiven>) -> Given {
    let mut given = Vec::new();
    let mut before: Table = None;
    for WireGiven { digest, same, table } in list {
        if !same {
            before = table.and_then(|WireTable { table, places }| {
                let places =
                    places.map(|WirePlaces { file, line, lines }| Places { file, line, lines });
                understood(table, places).map(Arc::new)
            });
        }
        given.extend(digest.parse().ok().map(|digest| (digest, before.clone())));
    }
    Given(given)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{MemoryPolicy, MemoryRule};

    fn table(lines: &str) -> PluginTable {
        let places =
            Places { file: "/x.toml".into(), line: 3, lines: [("room".to_owned(), 4)].into() };
        let table = serde_json::from_str(lines).unwrap();
        understood(table, Some(places)).unwrap()
    }

    #[test]
    fn what_is_told_is_what_is_heard() {
        let name: PluginName = "shop".parse().unwrap();
        let file = FileText { path: Some("/x.toml".into()), text: "[plugin.shop]\n".to_owned() };
        let secrets = Secrets::from([("file:/gone".to_owned(), "hunter2".to_owned())]);
        let mut given = Given::default();
        let ruled = table(r#"{"room": "one", "memory_max": "1MiB", "log": "warn", "odd": null}"#);
        assert_eq!(ruled.memory, Some(MemoryRule { max: 1 << 20, policy: MemoryPolicy::Warn }));
        assert!(ruled.log.is_some());
        for (byte, table) in [(1, Some(&ruled)), (2, None), (3, None), (4, Some(&ruled))] {
            given.note(Digest([byte; 32]), table, 5);
        }
        assert_eq!(given.latest(), Some(&ruled));
        let standing = Standing {
            file: Some(file),
            secrets: [(name.clone(), secrets)].into(),
            given: [(name, given)].into(),
        };
        assert!(!format!("{standing:?}").contains("hunter2"));
        assert_eq!(Standing::parse(&standing.to_text()), Some(standing));
        assert_eq!(Standing::parse(r#"{"of_later": 1}"#), Some(Standing::default()));
        assert_eq!(Standing::parse("{"), None);
    }

    #[test]
    fn a_version_has_what_it_was_given_last() {
        let mut given = Given::default();
        let [one, two, three] = [1, 2, 3].map(|byte| Digest([byte; 32]));
        let (a, b) = (table(r#"{"room": "a"}"#), table(r#"{"room": "b"}"#));
        given.note(one, Some(&a), 1);
        given.note(two, None, 1);
        given.note(two, Some(&b), 1);
        assert_eq!((given.of(one), given.of(two)), (Some(Some(&a)), Some(Some(&b))));
        given.note(three, None, 1);
        assert_eq!((given.of(one), given.of(two)), (None, Some(Some(&b))), "one is kept");
        assert_eq!((given.of(three), given.latest()), (Some(None), None));
    }

    #[test]
    fn only_what_a_plugin_reads_makes_other_settings() {
        let (plain, logged) = (table(r#"{"room": "a"}"#), table(r#"{"room": "a", "log": "warn"}"#));
        let moved = PluginTable { places: None, ..plain.clone() };
        assert!(
            same_settings(Some(&plain), Some(&logged)) && same_settings(Some(&plain), Some(&moved))
        );
        assert!(same_settings(None, None) && !same_settings(Some(&plain), None));
        assert!(!same_settings(Some(&plain), Some(&table(r#"{"room": "b"}"#))));
    }
}
