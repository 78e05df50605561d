//! A generation in this process: its instance and what it is called.
//!
//! Invariant: dropping it, on whatever thread, only hands the instance over to the reaper.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::SystemTime,
};

use hotseat_unload::{
    LibraryId,
    heap::{self, HeapSize},
};

use super::Roster;
use crate::{
    config::plugin::PluginSettings,
    ids::{PluginName, Version},
    log,
    plugin::{
        instance::Instance,
        reaper::{self, Leaving, ReaperHandle},
    },
    status::{Heap, Leaves},
    sys::private::PrivateFile,
};

/// A heap that has outgrown its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// What it may hold. Units: bytes.
    pub max: u64,
    /// What is done about it, behind a semicolon; nothing.
    pub consequence: &'static str,
}

impl Over {
    /// In words, where it holds `held` bytes now.
    #[must_use]
    pub fn text(self, held: u64) -> String {
        let Self { max, consequence } = self;
        if held > max {
            let (held, max) = (mib(held), mib(max));
            return format!(
                "its heap holds {held}, more than the {max} of `memory_max`{consequence}"
            );
        }
        format!(
            "its heap holds {} after more than the {} of `memory_max`, which counts until it is an \
             eighth below{consequence}",
            mib(held),
            mib(max)
        )
    }
}

/// `16.3 MiB`, `8 MiB`.
#[must_use]
pub fn mib(bytes: u64) -> String {
    match (bytes >> 20, (bytes >> 10) % 1024 * 10 / 1024) {
        (whole, 0) => format!("{whole} MiB"),
        (whole, tenth) => format!("{whole}.{tenth} MiB"),
    }
}

/// A loaded generation. Shared by the table, by each data thread's view, and by nobody for long.
#[derive(Debug)]
pub struct Loaded {
    /// Its plugin.
    pub plugin: PluginName,
    /// Its number, label and content.
    pub version: Version,
    /// When it was loaded.
    pub since: SystemTime,
    /// What it was given of its own settings.
    pub settings: PluginSettings,
    /// What these are called; `None`: it has none.
    pub settings_digest: Option<String>,
    /// What each load of it leaves behind, if that is worth a word.
    pub leaves: Option<Leaves>,
    instance: Option<Instance>,
    file: Option<PrivateFile>,
    reaper: ReaperHandle,
    roster: Roster,
    watched: AtomicBool,
    over: Mutex<Option<Over>>,
    refuses: AtomicBool,
}

impl Loaded {
    /// Takes an instance in. `file` is its private copy, removed after the unload.
    #[must_use]
    pub fn new(
        plugin: PluginName,
        version: Version,
        (instance, file): (Instance, PrivateFile),
        (settings, settings_digest, leaves): (PluginSettings, Option<String>, Option<Leaves>),
        (reaper, roster): (ReaperHandle, Roster),
    ) -> Self {
        let (since, file) = (SystemTime::now(), Some(file));
        Self {
            plugin,
            version,
            since,
            settings,
            settings_digest,
            leaves,
            instance: Some(instance),
            file,
            reaper,
            roster,
            watched: AtomicBool::new(false),
            over: Mutex::default(),
            refuses: AtomicBool::new(false),
        }
    }

    /// True once: its heap is to be watched.
    #[must_use]
    pub fn begin_watch(&self) -> bool {
        !self.watched.swap(true, Relaxed)
    }

    /// Says that it holds more memory than it may, and whether new requests are refused for it;
    /// whoever does sees to it that the views of the table look again.
    pub fn set_over(&self, over: Option<Over>, refuse: bool) {
        self.refuses.store(refuse && over.is_some(), Release);
        *self.over.lock().unwrap_or_else(PoisonError::into_inner) = over;
    }

    /// Whether it holds more memory than it may.
    #[must_use]
    pub fn over(&self) -> Option<Over> {
        *self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no new request may meet it.
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.refuses.load(Acquire)
    }

    /// Whether a line that says `what` has happened to a request of this generation is to be
    /// logged: the first ones are, of more only the number.
    #[must_use]
    pub fn is_news(&self, what: &'static str) -> bool {
        log::is_news(self.plugin.as_str(), self.version.generation.0, what)
    }

    /// Its heap at this moment. `None`: it has no arena.
    #[must_use]
    pub fn heap(&self) -> Option<Heap> {
        heap_of(self.instance().library())
    }

    /// The instance.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        self.instance.as_ref().expect("taken only when the generation is dropped")
    }
}

/// The heap of a library at this moment. `None`: it has no arena, or is unmapped.
pub(super) fn heap_of(library: LibraryId) -> Option<Heap> {
    let HeapSize { held, peak, live, total } = heap::size(library)?;
    Some(Heap { held, peak, live, total })
}

impl Drop for Loaded {
    fn drop(&mut self) {
        let Some((instance, file)) = self.instance.take().zip(self.file.take()) else { return };
        self.roster.drained(self.version.generation);
        let leaving = (Leaving::Instance(instance), file);
        reaper::retire(&self.reaper, self.version.generation, leaving);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heap_over_its_limit_is_told_as_it_is() {
        let over = Over { max: 16 << 20, consequence: "; it is withdrawn" };
        let held = (16 << 20) + (300 << 10);
        let told = "its heap holds 16.2 MiB, more than the 16 MiB of `memory_max`; it is withdrawn";
        assert_eq!(over.text(held), told);
        let told = over.text(15 << 20);
        assert!(told.starts_with("its heap holds 15 MiB after more than the 16 MiB"), "{told}");
    }
}
