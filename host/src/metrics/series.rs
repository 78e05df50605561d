//! The series that plugins make themselves.
//!
//! Owns their values and their bounds. Nothing here belongs to a library: names and labels are
//! copied, so a series outlives the code that made it.
//! Invariant: a value of a series that exists is recorded without a lock and without allocating;
//! the one lock is for new series.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;

use self::{
    name::{Key, MetricKind, Refused},
    value::Value,
};
use crate::ids::PluginName;

mod carry;
mod name;
mod page;
mod value;

/// Parts of a plugin's table: a new series copies the pointers of one part only.
const PART_COUNT: usize = 64;

/// One series of one plugin.
#[derive(Debug)]
struct Series {
    hash: u64,
    kind: MetricKind,
    name: String,
    labels: Vec<(String, String)>,
    value: Value,
}

impl Series {
    fn is(&self, hash: u64, key: &Key<'_>) -> bool {
        let labels = self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        self.hash == hash && self.name == key.name() && labels.eq(key.labels().iter().copied())
    }
}

/// The series of one plugin.
#[derive(Debug)]
struct OfPlugin {
    count: AtomicUsize,
    parts: Vec<ArcSwap<Vec<Arc<Series>>>>,
    dropped: [AtomicU64; Refused::ALL.len()],
}

impl OfPlugin {
    fn new() -> Self {
        let parts = (0..PART_COUNT).map(|_| ArcSwap::default()).collect();
        Self { count: AtomicUsize::new(0), parts, dropped: Default::default() }
    }

    fn part(&self, hash: u64) -> &ArcSwap<Vec<Arc<Series>>> {
        // The remainder is below `PART_COUNT`, which fits every integer.
        &self.parts[usize::try_from(hash % PART_COUNT as u64).unwrap_or_default()]
    }

    fn all(&self) -> impl Iterator<Item = Arc<Series>> {
        self.parts.iter().flat_map(|part| part.load().iter().cloned().collect::<Vec<_>>())
    }
}

/// Which family a sample name belongs to: two families may not share one.
type Claims = BTreeMap<String, (String, MetricKind)>;

/// The series of all plugins.
#[derive(Debug)]
pub(super) struct PluginSeries {
    limit: usize,
    plugins: ArcSwap<BTreeMap<PluginName, Arc<OfPlugin>>>,
    growth: Mutex<Claims>,
}

impl PluginSeries {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, plugins: ArcSwap::default(), growth: Mutex::default() }
    }

    fn growth(&self) -> MutexGuard<'_, Claims> {
        self.growth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn record(
        &self,
        plugin: &PluginName,
        kind: u32,
        name: &str,
        labels: &[(&str, &str)],
        value: f64,
    ) {
        let of_plugin = self.of_plugin(plugin);
        if let Err(refused) = self.try_record(&of_plugin, kind, name, labels, value) {
            of_plugin.dropped[refused as usize].fetch_add(1, Relaxed);
        }
    }

    fn of_plugin(&self, plugin: &PluginName) -> Arc<OfPlugin> {
        let plugins = self.plugins.load();
        match plugins.get(plugin) {
            Some(of_plugin) => Arc::clone(of_plugin),
            None => self.add_plugin(plugin),
        }
    }

    fn try_record(
        &self,
        plugin: &OfPlugin,
        kind: u32,
        name: &str,
        labels: &[(&str, &str)],
        value: f64,
    ) -> Result<(), Refused> {
        let counts = MetricKind::from_abi(kind).ok_or(Refused::Kind)? == MetricKind::Counter;
        if !value.is_finite() || (counts && value < 0.0) {
            return Err(Refused::Value);
        }
        self.series(plugin, kind, name, labels)?.value.record(value);
        Ok(())
    }

    /// The series of that name, made if it is new.
    fn series(
        &self,
        plugin: &OfPlugin,
        kind: u32,
        name: &str,
        labels: &[(&str, &str)],
    ) -> Result<Arc<Series>, Refused> {
        let kind = MetricKind::from_abi(kind).ok_or(Refused::Kind)?;
        let key = Key::new(kind, name, labels).ok_or(Refused::Name)?;
        let mut hasher = DefaultHasher::new();
        (key.name(), key.labels()).hash(&mut hasher);
        let hash = hasher.finish();
        let part = plugin.part(hash).load();
        let series = match part.iter().find(|series| series.is(hash, &key)) {
            Some(series) => Arc::clone(series),
            None => self.add_series(plugin, kind, hash, &key)?,
        };
        if series.kind == kind { Ok(series) } else { Err(Refused::Kind) }
    }

    fn add_plugin(&self, plugin: &PluginName) -> Arc<OfPlugin> {
        let _growth = self.growth();
        let mut plugins = BTreeMap::clone(&self.plugins.load());
        let new = || Arc::new(OfPlugin::new());
        let of_plugin = Arc::clone(plugins.entry(plugin.clone()).or_insert_with(new));
        self.plugins.store(Arc::new(plugins));
        of_plugin
    }

    fn add_series(
        &self,
        plugin: &OfPlugin,
        kind: MetricKind,
        hash: u64,
        key: &Key<'_>,
    ) -> Result<Arc<Series>, Refused> {
        let mut claims = self.growth();
        let part = plugin.part(hash);
        let mut list = Vec::clone(&part.load());
        // Another thread may have been faster.
        if let Some(series) = list.iter().find(|series| series.is(hash, key)) {
            return Ok(Arc::clone(series));
        }
        if plugin.count.load(Relaxed) >= self.limit {
            return Err(Refused::Limit);
        }
        claim(&mut claims, kind, key.name())?;
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let labels = key.labels().iter().map(owned).collect();
        let name = key.name().to_owned();
        let series = Arc::new(Series { hash, kind, name, labels, value: Value::new(kind) });
        list.push(Arc::clone(&series));
        part.store(Arc::new(list));
        plugin.count.fetch_add(1, Relaxed);
        Ok(series)
    }

    pub(super) fn forget(&self, plugin: &PluginName) {
        let mut claims = self.growth();
        let mut plugins = BTreeMap::clone(&self.plugins.load());
        if plugins.remove(plugin).is_none() {
            return;
        }
        claims.clear();
        for series in plugins.values().flat_map(|of_plugin| of_plugin.all()) {
            // They were compatible with each other before; fewer of them still are.
            let _ = claim(&mut claims, series.kind, &series.name);
        }
        self.plugins.store(Arc::new(plugins));
    }

    /// By plugin and reason, without the zeros.
    pub(super) fn dropped(&self) -> Vec<(String, &'static str, u64)> {
        let plugins = self.plugins.load();
        let of = |(plugin, of_plugin): (&PluginName, &Arc<OfPlugin>)| {
            let counts = Refused::ALL.iter().zip(&of_plugin.dropped);
            let rows = counts.map(|(why, n)| (plugin.to_string(), why.as_str(), n.load(Relaxed)));
            rows.filter(|(_, _, count)| *count > 0).collect::<Vec<_>>()
        };
        plugins.iter().flat_map(of).collect()
    }
}

/// Takes every sample name that the family will print.
fn claim(claims: &mut Claims, kind: MetricKind, family: &str) -> Result<(), Refused> {
    let samples = kind.suffixes().iter().map(|suffix| format!("{family}{suffix}"));
    let samples: Vec<_> = samples.collect();
    let free = |sample: &String| {
        claims.get(sample).is_none_or(|(owner, its_kind)| owner == family && *its_kind == kind)
    };
    if !samples.iter().all(free) {
        return Err(Refused::Kind);
    }
    claims.extend(samples.into_iter().map(|sample| (sample, (family.to_owned(), kind))));
    Ok(())
}
