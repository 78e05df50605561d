//! Cells: values that plugins keep with their host, beyond a swap, an upgrade and a crash.
//!
//! Owns one file in memory that all processes of a host share ([`make`]), and what each of them sees
//! in it ([`Cells`]). By plugin name, so that versions of a plugin, and two workers at one time, have
//! the same values. Knows nothing of libraries, disks or orders.
//!
//! # What is promised
//! - Each key by itself is linearizable among all threads and processes of the host: an answer is
//!   the value at some moment between call and return, and a change is whole, once. Nothing is
//!   promised across keys.
//! - A version is never given twice within a plugin.
//! - `kill -9` of a process at any instant leaves each value as it was before or as it is after the
//!   change; who has had an answer finds it done. The locks are the kernel's, and go with the process.
//! - A read takes no lock between processes; whoever writes waits for others of the same plugin at
//!   most, for as long as a write of memory takes, and for others that want more room for
//!   microseconds; at most 2 s in all where one of them was stopped.
//! - All of it ends with the host, but for what `state` keeps.

use std::{
    collections::BTreeMap,
    fmt, io,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};

use serde::{Deserialize, Serialize};

use self::{
    area::{Area, Change, Growth},
    layout::{
        Header, NAME_BYTES, PLUGINS_AT, PLUGINS_MAX, SEEDED_AT, area_at, name_at, read_text, text,
    },
    lock::Lock,
    region::Region,
};
use crate::ids::PluginName;

mod area;
mod error;
mod layout;
mod lock;
mod region;
mod seed;
mod trial;

pub use self::{
    error::{CellError, Limit},
    layout::{KEY_BYTES_MAX, VALUE_BYTES_MAX, VALUES_MAX},
    region::{Foreign, make},
    trial::Trial,
};

/// Under which name, in the place of a digest, the file travels between processes: that of the words
/// `hotseat cells`.
pub const CARGO: &str = "df0bef43db7dab82b23cb0d49fd31879dbde4ea8ae3d382750061d3149af2b21";

/// How much may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// One value. Units: bytes.
    pub value_bytes: u64,
    /// Values of one plugin.
    pub count: u64,
    /// Keys and values of one plugin. Units: bytes.
    pub bytes: u64,
    /// Those of all plugins. Units: bytes.
    pub total_bytes: u64,
}

impl Bounds {
    fn check_value(&self, to: Option<&[u8]>) -> Result<(), CellError> {
        let (len, max) = (to.map_or(0, <[u8]>::len) as u64, self.value_bytes);
        if len > max { Err(CellError::TooLong { len, max }) } else { Ok(()) }
    }

    /// Whether a plugin that has so many values of so many bytes may have more; how many bytes more.
    fn check_growth(&self, (count, bytes): (u64, u64), growth: Growth) -> Result<u64, CellError> {
        if growth.values > 0 && count >= self.count {
            return Err(CellError::Full(Limit::Count(self.count)));
        }
        let more = u64::try_from(growth.bytes).unwrap_or(0);
        if more > 0 && bytes.saturating_add(more) > self.bytes {
            return Err(CellError::Full(Limit::Bytes(self.bytes)));
        }
        Ok(more)
    }
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Never 0.
    pub version: u64,
    /// The value itself.
    pub bytes: Vec<u8>,
}

/// A line of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: String,
    /// The value's version; 0: it is damaged.
    pub version: u64,
    /// The value's size.
    pub bytes: u64,
}

/// What a plugin has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Whose.
    pub plugin: PluginName,
    /// Values.
    pub count: u64,
    /// Of keys and values.
    pub bytes: u64,
    /// Another one after each change.
    pub version: u64,
}

/// All values of a plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// The last version that was given when it began.
    pub version: u64,
    /// By key.
    pub values: Vec<(String, Value)>,
}

/// What must be so for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Nothing.
    Always,
    /// This version is there; 0: none is.
    Version(u64),
}

/// What a plugin may do with its cells.
pub trait CellStore: Send + Sync {
    /// The value of a key.
    ///
    /// # Errors
    /// See [`CellError`].
    fn get(&self, plugin: &PluginName, key: &str) -> Result<Option<Value>, CellError>;

    /// Sets a value, or removes it; its version then, 0 where it is gone.
    ///
    /// # Errors
    /// See [`CellError`].
    fn change(
        &self,
        plugin: &PluginName,
        key: &str,
        when: When,
        to: Option<&[u8]>,
    ) -> Result<u64, CellError>;

    /// Where another process finds the file that they are in, to read it.
    fn file(&self) -> Option<PathBuf> {
        None
    }

    /// Every key, in order.
    ///
    /// # Errors
    /// See [`CellError`].
    fn list(&self, plugin: &PluginName) -> Result<Vec<Listed>, CellError>;
}

/// Hears of each change that this process makes.
type OnChange = Box<dyn Fn(&PluginName) + Send + Sync>;

/// The cells of a host, as one process sees them.
pub struct Cells {
    region: Result<Region, String>,
    bounds: Bounds,
    /// In the order of the file; only its beginning may be known here.
    names: Mutex<Vec<(PluginName, Arc<Area>)>>,
    /// Held by whoever adds a name, and by a change that takes more room than there was, until that is
    /// booked. Behind an area's.
    directory: Lock,
    /// Held by whoever takes in what the disk has. Before any other one.
    seeding: Lock,
    changed: OnceLock<OnChange>,
}

impl fmt::Debug for Cells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cells").field("region", &self.region).finish_non_exhaustive()
    }
}

impl Cells {
    /// Those in a file that [`make`] has made, here or elsewhere.
    ///
    /// # Errors
    /// [`Foreign`]: it is no such file, or one of another release.
    pub fn adopt(file: OwnedFd, bounds: Bounds) -> Result<Self, Foreign> {
        Ok(Self::with(Ok(Region::adopt(file, false)?), bounds))
    }

    /// There are none, because of `why`.
    #[must_use]
    pub fn unavailable(why: impl Into<String>) -> Self {
        let none = Bounds { value_bytes: 0, count: 0, bytes: 0, total_bytes: 0 };
        Self::with(Err(why.into()), none)
    }

    fn with(region: Result<Region, String>, bounds: Bounds) -> Self {
        Self {
            region,
            bounds,
            names: Mutex::default(),
            directory: Lock::new(0),
            seeding: Lock::new(SEEDED_AT),
            changed: OnceLock::new(),
        }
    }

    /// Calls `hear` behind each change that this process makes. Once.
    pub fn on_change(&self, hear: impl Fn(&PluginName) + Send + Sync + 'static) {
        let _ = self.changed.set(Box::new(hear));
    }

    /// The file itself, for another process. No copy of it may be closed in this one.
    #[must_use]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.region.as_ref().ok().map(Region::descriptor)
    }

    /// Opens the one at `path` for reading alone.
    fn open_to_read(path: &Path) -> Result<Self, Foreign> {
        let none = Bounds { value_bytes: 0, count: 0, bytes: 0, total_bytes: 0 };
        Ok(Self::with(Ok(Region::adopt(std::fs::File::open(path)?.into(), true)?), none))
    }

    fn region(&self) -> Result<&Region, CellError> {
        let region = self.region.as_ref().map_err(|why| CellError::Unavailable(why.clone()))?;
        if region.is_own() {
            return Ok(region);
        }
        Err(CellError::Unavailable("this process was forked from a worker".to_owned()))
    }

    fn names(&self) -> MutexGuard<'_, Vec<(PluginName, Arc<Area>)>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, plugin: &PluginName) -> Option<Arc<Area>> {
        let names = self.names();
        names.iter().find(|(name, _)| name == plugin).map(|(_, area)| area.clone())
    }

    /// Where the values of `plugin` are; `None`: it never had any.
    fn find(&self, plugin: &PluginName) -> Result<Option<Arc<Area>>, CellError> {
        if let Some(known) = self.known(plugin) {
            return Ok(Some(known));
        }
        self.read_names()?;
        Ok(self.known(plugin))
    }

    /// Learns the names that others have added.
    fn read_names(&self) -> Result<(), CellError> {
        let region = self.region()?;
        let count = region.word(PLUGINS_AT)?.min(PLUGINS_MAX);
        let mut names = self.names();
        while (names.len() as u64) < count {
            let number = names.len() as u64;
            let mut bytes = [0; NAME_BYTES];
            region.read(name_at(number), &mut bytes)?;
            let name = read_text(&bytes).and_then(|text| text.parse().ok());
            // Its place stays, so that all others keep theirs; no plugin is called this.
            let name = name
                .unwrap_or_else(|| format!("0-damaged-{number}").parse().expect("a plugin name"));
            names.push((name, Arc::new(Area::new(area_at(number)))));
        }
        Ok(())
    }

    /// The same, with a place for those of a plugin that never had any.
    fn place(&self, plugin: &PluginName, due: Instant) -> Result<Arc<Area>, CellError> {
        if let Some(found) = self.find(plugin)? {
            return Ok(found);
        }
        let region = self.region()?;
        let _held = self.directory.take(region, due)?;
        if let Some(found) = self.find(plugin)? {
            return Ok(found);
        }
        let number = region.word(PLUGINS_AT)?;
        if number >= PLUGINS_MAX {
            return Err(CellError::Full(Limit::Plugins));
        }
        region.write(name_at(number), &text(plugin.as_str(), NAME_BYTES))?;
        region.write_word(PLUGINS_AT, number + 1)?;
        let found = self.find(plugin)?;
        found.ok_or_else(|| CellError::Unavailable("their names are damaged".to_owned()))
    }

    /// Begins a change, if there is room for it. What `begin` writes counts it in already, so that it
    /// is booked when the directory's lock is let go, before anything large is written.
    fn begin(
        &self,
        region: &Region,
        (header, growth): (&Header, Growth),
        due: Instant,
        begin: &dyn Fn() -> io::Result<()>,
    ) -> Result<(), CellError> {
        let more = self.bounds.check_growth((header.count, header.bytes), growth)?;
        if more == 0 {
            return Ok(begin()?);
        }
        let total_bytes = self.bounds.total_bytes;
        let _held = self.directory.take(region, due)?;
        self.read_names()?;
        let areas: Vec<_> = self.names().iter().map(|(_, area)| area.clone()).collect();
        let mut total: u64 = 0;
        for area in areas {
            total = total.saturating_add(area.settled(region)?.map_or(0, |it| it.bytes));
        }
        if total.saturating_add(more) > total_bytes {
            return Err(CellError::Full(Limit::Total(total_bytes)));
        }
        Ok(begin()?)
    }

    /// What every plugin has that ever had anything.
    ///
    /// # Errors
    /// See [`CellError`].
    pub fn usage(&self) -> Result<Vec<Usage>, CellError> {
        let region = self.region()?;
        self.read_names()?;
        let areas: Vec<_> = self.names().clone();
        let mut list = Vec::new();
        for (plugin, area) in areas {
            // A damaged one is counted anew by whoever takes its lock.
            let Header { count, bytes, version, .. } = area.settled(region)?.unwrap_or_default();
            list.push(Usage { plugin, count, bytes, version });
        }
        list.sort_by(|a, b| a.plugin.cmp(&b.plugin));
        Ok(list)
    }

    /// A copy of all values of a plugin that are whole, each as it was at some moment of the call;
    /// nothing up to its version is missing.
    ///
    /// # Errors
    /// See [`CellError`].
    pub fn copy(&self, plugin: &PluginName) -> Result<Copied, CellError> {
        let Some(area) = self.find(plugin)? else { return Ok(Copied::default()) };
        let (version, values) = area.copy(self.region()?)?;
        Ok(Copied { version, values })
    }

    /// Removes all values of a plugin; how many.
    ///
    /// # Errors
    /// See [`CellError`].
    pub fn clear(&self, plugin: &PluginName) -> Result<usize, CellError> {
        let list = self.list(plugin)?;
        for Listed { key, .. } in &list {
            self.change(plugin, key, When::Always, None)?;
        }
        Ok(list.len())
    }
}

fn check_key(key: &str) -> Result<(), CellError> {
    let good = (1..=KEY_BYTES_MAX).contains(&key.len()) && !key.chars().any(char::is_control);
    if good { Ok(()) } else { Err(CellError::BadKey(key.chars().take(KEY_BYTES_MAX).collect())) }
}

impl CellStore for Cells {
    fn get(&self, plugin: &PluginName, key: &str) -> Result<Option<Value>, CellError> {
        check_key(key)?;
        let region = self.region()?;
        match self.find(plugin)? {
            Some(area) => area.get(region, key),
            None => Ok(None),
        }
    }

    fn change(
        &self,
        plugin: &PluginName,
        key: &str,
        when: When,
        to: Option<&[u8]>,
    ) -> Result<u64, CellError> {
        check_key(key)?;
        let region = self.region()?;
        self.bounds.check_value(to)?;
        // For all locks together.
        let due = lock::due();
        let area = match to {
            Some(_) => self.place(plugin, due)?,
            None => match self.find(plugin)? {
                Some(area) => area,
                None if matches!(when, When::Version(1..)) => {
                    return Err(CellError::Conflict(None));
                }
                None => return Ok(0),
            },
        };
        let change = Change { key, when, to, version: None, due };
        let version = area.change(region, &change, |header, growth, begin| {
            self.begin(region, (header, growth), due, begin)
        })?;
        if let Some(changed) = self.changed.get() {
            changed(plugin);
        }
        Ok(version)
    }

    fn file(&self) -> Option<PathBuf> {
        let file = self.descriptor()?.as_raw_fd();
        Some(format!("/proc/{}/fd/{file}", std::process::id()).into())
    }

    fn list(&self, plugin: &PluginName) -> Result<Vec<Listed>, CellError> {
        let region = self.region()?;
        self.find(plugin)?.map_or_else(|| Ok(Vec::new()), |area| area.list(region))
    }
}

/// What each plugin has, by name, for the status.
#[must_use]
pub fn by_plugin(list: Vec<Usage>) -> BTreeMap<PluginName, Usage> {
    list.into_iter().map(|usage| (usage.plugin.clone(), usage)).collect()
}

#[cfg(test)]
mod tests;
