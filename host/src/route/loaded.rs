//! A generation in this process: its instance and what it is called.
//!
//! Invariant: dropping it, on whatever thread, only hands the instance over to the reaper.

use std::time::SystemTime;

use super::Roster;
use crate::{
    ids::{PluginName, Version},
    log,
    plugin::{
        instance::Instance,
        reaper::{ReaperHandle, Retired},
    },
    sys::private::PrivateFile,
};

/// A loaded generation. Shared by the table, by each data thread's view, and by nobody for long.
#[derive(Debug)]
pub struct Loaded {
    /// Its plugin.
    pub plugin: PluginName,
    /// Its number, label and content.
    pub version: Version,
    /// When it was loaded.
    pub since: SystemTime,
    instance: Option<Instance>,
    file: Option<PrivateFile>,
    reaper: ReaperHandle,
    roster: Roster,
}

impl Loaded {
    /// Takes an instance in. `file` is its private copy, removed after the unload.
    #[must_use]
    pub fn new(
        plugin: PluginName,
        version: Version,
        instance: Instance,
        file: PrivateFile,
        (reaper, roster): (ReaperHandle, Roster),
    ) -> Self {
        let (since, file) = (SystemTime::now(), Some(file));
        Self { plugin, version, since, instance: Some(instance), file, reaper, roster }
    }

    /// Whether a line that says `what` has happened to a request of this generation is to be
    /// logged: the first ones are, of more only the number.
    #[must_use]
    pub fn is_news(&self, what: &'static str) -> bool {
        log::is_news(self.plugin.as_str(), self.version.generation.0, what)
    }

    /// The instance.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        self.instance.as_ref().expect("taken only when the generation is dropped")
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        let Some((instance, file)) = self.instance.take().zip(self.file.take()) else { return };
        self.roster.drained(self.version.generation);
        self.reaper.retire(Retired { generation: self.version.generation, instance, file });
    }
}
