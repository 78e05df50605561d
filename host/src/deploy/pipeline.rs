//! Carries out one order after the other; the only writer of the table and the manifest.
//!
//! Owns which generation is active. Knows nothing of who asked or how they are answered.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{
    candidate::{Candidate, CandidateError, NotWith, Passed, Subject, Workshop},
    ceiling::Ceilings,
    condition::Condition,
    desk::{Desk, DeskError, Job, Outcome, Refusal, Work},
    line,
    order::{Change, Deployed, Order, Source},
    record::{Commit, Record},
    renewal::Renewal,
    settings::{Anew, log_levels, memory_rules},
};
use crate::{
    artifact::elf,
    error::{Coded, Kind},
    event::{Event, Phase},
    ids::{Digest, Generation, PluginName, Version},
    log,
    metrics::Metrics,
    route::{Drains, Loaded, Routes, Table, check_mount},
    state::{VersionEntry, history::Entry},
    status::Heap,
    sys::keep,
};

/// Whoever hears of what the pipeline does; none of it waits.
#[derive(Clone)]
pub struct Reports {
    /// What is in traffic is as the table says now.
    pub in_traffic: Arc<dyn Fn() + Send + Sync>,
    /// Something of the start is done.
    pub progress: Arc<dyn Fn(&str) + Send + Sync>,
    /// The loader is held by a constructor that does not return: this process can load nothing more.
    /// Whether another one takes its place.
    pub held: Arc<dyn Fn(Generation) -> bool + Send + Sync>,
    /// A load has failed; what it has left is listed.
    pub load_failed: Arc<dyn Fn() + Send + Sync>,
    /// Watches over the memory of what serves.
    pub ceilings: Ceilings,
}

impl fmt::Debug for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reports").finish_non_exhaustive()
    }
}

/// What is active, and everything needed to change it.
#[derive(Debug)]
pub struct Pipeline {
    /// How a candidate is brought up.
    pub workshop: Workshop,
    /// What boots.
    pub record: Arc<Record>,
    /// What the next request meets.
    pub routes: Arc<Routes>,
    /// Watches over what is retired.
    pub drains: Arc<Drains>,
    /// Counts orders by outcome.
    pub metrics: Arc<Metrics>,
    /// Who hears of it.
    pub reports: Reports,
    /// How an order gets on that has no room here.
    pub renewal: Arc<Renewal>,
    /// `None`: committed or configured, but nothing of it could be loaded.
    pub active: BTreeMap<PluginName, Option<Arc<Loaded>>>,
    /// Of what has left traffic by the order that runs.
    pub left_heap: Option<Heap>,
    /// The loader is held, and another worker takes this one's place: nothing is begun any more.
    pub given_up: bool,
}

/// An order names a plugin that does not serve.
#[derive(Debug, thiserror::Error)]
#[error("no plugin `{0}` is loaded")]
struct NoSuchPlugin(PluginName);

impl Coded for NoSuchPlugin {
    fn code(&self) -> &'static str {
        "no_such_plugin"
    }

    fn kind(&self) -> Kind {
        Kind::Missing
    }

    fn hint(&self) -> Option<String> {
        Some("`hotseat status` lists what is loaded".to_owned())
    }
}

pub(super) fn refuse(error: impl Coded + Send + Sync + 'static) -> Refusal {
    Arc::new(error)
}

/// What a deploy is asked.
struct Wish<'a> {
    path: &'a Path,
    force: bool,
    source: Source,
    condition: &'a Condition,
}

/// Where the bytes come from.
enum Origin {
    /// A file; where it lies, if that is the plugins folder.
    File(Option<PathBuf>),
    /// What was kept of a version before.
    Kept(VersionEntry),
}

/// What is known of an order, for its line in the history.
#[derive(Debug, Default)]
struct About {
    plugin: Option<PluginName>,
    version: Option<(crate::ids::Label, crate::ids::Digest)>,
}

impl Pipeline {
    /// Takes orders until the desk is closed. What serves goes on serving as long as what comes
    /// back is kept.
    #[must_use]
    pub fn run(mut self, desk: &Desk) -> Self {
        while let Some(work) = desk.next() {
            match work {
                Work::Order(job) => self.attend_to(job, desk),
                Work::Reconcile(done) => {
                    if !self.given_up {
                        self.reconcile();
                    }
                    // Whoever waited may have gone.
                    let _ = done.try_send(());
                }
                Work::Withdraw(withdrawal) => self.take_back(&withdrawal),
                Work::Reload(job) => self.attend_to_reload(job, desk),
                Work::Trial(trial) => {
                    let verdict = self.workshop.trial(&trial.path);
                    trial.answer(verdict.map_err(|error| error.code()));
                }
            }
        }
        // The last order may have brought up what nobody has told of the stop yet.
        self.active.values().flatten().for_each(|loaded| self.drains.watch(loaded.clone()));
        self
    }

    fn attend_to(&mut self, job: Job, desk: &Desk) {
        let started = Instant::now();
        self.left_heap = None;
        self.reserve_numbers(desk);
        let mut about = About::default();
        // Before the first file is written.
        keep::put_back();
        // Behind a loader that is held an order would keep the hand-over waiting, in vain.
        let outcome = if self.given_up {
            Err(refuse(DeskError::Frozen))
        } else {
            self.carry_out(job.number, &job.order, started, &mut about)
        };
        if outcome.as_ref().is_err_and(|refusal| refusal.code() == DeskError::Frozen.code()) {
            return self.give_back(job, outcome, &about, desk);
        }
        self.note(&job, &outcome, &about, started.elapsed());
        if outcome.as_ref().is_ok_and(|done| done.change != Change::AlreadyServes) {
            (self.reports.in_traffic)();
        }
        desk.finish(job, outcome);
        self.record.tidy(&self.workshop.store, self.workshop.config.limits.kept_count);
    }

    /// An order goes on in the next worker, under another number; nothing of it was done here.
    fn give_back(&self, job: Job, outcome: Outcome, about: &About, desk: &Desk) {
        self.workshop.events.publish(Phase::Refused, |event: &mut Event| {
            event.order = Some(job.number);
            event.plugin = about.plugin.clone();
            let code = DeskError::Frozen.code();
            event.detail = Some(format!("{code}: it goes on in the worker that takes over"));
        });
        desk.finish(job, outcome);
    }

    /// Waits for another worker where this one has used up what `bytes` need and the next one would
    /// have it.
    ///
    /// # Errors
    /// The order is to go on there.
    pub(super) fn make_room(&self, bytes: &[u8]) -> Result<(), Refusal> {
        let Some(wanted) = elf::static_tls(bytes) else { return Ok(()) };
        let serving = self.active.values().flatten().map(|loaded| loaded.version.generation);
        match self.workshop.room.short(wanted, serving) {
            Some(short) if self.renewal.wait(&short.to_string()) => Err(refuse(DeskError::Frozen)),
            _ => Ok(()),
        }
    }

    /// So that no number is given twice, however this host ends.
    pub fn reserve_numbers(&self, desk: &Desk) {
        let (order, event) = (desk.next_number(), self.workshop.events.last());
        self.record.reserve(order, event, desk.limit());
    }

    fn carry_out(
        &mut self,
        number: u64,
        order: &Order,
        started: Instant,
        about: &mut About,
    ) -> Outcome {
        // Before anything is run: what cannot be written down cannot be changed.
        self.record.look(&self.workshop.store).map_err(refuse)?;
        match order {
            Order::Deploy { path, force, source, condition } => {
                let wish = Wish { path, force: *force, source: *source, condition };
                self.deploy(number, wish, started, about)
            }
            Order::Rollback { plugin, to, condition } => {
                self.roll_back(number, (plugin.as_ref(), *to, condition), started, about)
            }
            Order::Unload { plugin, condition } => {
                about.plugin = Some(plugin.clone());
                self.check(plugin, condition)?;
                self.unload(number, plugin)
            }
        }
    }

    fn deploy(
        &mut self,
        number: u64,
        Wish { path, force, source, condition }: Wish<'_>,
        started: Instant,
        about: &mut About,
    ) -> Outcome {
        let waiting = self.workshop.waiting();
        let staged = self.workshop.stage(path).map_err(refuse)?;
        about.plugin = Some(staged.plugin.clone());
        about.version = Some((staged.label.clone(), staged.digest));
        self.check(&staged.plugin, condition)?;
        if force || !self.serves(&staged.plugin, staged.digest) {
            self.make_room(&staged.bytes)?;
        }
        let subject = Subject {
            order: Some(number),
            verb: Some("deploy"),
            plugin: staged.plugin,
            label: staged.label,
            digest: staged.digest,
            generation: self.record.take_generation(),
        };
        self.workshop.publish(Phase::Staged, &subject);
        let serving = self.serving(&subject.plugin);
        if let Some(version) = serving.filter(|version| version.digest == subject.digest && !force)
        {
            self.workshop.publish(Phase::Unchanged, &subject);
            return Ok(already_serves(subject, version, staged.notes));
        }
        check_mount(&self.workshop.config.mounts, &subject.plugin).map_err(refuse)?;
        self.workshop.publish(Phase::Verified, &subject);
        let mut notes = staged.notes;
        let previous = self.serving(&subject.plugin);
        if previous.as_ref().is_some_and(|previous| subject.label < previous.label) {
            notes.push(format!("downgrade: {} is below what served before", subject.label));
        }
        let Anew { settings, tables, note } =
            self.workshop.settings.anew(&subject.plugin).map_err(refuse)?;
        let about_tables = note.into_iter().chain(self.mistyped_table(&subject.plugin, &tables));
        let about_tables: Vec<_> = about_tables.collect();
        notes.extend(about_tables.iter().cloned());
        let author = Some(path.to_owned());
        let candidate = Candidate { subject, bytes: staged.bytes, author, notes, settings };
        let passed = self.workshop.preflight(waiting, candidate);
        let passed = passed.map_err(|error| refuse(NotWith::new(error, about_tables)))?;
        let file = (source == Source::Folder).then(|| path.to_owned());
        self.bring_up(passed, Origin::File(file), started)
    }

    fn roll_back(
        &mut self,
        number: u64,
        (named, to, condition): (Option<&PluginName>, Option<Generation>, &Condition),
        started: Instant,
        about: &mut About,
    ) -> Outcome {
        about.plugin = named.cloned();
        let plugin = self.record.rollback_subject(named).map_err(refuse)?;
        about.plugin = Some(plugin.clone());
        self.check(&plugin, condition)?;
        let target = self.record.rollback_target(&plugin, to).map_err(refuse)?;
        about.version = Some((target.label.clone(), target.digest));
        check_mount(&self.workshop.config.mounts, &plugin).map_err(refuse)?;
        let waiting = self.workshop.waiting();
        let bytes = self.workshop.store.read(target.digest).map_err(refuse)?;
        self.make_room(&bytes)?;
        let subject = Subject {
            order: Some(number),
            verb: Some("rollback"),
            plugin,
            label: target.label.clone(),
            digest: target.digest,
            generation: self.record.take_generation(),
        };
        let notes = match named {
            Some(_) => Vec::new(),
            None => vec![format!("no plugin was named: `{}` changed last", subject.plugin)],
        };
        let settings = self.workshop.settings.fresh(&subject.plugin).map_err(refuse)?;
        let candidate = Candidate { subject, bytes, author: None, notes, settings };
        let passed = self.workshop.preflight_again(waiting, candidate, false).map_err(refuse)?;
        self.bring_up(passed, Origin::Kept(target), started)
    }

    /// Holds what whoever ordered expects to serve against what does. Nobody but this thread changes
    /// that, so it stays so to the swap.
    fn check(&self, plugin: &PluginName, condition: &Condition) -> Result<(), Refusal> {
        condition.check(plugin, self.serving(plugin)).map_err(refuse)
    }

    /// Loads, commits and swaps. Up to the commit everything can still be undone by dropping it;
    /// after the commit nothing can fail.
    fn bring_up(&mut self, passed: Passed, origin: Origin, started: Instant) -> Outcome {
        let (target, file) = match origin {
            Origin::File(file) => (None, file),
            Origin::Kept(target) => (Some(target), None),
        };
        let subject = passed.subject.clone();
        let (bytes, notes, preflight) = (passed.bytes.clone(), passed.notes.clone(), passed.took);
        let loaded = self.load(passed)?;
        let artifact = self.workshop.store.keep(subject.digest, &bytes);
        let artifact = artifact.map_err(|error| refuse(CandidateError::Store(error)))?;
        let from = target.as_ref().map(|target| target.generation);
        let commit = Commit {
            generation: subject.generation,
            digest: subject.digest,
            label: subject.label.clone(),
            target,
            file,
        };
        // Handed in first, so that the disk never has a manifest without what it names.
        self.record.sync(artifact);
        self.record.commit(&subject.plugin, commit).map_err(refuse)?;
        let previous = self.swap(&subject.plugin, Arc::new(loaded));
        let swapped_in = started.elapsed();
        self.workshop.publish(Phase::Committed, &subject);
        let Subject { plugin, label, digest, generation, .. } = subject;
        let version = Version { generation, label, digest };
        let change = if from.is_some() { Change::RolledBack } else { Change::Swapped };
        Ok(Deployed { change, plugin, version, previous, from, preflight, swapped_in, notes })
    }

    /// Loads what has passed, or says so where another worker is to do it.
    pub(super) fn load(&mut self, passed: Passed) -> Result<Loaded, Refusal> {
        let generation = passed.subject.generation;
        let loaded = self.workshop.load(passed).map_err(|error| self.named(error));
        if loaded.is_err() {
            (self.reports.load_failed)();
        }
        if let Err(CandidateError::Load(error)) = &loaded
            && error.holds_the_loader()
        {
            self.given_up = (self.reports.held)(generation);
        }
        if let Err(error) = &loaded
            && error.is_of_this_worker()
            && self.renewal.wait(&error.to_string())
        {
            return Err(refuse(DeskError::Frozen));
        }
        loaded.map_err(refuse)
    }

    /// Makes `loaded` what serves; what served before is retired.
    pub(super) fn swap(&mut self, plugin: &PluginName, loaded: Arc<Loaded>) -> Option<Version> {
        self.workshop.settings.go_by(plugin, &loaded.settings);
        let before = self.active.insert(plugin.clone(), Some(loaded)).flatten();
        self.store_table();
        before.map(|before| self.retire(before))
    }

    /// Has the next request meet what is active.
    pub(super) fn store_table(&self) {
        let Workshop { settings, config, .. } = &self.workshop;
        if let Some(tables) = settings.serve(&self.active, config.limits.kept_count) {
            self.reports.ceilings.go_by(memory_rules(&tables));
            log::set_levels(&log_levels(&tables));
        }
        self.routes.store(Table::build(&self.workshop.config.mounts, &self.active));
        self.active.values().flatten().for_each(|loaded| self.reports.ceilings.watch(loaded));
    }

    pub(super) fn retire(&mut self, loaded: Arc<Loaded>) -> Version {
        let version = loaded.version.clone();
        hotseat_unload::retire(loaded.instance().library());
        self.left_heap = loaded.heap();
        self.workshop.roster.retired(&loaded);
        self.drains.watch(loaded);
        version
    }

    fn unload(&mut self, number: u64, plugin: &PluginName) -> Outcome {
        let Some(last) = self.record.remove(plugin).map_err(refuse)? else {
            return Err(refuse(NoSuchPlugin(plugin.clone())));
        };
        self.take_out(plugin);
        let version =
            Version { generation: last.generation, label: last.label, digest: last.digest };
        self.workshop.events.publish(Phase::Removed, |event: &mut Event| {
            event.order = Some(number);
            event.plugin = Some(plugin.clone());
            event.generation = Some(version.generation);
        });
        Ok(Deployed {
            change: Change::Unloaded,
            plugin: plugin.clone(),
            version,
            previous: None,
            from: None,
            preflight: Duration::ZERO,
            swapped_in: Duration::ZERO,
            notes: Vec::new(),
        })
    }

    /// Ends what serves `plugin`, and what is known of it.
    pub(super) fn take_out(&mut self, plugin: &PluginName) {
        let before = self.active.remove(plugin).flatten();
        self.store_table();
        if let Some(before) = before {
            self.retire(before);
        }
        self.metrics.forget(plugin);
    }

    pub(super) fn serving(&self, plugin: &PluginName) -> Option<Version> {
        Some(self.active.get(plugin)?.as_ref()?.version.clone())
    }

    fn serves(&self, plugin: &PluginName, digest: Digest) -> bool {
        self.serving(plugin).is_some_and(|version| version.digest == digest)
    }

    /// Writes down how an order ended: log, history, metrics, events.
    fn note(&self, job: &Job, outcome: &Outcome, about: &About, took: Duration) {
        let (number, verb) = (job.number, job.order.verb());
        let (source, path): (_, Option<&Path>) = match &job.order {
            Order::Deploy { path, source, .. } => (*source, Some(&**path)),
            Order::Rollback { .. } | Order::Unload { .. } => (Source::Control, None),
        };
        let mut entry = Entry {
            line: 0,
            by: job.by,
            subject: Some(job.subject()),
            at: SystemTime::now(),
            order: number,
            source: source.as_str().to_owned(),
            verb: verb.to_owned(),
            plugin: about.plugin.clone(),
            label: about.version.as_ref().map(|(label, _)| label.clone()),
            digest: about.version.as_ref().map(|(_, digest)| *digest),
            generation: None,
            from: None,
            outcome: String::new(),
            text: String::new(),
            ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            left_heap: None,
        };
        match outcome {
            Ok(done) => {
                entry.label = Some(done.version.label.clone());
                entry.digest = Some(done.version.digest);
                entry.generation = Some(done.version.generation);
                entry.from = done.from;
                entry.left_heap = self.left_heap;
                entry.outcome = done.change.as_str().to_owned();
                entry.text = done.line();
                line::done(&entry, path);
            }
            Err(refusal) => {
                entry.outcome = refusal.code().to_owned();
                entry.text = refusal.to_string();
                line::refused(&entry, path, refusal);
                self.workshop.events.publish(Phase::Refused, |event: &mut Event| {
                    event.order = Some(number);
                    event.plugin = about.plugin.clone();
                    event.label.clone_from(&entry.label);
                    event.digest = entry.digest;
                    event.detail = Some(format!("{}: {}", refusal.code(), entry.text));
                });
            }
        }
        let ended = match outcome {
            Ok(done) => done.change.as_str(),
            Err(refusal) => refusal.code(),
        };
        self.metrics.order_ended(verb, ended);
        self.record.append(entry);
    }
}

fn already_serves(subject: Subject, version: Version, notes: Vec<String>) -> Deployed {
    Deployed {
        change: Change::AlreadyServes,
        plugin: subject.plugin,
        version,
        previous: None,
        from: None,
        preflight: Duration::ZERO,
        swapped_in: Duration::ZERO,
        notes,
    }
}
