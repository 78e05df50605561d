//! What became of every generation: serving, draining, waiting for its unload, gone.
//!
//! Owns the list that the status shows. Bounded: of the generations that ended well only the
//! newest are kept; whatever still costs memory is always listed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use hotseat_unload::LibraryId;

use super::{Loaded, loaded::heap_of};
use crate::{
    event::{Event, Events, Phase},
    ids::{Generation, PluginName, Version},
    plugin::reaper::{Report, Unloading},
    status::{GenerationStatus, Heap, Leaves, Left, Life, residents},
};

#[derive(Clone, Debug)]
struct Record {
    plugin: PluginName,
    version: Version,
    since: SystemTime,
    life: Life,
    /// `None`: of a load that failed before anybody knew it.
    library: Option<LibraryId>,
    /// As it was when its last lease went.
    heap: Option<Heap>,
    config: Option<String>,
    leaves: Option<Leaves>,
    left: Option<Left>,
    threads: BTreeMap<String, usize>,
}

impl Record {
    fn is(&self, generation: Generation) -> bool {
        self.version.generation == generation
    }

    fn is_resident(&self) -> bool {
        matches!(self.life, Life::Resident(_))
    }

    /// What is unmapped holds nothing, or the books of heaps say so.
    fn heap(&self) -> Option<Heap> {
        let now = self.library.and_then(heap_of);
        now.or_else(|| self.heap.map(|last| Heap { held: 0, live: 0, ..last }))
    }
}

/// Shared by everything that moves a generation along.
#[derive(Clone, Debug)]
pub struct Roster {
    records: Arc<Mutex<Vec<Record>>>,
    events: Events,
    ended_count: usize,
}

impl Roster {
    /// Lists at most `ended_count` generations that are unloaded.
    #[must_use]
    pub fn new(ended_count: usize, events: Events) -> Self {
        Self { records: Arc::default(), events, ended_count }
    }

    fn records(&self) -> MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A generation takes no new requests.
    pub fn retired(&self, loaded: &Loaded) {
        self.records().push(Record {
            plugin: loaded.plugin.clone(),
            version: loaded.version.clone(),
            since: loaded.since,
            life: Life::Draining,
            library: Some(loaded.instance().library()),
            heap: None,
            config: loaded.settings_digest.clone(),
            leaves: loaded.leaves.clone(),
            left: None,
            threads: BTreeMap::new(),
        });
        self.publish(Phase::Retired, loaded.version.generation, None);
    }

    /// A load has failed, and something of it is there: `library`, if that is known. Called again, it
    /// tells more of the same.
    pub fn failed(
        &self,
        (plugin, version): (&PluginName, &Version),
        library: Option<LibraryId>,
        why: String,
    ) {
        let (generation, life) = (version.generation, Life::Resident(why.clone()));
        let mut records = self.records();
        let known = records.iter_mut().find(|it| it.is(generation) && it.is_resident());
        match known {
            Some(record) => (record.library, record.life) = (library, life),
            None => records.push(Record {
                plugin: plugin.clone(),
                version: version.clone(),
                since: SystemTime::now(),
                life,
                library,
                heap: None,
                config: None,
                leaves: None,
                left: None,
                threads: BTreeMap::new(),
            }),
        }
        drop(records);
        self.publish(Phase::Resident, generation, Some(why));
    }

    /// Its last lease is gone.
    pub fn drained(&self, generation: Generation) {
        self.change(generation, |record| {
            record.life = Life::Pending("waits for its unload".to_owned());
            record.heap = record.library.and_then(heap_of);
        });
        self.publish(Phase::Drained, generation, None);
    }

    /// The reaper has something to say about it; once it is unloaded, what its swap has left.
    pub fn report(&self, report: Report, left: Option<Left>) {
        let generation = Generation(report.tag);
        let why = |why| residents::reason(why, &report.threads);
        let state = match report.state {
            Unloading::Pending(text) => Unloading::Pending(why(text)),
            Unloading::Resident(text) => Unloading::Resident(why(text)),
            Unloading::Unloaded => Unloading::Unloaded,
        };
        let mut known = None;
        self.change(generation, |record| {
            record.threads = residents::named(report.threads);
            record.left = left;
            known = Some(record.life.clone());
        });
        let was_resident = matches!(known, Some(Life::Resident(_)));
        let (life, phase, detail) = match state {
            // What has stayed once does so until it is gone, however its unload gets on.
            Unloading::Pending(why) if was_resident => {
                return self.change(generation, |record| record.life = Life::Resident(why));
            }
            Unloading::Pending(why) => {
                return self.change(generation, |record| record.life = Life::Pending(why));
            }
            Unloading::Unloaded => (Life::Unloaded, Phase::Unloaded, None),
            Unloading::Resident(why) => (Life::Resident(why.clone()), Phase::Resident, Some(why)),
        };
        let is_news = known.as_ref() != Some(&life);
        self.change(generation, |record| record.life = life);
        if is_news {
            self.publish(phase, generation, detail);
        }
        self.forget_ended();
    }

    fn change(&self, generation: Generation, change: impl FnOnce(&mut Record)) {
        let mut records = self.records();
        if let Some(record) = records.iter_mut().find(|it| it.version.generation == generation) {
            change(record);
        }
    }

    fn publish(&self, phase: Phase, generation: Generation, detail: Option<String>) {
        let (plugin, label, digest) = {
            let records = self.records();
            let record = records.iter().find(|it| it.version.generation == generation);
            let Some(Record { plugin, version, .. }) = record else { return };
            (plugin.clone(), version.label.clone(), version.digest)
        };
        self.events.publish(phase, |event: &mut Event| {
            event.generation = Some(generation);
            event.plugin = Some(plugin);
            event.label = Some(label);
            event.digest = Some(digest);
            event.detail = detail;
        });
    }

    fn forget_ended(&self) {
        let mut records = self.records();
        let ended = |record: &Record| record.life == Life::Unloaded;
        let mut surplus =
            records.iter().filter(|it| ended(it)).count().saturating_sub(self.ended_count);
        records.retain(|record| {
            let forget = surplus > 0 && ended(record);
            surplus -= usize::from(forget);
            !forget
        });
    }

    /// How many generations have left traffic and are still there, on their way out.
    #[must_use]
    pub fn leaving_count(&self) -> usize {
        let leaves = |record: &&Record| record.life != Life::Unloaded && !record.is_resident();
        self.records().iter().filter(leaves).count()
    }

    /// How many generations stay mapped for good.
    #[must_use]
    pub fn resident_count(&self) -> usize {
        self.records().iter().filter(|it| it.is_resident()).count()
    }

    /// Every generation that left traffic, newest first; holders are for the caller to add.
    #[must_use]
    pub fn list(&self) -> Vec<GenerationStatus> {
        let status = |record: &Record| GenerationStatus {
            generation: record.version.generation,
            plugin: record.plugin.clone(),
            label: record.version.label.clone(),
            digest: record.version.digest,
            life: record.life.clone(),
            since: record.since,
            holders: Vec::new(),
            holder_count: 0,
            heap: record.heap(),
            config: record.config.clone(),
            leaves: record.leaves.clone(),
            left: record.left.clone(),
            threads: record.threads.clone(),
        };
        self.records().iter().rev().map(status).collect()
    }
}
