//! What the log knows of plugins: which of their lines are written, and who a generation is.
//!
//! A plugin without levels of its own is heard as the host's filter says for the target `plugin`. One
//! with levels is heard as these say, whatever the host's own are; they may change at any time. Where
//! they name modules alone, the others are heard as without.
//! Invariant: a line that would not be written costs an atomic load and, with levels by module, a look
//! at them.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fmt,
    str::FromStr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwapOption;
use tracing::{
    Level, Metadata, Subscriber, level_filters::LevelFilter, span, subscriber::Interest,
};
use tracing_subscriber::{EnvFilter, Layer, filter::Targets, layer::Context, registry::LookupSpan};

use super::{LEVELS, LogError};
use crate::ids::PluginName;

/// The target of every line of a plugin.
pub(super) const TARGET: &str = "plugin";

/// Which lines of a plugin are logged: a level, or levels by module. Modules for which neither says
/// anything are heard as the host's filter says.
#[derive(Clone, PartialEq)]
pub struct Levels {
    text: String,
    targets: Targets,
}

// All of it is words and levels.
impl Eq for Levels {}

impl Levels {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Levels").field(&self.text).finish()
    }
}

impl FromStr for Levels {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, LogError> {
        let wrong = || LogError::Levels(text.to_owned());
        // A lone word that is no level would be a module, and silence everything else unnoticed.
        let known = |part: &str| {
            let part = part.trim();
            part.contains('=') || LEVELS.contains(&part.to_ascii_lowercase().as_str())
        };
        if !text.split(',').all(known) {
            return Err(wrong());
        }
        let targets = text.parse().map_err(|_| wrong())?;
        Ok(Self { text: text.to_owned(), targets })
    }
}

impl<'de> serde::Deserialize<'de> for Levels {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Which lines of one plugin are written now.
#[derive(Debug, Default)]
pub struct Heard(ArcSwapOption<Targets>);

impl Heard {
    /// Whether a line of `level` from `module` is written. `None`: that is for the host's filter to say.
    #[must_use]
    pub fn is_heard(&self, level: Level, module: &str) -> Option<bool> {
        let own = self.0.load();
        let own = own.as_ref()?;
        // Levels by module say nothing of other modules.
        let is_told =
            own.default_level().is_some() || own.iter().any(|(told, _)| module.starts_with(told));
        is_told.then(|| own.would_enable(module, &level))
    }
}

impl Heard {
    /// The same of whatever module it may come from.
    #[must_use]
    pub fn may_be_heard(&self, level: Level) -> Option<bool> {
        let own = self.0.load();
        let own = own.as_ref()?;
        let mut modules = own.iter().map(|(_, most)| most).chain(own.default_level());
        let is_heard = modules.any(|most| level <= most);
        (is_heard || own.default_level().is_some()).then_some(is_heard)
    }
}

/// The most that the host's filter lets through. Can be asked where that filter cannot: on a thread
/// whose thread-locals are gone.
#[must_use]
pub fn hosts_level() -> LevelFilter {
    as_hint(HOSTS.load(Relaxed))
}

/// All of them, by name, for the life of the process: as many as plugins that it has known.
static HEARD: Mutex<BTreeMap<PluginName, Arc<Heard>>> = Mutex::new(BTreeMap::new());

/// See [`hosts_level`].
static HOSTS: AtomicUsize = AtomicUsize::new(0);

/// The most that any plugin with levels of its own writes.
static PLUGINS: AtomicUsize = AtomicUsize::new(0);

fn heard() -> MutexGuard<'static, BTreeMap<PluginName, Arc<Heard>>> {
    HEARD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A filter as a number that counts up with what it lets through.
fn as_number(level: LevelFilter) -> usize {
    level.into_level().map_or(0, |level| match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    })
}

fn as_hint(number: usize) -> LevelFilter {
    match number {
        0 => LevelFilter::OFF,
        1 => LevelFilter::ERROR,
        2 => LevelFilter::WARN,
        3 => LevelFilter::INFO,
        4 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

/// Which lines of `plugin` are written, now and as that changes.
#[must_use]
pub fn levels_of(plugin: &PluginName) -> Arc<Heard> {
    Arc::clone(heard().entry(plugin.clone()).or_default())
}

/// From now on these plugins have levels of their own, and no others.
pub fn set_levels(levels: &BTreeMap<PluginName, Levels>) {
    let mut all = heard();
    for plugin in levels.keys() {
        all.entry(plugin.clone()).or_default();
    }
    for (plugin, heard) in &*all {
        heard.0.store(levels.get(plugin).map(|it| Arc::new(it.targets.clone())));
    }
    drop(all);
    let most = levels.values().flat_map(|it| {
        let modules = it.targets.iter().map(|(_, level)| level);
        modules.chain(it.targets.default_level())
    });
    PLUGINS.store(most.map(as_number).max().unwrap_or(0), Relaxed);
    tracing::callsite::rebuild_interest_cache();
}

thread_local! {
    // A line of a plugin is on its way that was asked for already.
    static DECIDED: Cell<bool> = const { Cell::new(false) };
}

/// Writes a line of a plugin that [`Heard::is_heard`] has let through.
pub fn write_heard(line: impl FnOnce()) {
    struct Decided;
    impl Drop for Decided {
        fn drop(&mut self) {
            DECIDED.set(false);
        }
    }
    DECIDED.set(true);
    let _decided = Decided;
    line();
}

/// The host's filter, past which plugins go that have been asked for already.
pub(super) struct Gate(EnvFilter);

impl Gate {
    pub(super) fn new(filter: EnvFilter) -> Self {
        let most = filter.max_level_hint().unwrap_or(LevelFilter::TRACE);
        HOSTS.store(as_number(most), Relaxed);
        Self(filter)
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Gate {
    fn register_callsite(&self, meta: &'static Metadata<'static>) -> Interest {
        let interest = <EnvFilter as Layer<S>>::register_callsite(&self.0, meta);
        if meta.target() == TARGET { Interest::sometimes() } else { interest }
    }

    fn enabled(&self, meta: &Metadata<'_>, context: Context<'_, S>) -> bool {
        meta.target() == TARGET && DECIDED.get()
            || <EnvFilter as Layer<S>>::enabled(&self.0, meta, context)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let hosts = <EnvFilter as Layer<S>>::max_level_hint(&self.0)?;
        Some(hosts.max(as_hint(PLUGINS.load(Relaxed))))
    }

    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, cx: Context<'_, S>) {
        self.0.on_new_span(attributes, id, cx);
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, cx: Context<'_, S>) {
        <EnvFilter as Layer<S>>::on_record(&self.0, id, values, cx);
    }

    fn on_enter(&self, id: &span::Id, cx: Context<'_, S>) {
        <EnvFilter as Layer<S>>::on_enter(&self.0, id, cx);
    }

    fn on_exit(&self, id: &span::Id, cx: Context<'_, S>) {
        <EnvFilter as Layer<S>>::on_exit(&self.0, id, cx);
    }

    fn on_close(&self, id: span::Id, cx: Context<'_, S>) {
        <EnvFilter as Layer<S>>::on_close(&self.0, id, cx);
    }
}

/// Whose a generation is, while its lines may come.
static NAMES: Mutex<Names> = Mutex::new(Names { known: BTreeMap::new(), ended: Vec::new() });

struct Names {
    known: BTreeMap<u64, PluginName>,
    /// In the order of their ends.
    ended: Vec<u64>,
}

/// What a generation has printed may be read after its end: so many ends later it is forgotten.
const ENDED: usize = 64;

fn names() -> MutexGuard<'static, Names> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A generation that may print until this is dropped.
#[derive(Debug)]
#[must_use = "what it prints is not known as its own any more when this is dropped"]
pub struct Prints(u64);

impl Prints {
    /// From now on what `generation` prints is known as `plugin`'s.
    pub fn begin(generation: u64, plugin: &PluginName) -> Self {
        names().known.insert(generation, plugin.clone());
        Self(generation)
    }
}

impl Drop for Prints {
    fn drop(&mut self) {
        let mut names = names();
        names.ended.push(self.0);
        if names.ended.len() > ENDED {
            let oldest = names.ended.remove(0);
            names.known.remove(&oldest);
        }
    }
}

/// Who it is; empty when nobody knows any more.
pub(super) fn name_of(generation: u64) -> String {
    names().known.get(&generation).map_or_else(String::new, |name| name.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_a_level_or_levels_by_module() {
        for text in ["info", "WARN", "warn,sqlx=debug", "off", "sqlx::query=trace"] {
            assert!(text.parse::<Levels>().is_ok(), "{text}");
        }
        for text in ["", "loud", "sqlx=loud", "warn,,", "sqlx"] {
            assert!(text.parse::<Levels>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_plugin_is_heard_as_its_levels_say_and_as_they_change() {
        let plugin: PluginName = "heard-test".parse().unwrap();
        let heard = levels_of(&plugin);
        assert_eq!(heard.is_heard(Level::ERROR, "notes"), None);
        let set = |text: &str| {
            set_levels(&BTreeMap::from([(plugin.clone(), text.parse().unwrap())]));
        };
        set("warn,sqlx=debug");
        for (level, module, is_heard) in [
            (Level::WARN, "notes", true),
            (Level::INFO, "notes", false),
            (Level::DEBUG, "sqlx::query", true),
            (Level::TRACE, "sqlx", false),
        ] {
            assert_eq!(heard.is_heard(level, module), Some(is_heard), "{level} {module}");
        }
        let some = [Level::WARN, Level::DEBUG, Level::TRACE].map(|it| heard.may_be_heard(it));
        assert_eq!(some, [Some(true), Some(true), Some(false)]);
        // Levels by module alone leave the others to the host's filter.
        set("sqlx=debug");
        assert_eq!(heard.is_heard(Level::ERROR, "notes"), None);
        assert_eq!(heard.is_heard(Level::TRACE, "sqlx"), Some(false));
        assert_eq!(
            [Level::DEBUG, Level::TRACE].map(|it| heard.may_be_heard(it)),
            [Some(true), None]
        );
        set("off");
        assert_eq!(heard.is_heard(Level::ERROR, "notes"), Some(false));
        set("trace");
        assert_eq!(levels_of(&plugin).is_heard(Level::TRACE, "anything"), Some(true));
    }

    #[test]
    fn a_generation_is_known_for_a_while_after_its_end() {
        let plugin: PluginName = "named-test".parse().unwrap();
        let first = 9_000_000;
        for generation in first..=first + ENDED as u64 {
            let prints = Prints::begin(generation, &plugin);
            assert_eq!(name_of(generation), "named-test");
            drop(prints);
        }
        assert_eq!(name_of(first), "");
        assert_eq!(name_of(first + 1), "named-test");
    }
}
