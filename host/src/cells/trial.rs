//! The cells of a process in which a plugin is only tried out.
//!
//! Owns a copy of what the host has, made when it is first asked for. What is written goes there and
//! ends with the process: a preflight changes nothing that serves.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    Bounds, CellError, CellStore, Cells, Copied, Foreign, Listed, Value, When, area::growth,
    check_key,
};
use crate::ids::PluginName;

/// See the module. For one plugin.
#[derive(Debug)]
pub struct Trial {
    /// Where the host's file is, until it was read; `None`: it has none.
    from: Option<PathBuf>,
    bounds: Bounds,
    copied: Mutex<Option<Copy>>,
}

#[derive(Debug, Default)]
struct Copy {
    version: u64,
    values: BTreeMap<String, Value>,
}

impl Trial {
    /// A copy of what is in the file at `from`, with the bounds of the host.
    #[must_use]
    pub fn of(from: Option<PathBuf>, bounds: Bounds) -> Self {
        Self { from, bounds, copied: Mutex::default() }
    }

    fn with<T>(
        &self,
        plugin: &PluginName,
        work: impl FnOnce(&mut Copy) -> Result<T, CellError>,
    ) -> Result<T, CellError> {
        let mut copied: MutexGuard<'_, _> =
            self.copied.lock().unwrap_or_else(PoisonError::into_inner);
        if copied.is_none() {
            *copied = Some(self.copy(plugin)?);
        }
        work(copied.get_or_insert_default())
    }

    fn copy(&self, plugin: &PluginName) -> Result<Copy, CellError> {
        let Some(from) = &self.from else { return Ok(Copy::default()) };
        let cells = match Cells::open_to_read(from) {
            Ok(cells) => cells,
            // The system may forbid a look into another process: no reason to refuse a plugin.
            Err(Foreign::Failed(error)) => {
                tracing::warn!(
                    "the plugin is tried without its cells, they cannot be read: {error}"
                );
                return Ok(Copy::default());
            }
            Err(error) => return Err(CellError::Unavailable(error.to_string())),
        };
        let Copied { version, values } = cells.copy(plugin)?;
        Ok(Copy { version, values: values.into_iter().collect() })
    }
}

impl CellStore for Trial {
    fn get(&self, plugin: &PluginName, key: &str) -> Result<Option<Value>, CellError> {
        check_key(key)?;
        self.with(plugin, |copy| Ok(copy.values.get(key).cloned()))
    }

    fn change(
        &self,
        plugin: &PluginName,
        key: &str,
        when: When,
        to: Option<&[u8]>,
    ) -> Result<u64, CellError> {
        check_key(key)?;
        self.bounds.check_value(to)?;
        self.with(plugin, |copy| {
            let now = copy.values.get(key);
            if let When::Version(expected) = when
                && expected != now.map_or(0, |value| value.version)
            {
                return Err(CellError::Conflict(now.cloned()));
            }
            let Some(bytes) = to.map(<[u8]>::to_vec) else {
                copy.values.remove(key);
                return Ok(0);
            };
            let known = now.map(|value| value.bytes.len());
            let growth = growth(key, known.is_some(), known.unwrap_or(0) as u64, Some(&bytes));
            let size = |(key, value): (&String, &Value)| (key.len() + value.bytes.len()) as u64;
            let (count, all) = (copy.values.len() as u64, copy.values.iter().map(size).sum());
            self.bounds.check_growth((count, all), growth)?;
            copy.version += 1;
            let version = copy.version;
            copy.values.insert(key.to_owned(), Value { version, bytes });
            Ok(version)
        })
    }

    fn list(&self, plugin: &PluginName) -> Result<Vec<Listed>, CellError> {
        let line = |(key, value): (&String, &Value)| Listed {
            key: key.clone(),
            version: value.version,
            bytes: value.bytes.len() as u64,
        };
        self.with(plugin, |copy| Ok(copy.values.iter().map(line).collect()))
    }
}
