//! The plugins' own settings that are in force.
//!
//! Owns the tables that a load goes by, until a reload or a deploy brings others, and what the secrets of
//! whatever is in traffic stood for: a worker that begins in the place of another one goes on with
//! exactly these ([`Standing`]), whatever file or secret has changed on the disk meanwhile.
//! Invariant: a reload's tables are taken as a whole, once everything that they change in traffic serves;
//! a deploy's is that of its own plugin, and is in force once the deploy is committed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    desk::Refusal,
    standing::{Standing, same_settings},
};
use crate::{
    artifact,
    config::{
        MemoryRule,
        plugin::{PluginSettings, PluginTable, SecretError, Secrets, settings_of},
        raw::{
            Loaded as Read, changed_keys,
            file::{FileText, Surroundings, is_as_before},
        },
    },
    error::{Coded, Kind},
    ids::{Digest, PluginName},
    log::Levels,
    route::Loaded,
};

/// Each plugin's table.
pub type Tables = BTreeMap<PluginName, PluginTable>;

/// Reads the settings of the host anew.
pub type Reread = Arc<dyn Fn() -> Result<(Read, FileText), Refusal> + Send + Sync>;

/// As `read`, which is not asked again while the file says what it said: to understand all settings of a
/// host takes a quarter of a deploy's time.
pub fn remembered(
    read: impl Fn() -> Result<(Read, FileText), Refusal> + Send + Sync + 'static,
) -> Reread {
    let known = Mutex::new(None::<(Read, FileText)>);
    Arc::new(move || {
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known =
            |(_, file): &(Read, FileText)| is_as_before(file, &Surroundings::of_this_process());
        if let Some(known) = known.as_ref().filter(|it| is_known(it)) {
            return Ok(known.clone());
        }
        let now = read()?;
        *known = Some(now.clone());
        Ok(now)
    })
}

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

/// What a deploy is given: the table of its plugin as the file has it now.
#[derive(Debug)]
pub struct Anew {
    /// The settings.
    pub settings: PluginSettings,
    /// All tables that the file has, by which others may be meant for this plugin.
    pub tables: Arc<Tables>,
    /// What there is to say about it.
    pub note: Option<String>,
}

#[derive(Debug)]
struct Inside {
    /// As the file said when it was accepted as a whole.
    of_file: Arc<Tables>,
    /// Those, and what deploys since have brought.
    tables: Arc<Tables>,
    /// Those by which the host itself goes.
    ruled: Arc<Tables>,
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
        let of_file = Arc::new(tables);
        let mut tables = of_file.clone();
        for (plugin, given) in &standing.given {
            put(&mut tables, plugin, given.latest());
        }
        let ruled = tables.clone();
        Self { inside: Mutex::new(Inside { of_file, tables, ruled, standing }), origin, salt }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a deploy goes by now.
    #[must_use]
    pub fn tables(&self) -> Arc<Tables> {
        self.inside().tables.clone()
    }

    /// What a deploy of `plugin` is given: its table and its secrets are read now. A file that cannot be
    /// read, or is wrong, keeps no deploy back that goes without it.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn anew(&self, plugin: &PluginName) -> Result<Anew, SecretError> {
        let before = self.tables();
        let (tables, note) = match self.reread() {
            Ok(renewed) => {
                let tables = Arc::new(renewed.tables);
                let [was, is] = [&before, &tables].map(|it| it.get(plugin));
                let note = (!same_settings(was, is)).then(|| {
                    format!("[plugin.{plugin}] is taken as the file has it now: it has changed")
                });
                (tables, note)
            }
            // Nobody has promised more.
            Err(error) if error.code() == NoOrigin.code() => (before, None),
            Err(error) => {
                let note = format!(
                    "the settings are those that were accepted last, because now there are none: {error}"
                );
                (before, Some(note))
            }
        };
        let settings = settings_of(&tables, plugin, &Secrets::new())?;
        Ok(Anew { settings, tables, note })
    }

    /// What `plugin` is given by what is in force: its secrets are read now.
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

    /// What the bytes `digest` of `plugin` were given when they served last, if that is something else
    /// than `now`. Secrets that are known are not read again where it only goes on (`keep`).
    #[must_use]
    pub fn had(
        &self,
        (plugin, digest): (&PluginName, Digest),
        now: &PluginSettings,
        keep: bool,
    ) -> Option<PluginSettings> {
        let (table, kept) = {
            let inside = self.inside();
            let table = inside.standing.given.get(plugin)?.of(digest)?.cloned();
            let kept = inside.standing.secrets.get(plugin).filter(|_| keep).cloned();
            (table, kept.unwrap_or_default())
        };
        let had = match table {
            Some(table) => table.resolve(plugin, &kept).ok()?,
            None => PluginSettings::default(),
        };
        (!had.serves_as(now)).then_some(had)
    }

    /// What `plugin` serves with is in force.
    pub fn go_by(&self, plugin: &PluginName, settings: &PluginSettings) {
        put(&mut self.inside().tables, plugin, settings.typed.as_deref());
    }

    /// From here on what is in traffic is what the next worker goes on with: the secrets that these
    /// generations were given, and their tables. Of each plugin so many versions before are known. The
    /// tables, if the host itself is to go by others than before.
    #[must_use]
    pub fn serve(
        &self,
        active: &BTreeMap<PluginName, Option<Arc<Loaded>>>,
        kept_count: usize,
    ) -> Option<Arc<Tables>> {
        let mut inside = self.inside();
        let Inside { of_file, tables, ruled, standing } = &mut *inside;
        standing.secrets.retain(|plugin, _| active.contains_key(plugin));
        standing.given.retain(|plugin, _| active.contains_key(plugin));
        let names: BTreeSet<_> = tables.keys().chain(of_file.keys()).cloned().collect();
        for plugin in names.iter().filter(|it| !active.contains_key(*it)) {
            put(tables, plugin, of_file.get(plugin));
        }
        for (plugin, loaded) in active.iter().filter_map(|it| Some((it.0, it.1.as_ref()?))) {
            standing.secrets.insert(plugin.clone(), loaded.settings.secrets.clone());
            let given = standing.given.entry(plugin.clone()).or_default();
            given.note(loaded.version.digest, tables.get(plugin), kept_count);
        }
        let is_new = !Arc::ptr_eq(ruled, tables);
        ruled.clone_from(tables);
        is_new.then(|| tables.clone())
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
        inside.of_file = Arc::new(renewed.tables);
        inside.tables = inside.of_file.clone();
        inside.standing.file = Some(renewed.file);
    }
}

/// Makes `table` that of `plugin`; what is the same already costs nothing.
fn put(tables: &mut Arc<Tables>, plugin: &PluginName, table: Option<&PluginTable>) {
    if tables.get(plugin) == table {
        return;
    }
    let tables = Arc::make_mut(tables);
    match table {
        Some(table) => tables.insert(plugin.clone(), table.clone()),
        None => tables.remove(plugin),
    };
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
    use crate::config::raw::{RawConfig, file::find_and_read};

    fn name() -> PluginName {
        "shop".parse().unwrap()
    }

    #[test]
    fn a_file_that_says_the_same_is_understood_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hotseat.toml");
        let asked = Arc::new(Mutex::new(0));
        let (count, named) = (asked.clone(), path.clone());
        let reread = remembered(move || {
            *count.lock().unwrap() += 1;
            let around = Surroundings { places: Vec::new(), state_directory: None };
            let told = |error| -> Refusal { Arc::new(error) };
            let file = find_and_read(Some(&named), &around).map_err(told)?;
            let read = RawConfig::default().load_text(&file, &around).map_err(told)?;
            Ok((read, file))
        });
        let threads = || reread().map(|(read, _)| read.config.threads);
        for (text, wanted, count) in [("threads = 2", 2, 1), ("threads = 3", 3, 2)] {
            std::fs::write(&path, text).unwrap();
            for _ in 0..3 {
                assert_eq!(threads().unwrap(), wanted);
            }
            assert_eq!(*asked.lock().unwrap(), count);
        }
        std::fs::write(&path, "threads = 'many'").unwrap();
        assert!(threads().is_err() && threads().is_err(), "a refusal is not remembered");
        std::fs::write(&path, "threads = 3").unwrap();
        assert_eq!((threads().unwrap(), *asked.lock().unwrap()), (3, 4));
        std::fs::remove_file(&path).unwrap();
        assert!(threads().is_err(), "it is gone");
    }

    #[test]
    fn what_a_worker_leaves_is_what_the_next_one_begins_with() {
        let secrets = Secrets::from([("file:/gone".to_owned(), "hunter2".to_owned())]);
        let secrets = BTreeMap::from([(name(), secrets)]);
        let standing = Standing { secrets, ..Standing::default() };
        let mut table = PluginTable::default();
        table.table.insert("key".to_owned(), "file:/gone".into());
        let settings = Settings::new([(name(), table)].into(), standing, None, "s".to_owned());
        let kept = settings.kept(&name()).unwrap();
        assert_eq!(kept.json.as_deref(), Some(r#"{"key":"hunter2"}"#));
        assert_eq!(settings.fresh(&name()).unwrap_err().code(), "secret_unreadable");
        let _ = settings.serve(&BTreeMap::from([(name(), None)]), 5);
        assert!(settings.kept(&name()).is_ok(), "it did not come up, and may be tried again");
        let _ = settings.serve(&BTreeMap::new(), 5);
        assert!(settings.kept(&name()).is_err(), "it was unloaded");
        assert_eq!(settings.reread().unwrap_err().code(), "reload_unsupported");
    }

    /// A worker that begins after a deploy has brought a table of its own goes by that, and knows what the
    /// version before had.
    #[test]
    fn what_a_deploy_has_brought_outlives_its_worker() {
        let table = |text: &str| {
            let mut table = PluginTable::default();
            table.table.insert("room".to_owned(), text.into());
            table
        };
        let [one, two] = [1, 2].map(|byte| Digest([byte; 32]));
        let mut standing = Standing::default();
        let given = standing.given.entry(name()).or_default();
        given.note(one, Some(&table("one")), 5);
        given.note(two, Some(&table("two")), 5);
        let of_file = Tables::from([(name(), table("of the file"))]);
        let settings = Settings::new(of_file, standing, None, String::new());
        let now = settings.kept(&name()).unwrap();
        assert_eq!(now.json.as_deref(), Some(r#"{"room":"two"}"#));
        let had = |digest| settings.had((&name(), digest), &now, true).map(|it| it.json.unwrap());
        assert_eq!(had(one).as_deref(), Some(r#"{"room":"one"}"#));
        assert_eq!(had(two), None, "it is the same");
        assert_eq!(had(Digest([3; 32])), None);
        assert!(settings.serve(&BTreeMap::new(), 5).is_some(), "others are in force");
        assert!(settings.serve(&BTreeMap::new(), 5).is_none());
        let now = settings.fresh(&name()).unwrap();
        assert_eq!(now.json.as_deref(), Some(r#"{"room":"of the file"}"#), "it was unloaded");
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
