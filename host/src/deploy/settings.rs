//! The plugins' own settings that are in force.
//!
//! Owns the tables that a load goes by, until a reload brings others, and what the secrets of whatever
//! is in traffic stood for: a worker that begins in the place of another one goes on with exactly these
//! ([`Standing`]), whatever file or secret has changed on the disk meanwhile.
//! Invariant: tables are taken as a whole, once everything that they change in traffic serves.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::desk::Refusal;
use crate::{
    artifact,
    config::{
        MemoryRule,
        plugin::{PluginSettings, PluginTable, SecretError, Secrets, settings_of},
        raw::{Loaded as Read, changed_keys, file::FileText},
    },
    error::{Coded, Kind},
    ids::PluginName,
    log::Levels,
    route::Loaded,
};

/// Each plugin's table.
pub type Tables = BTreeMap<PluginName, PluginTable>;

/// Reads the settings of the host anew.
pub type Reread = Arc<dyn Fn() -> Result<(Read, FileText), Refusal> + Send + Sync>;

/// Where the settings of a host come from.
#[derive(Clone)]
pub struct Origin {
    /// The file that it was started with, or upgraded to.
    pub file: FileText,
    /// Reads it anew.
    pub reread: Reread,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").field("file", &self.file.path).finish_non_exhaustive()
    }
}

/// What the next worker needs besides the file to have the same settings.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The file that the tables come from, if they were reloaded.
    pub file: Option<FileText>,
    /// What references stood for, of each plugin in traffic.
    pub secrets: BTreeMap<PluginName, Secrets>,
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standing").finish_non_exhaustive()
    }
}

/// As it goes from one worker to the next, by way of the master.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Wire {
    file: Option<WireFile>,
    secrets: BTreeMap<String, Secrets>,
}

#[derive(Serialize, Deserialize)]
struct WireFile {
    path: Option<std::path::PathBuf>,
    text: String,
}

impl Standing {
    /// Of a text of [`to_text`](Self::to_text). `None`: it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let Wire { file, secrets } = serde_json::from_str(text).ok()?;
        let file = file.map(|WireFile { path, text }| FileText { path, text });
        let named = secrets.into_iter().filter_map(|(name, it)| Some((name.parse().ok()?, it)));
        Some(Self { file, secrets: named.collect() })
    }

    /// For whoever starts the next worker; it has secrets in it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let file = self.file.clone().map(|FileText { path, text }| WireFile { path, text });
        let named = self.secrets.iter().map(|(name, it)| (name.to_string(), it.clone()));
        let wire = Wire { file, secrets: named.collect() };
        serde_json::to_string(&wire).expect("texts always have a JSON form")
    }
}

/// Nobody knows where the settings came from.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "the master of this host keeps no settings for its next worker, because it is of an earlier release"
)]
struct NoOrigin;

impl Coded for NoOrigin {
    fn code(&self) -> &'static str {
        "reload_unsupported"
    }

    fn kind(&self) -> Kind {
        Kind::Conflict
    }

    fn hint(&self) -> Option<String> {
        Some("`hotseat upgrade` reads the settings as well, and makes reloads possible".to_owned())
    }
}

/// What was read anew, and is not in force yet.
#[derive(Debug)]
pub struct Renewed {
    /// Each plugin's table.
    pub tables: Tables,
    /// Keys of the file that only an upgrade reads.
    pub others: Vec<String>,
    /// The file.
    pub file: FileText,
}

#[derive(Debug)]
struct Inside {
    tables: Arc<Tables>,
    standing: Standing,
}

/// See the module.
#[derive(Debug)]
pub struct Settings {
    inside: Mutex<Inside>,
    origin: Option<Origin>,
    /// Known to nobody but this host, so that a digest tells nothing of what is easily guessed.
    salt: String,
}

impl Settings {
    /// `tables`, with the values that a worker before has left.
    #[must_use]
    pub fn new(tables: Tables, standing: Standing, origin: Option<Origin>, salt: String) -> Self {
        let inside = Inside { tables: Arc::new(tables), standing };
        Self { inside: Mutex::new(inside), origin, salt }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a deploy goes by now.
    #[must_use]
    pub fn tables(&self) -> Arc<Tables> {
        self.inside().tables.clone()
    }

    /// What a deploy of `plugin` is given: its secrets are read now.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn fresh(&self, plugin: &PluginName) -> Result<PluginSettings, SecretError> {
        settings_of(&self.tables(), plugin, &Secrets::new())
    }

    /// What `plugin` is given where it only goes on: nothing is read that is known.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn kept(&self, plugin: &PluginName) -> Result<PluginSettings, SecretError> {
        let kept = self.inside().standing.secrets.get(plugin).cloned();
        settings_of(&self.tables(), plugin, &kept.unwrap_or_default())
    }

    /// From here on the secrets of what is in traffic are what these generations were given.
    pub fn serve(&self, active: &BTreeMap<PluginName, Option<Arc<Loaded>>>) {
        let mut inside = self.inside();
        let known = &mut inside.standing.secrets;
        known.retain(|plugin, _| active.contains_key(plugin));
        for (plugin, loaded) in active.iter().filter_map(|it| Some((it.0, it.1.as_ref()?))) {
            known.insert(plugin.clone(), loaded.settings.secrets.clone());
        }
    }

    /// What the next worker needs.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.inside().standing.clone()
    }

    /// What these settings are called in the status; `None`: there are none.
    #[must_use]
    pub fn digest(&self, settings: &PluginSettings) -> Option<String> {
        let json = settings.json.as_ref()?;
        let digest = artifact::digest(format!("{}\n{json}", self.salt).as_bytes());
        Some(digest.short().chars().take(8).collect())
    }

    /// Reads the configuration anew; nothing changes by that.
    ///
    /// # Errors
    /// It cannot be read, or is wrong.
    pub fn reread(&self) -> Result<Renewed, Refusal> {
        let Some(Origin { file: begun_with, reread }) = &self.origin else {
            return Err(Arc::new(NoOrigin));
        };
        let (read, file) = reread()?;
        let others = changed_keys(&begun_with.text, &file.text);
        Ok(Renewed { tables: read.config.plugins, others, file })
    }

    /// For whom the host goes by something else with `tables` than it does now.
    #[must_use]
    pub fn ruled_anew(&self, tables: &Tables) -> Vec<PluginName> {
        let before = self.tables();
        let names: BTreeSet<_> = before.keys().chain(tables.keys()).collect();
        let rules = |tables: &Tables, plugin: &PluginName| {
            tables.get(plugin).map(|it| (it.memory, it.log.clone())).unwrap_or_default()
        };
        let is_new = |plugin: &&PluginName| rules(&before, plugin) != rules(tables, plugin);
        names.into_iter().filter(is_new).cloned().collect()
    }

    /// What was read anew is in force.
    pub fn take(&self, renewed: Renewed) {
        let mut inside = self.inside();
        inside.tables = Arc::new(renewed.tables);
        inside.standing.file = Some(renewed.file);
    }
}

/// How much memory each plugin's heap may hold.
#[must_use]
pub fn memory_rules(tables: &Tables) -> BTreeMap<PluginName, MemoryRule> {
    let rules = tables.iter().filter_map(|(plugin, it)| Some((plugin.clone(), it.memory?)));
    rules.collect()
}

/// Which of each plugin's log lines are written, where that is not for the host's filter to say.
#[must_use]
pub fn log_levels(tables: &Tables) -> BTreeMap<PluginName, Levels> {
    let levels = tables.iter().filter_map(|(plugin, it)| Some((plugin.clone(), it.log.clone()?)));
    levels.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> PluginName {
        "shop".parse().unwrap()
    }

    #[test]
    fn what_a_worker_leaves_is_what_the_next_one_begins_with() {
        let file = FileText { path: Some("/x.toml".into()), text: "[plugin.shop]\n".to_owned() };
        let secrets = Secrets::from([("file:/gone".to_owned(), "hunter2".to_owned())]);
        let secrets = BTreeMap::from([(name(), secrets)]);
        let standing = Standing { file: Some(file), secrets };
        assert!(!format!("{standing:?}").contains("hunter2"));
        assert_eq!(Standing::parse(&standing.to_text()), Some(standing.clone()));
        assert_eq!(Standing::parse(r#"{"of_later": 1}"#), Some(Standing::default()));
        assert_eq!(Standing::parse("{"), None);
        let mut table = PluginTable::default();
        table.table.insert("key".to_owned(), "file:/gone".into());
        let settings = Settings::new([(name(), table)].into(), standing, None, "s".to_owned());
        let kept = settings.kept(&name()).unwrap();
        assert_eq!(kept.json.as_deref(), Some(r#"{"key":"hunter2"}"#));
        assert_eq!(settings.fresh(&name()).unwrap_err().code(), "secret_unreadable");
        settings.serve(&BTreeMap::from([(name(), None)]));
        assert!(settings.kept(&name()).is_ok(), "it did not come up, and may be tried again");
        settings.serve(&BTreeMap::new());
        assert!(settings.kept(&name()).is_err(), "it was unloaded");
        assert_eq!(settings.reread().unwrap_err().code(), "reload_unsupported");
    }

    #[test]
    fn a_digest_is_of_the_host_and_of_all_values() {
        let of = |salt: &str, json: &str| {
            let settings = Settings::new(Tables::new(), Standing::default(), None, salt.to_owned());
            let given = PluginSettings { json: Some(json.to_owned()), ..PluginSettings::default() };
            settings.digest(&given).unwrap()
        };
        assert_eq!(of("a", "{}"), of("a", "{}"));
        assert_ne!(of("a", "{}"), of("b", "{}"));
        assert_ne!(of("a", "{}"), of("a", "{\"x\":1}"));
        assert_eq!(of("a", "{}").len(), 8);
    }
}
