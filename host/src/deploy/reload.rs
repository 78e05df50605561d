//! A change of plugins' own settings: the bytes that serve are deployed again, with the new ones.
//!
//! Owns the rule that a reload is all or nothing: each plugin whose settings have changed, also by the
//! value of a secret, passes a preflight and is loaded with the new ones before any of them is
//! committed; they are committed by one write, and the next request meets all of them. Only then are
//! the new tables in force, and the master knows of them before whoever asked. A version that was
//! committed and did not come up is tried with them as well, and harms nobody if it fails again.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{
    candidate::{Candidate, CandidateError, Passed, Subject},
    desk::{DeskError, Refusal, ReloadJob},
    line,
    order::{Change, Deployed},
    pipeline::{Pipeline, refuse},
    record::Commit,
    settings::{Renewed, Tables},
};
use crate::{
    config::plugin::{PluginSettings, Secrets, settings_of},
    deploy::desk::Desk,
    error::{Coded, Kind},
    event::{Event, Phase},
    ids::{PluginName, Version},
    route::Loaded,
    state::history::Entry,
    sys::keep,
};

/// A reload that was carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// What serves with new settings.
    pub deployed: Vec<Deployed>,
    /// What is in traffic, and goes on with settings that are the same.
    pub unchanged: Vec<PluginName>,
    /// What was committed, is not in traffic, and does not load with these settings either: why.
    pub not_loaded: BTreeMap<PluginName, String>,
    /// For whose log and memory the host goes by something else from now on, beside what the plugins
    /// themselves are given.
    pub ruled: Vec<PluginName>,
    /// Who has a table and is not loaded, as a name that is mistyped.
    pub unknown: Vec<PluginName>,
    /// Other keys that have changed since the host read them.
    pub needs_upgrade: Vec<String>,
}

impl Reloaded {
    /// What became of each plugin, and what an upgrade is needed for, a line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for deployed in &self.deployed {
            lines.push(deployed.line());
            lines.extend(deployed.notes.iter().cloned());
        }
        let ruled =
            |plugin| format!("{plugin}: `log` and `memory_max` are in force as they are now");
        lines.extend(self.ruled.iter().map(ruled));
        let unchanged = |plugin| format!("{plugin}: its settings are the same");
        let same = self.unchanged.iter().filter(|plugin| !self.ruled.contains(plugin));
        lines.extend(same.map(unchanged));
        if !self.has_changed() {
            lines.push("nothing has changed for what is in traffic".to_owned());
        }
        let failed = |(plugin, why)| format!("{plugin}: still does not load: {why}");
        lines.extend(self.not_loaded.iter().map(failed));
        lines.extend(self.unknown.iter().map(line_of_unknown));
        let later = |key| format!("{key}: needs an upgrade (`hotseat upgrade`, or kill -HUP)");
        lines.extend(self.needs_upgrade.iter().map(later));
        lines
    }

    fn has_changed(&self) -> bool {
        !(self.deployed.is_empty() && self.ruled.is_empty())
    }

    fn outcome(&self) -> &'static str {
        if self.has_changed() { "reloaded" } else { "unchanged" }
    }

    fn text(&self) -> String {
        let names: Vec<_> = self.deployed.iter().map(|it| it.plugin.as_str()).collect();
        let later = match self.needs_upgrade.as_slice() {
            [] => String::new(),
            keys => format!("; an upgrade is needed for {}", keys.join(", ")),
        };
        let ruled: Vec<_> = self.ruled.iter().map(PluginName::as_str).collect();
        match (names.as_slice(), ruled.as_slice()) {
            ([], []) => format!("the settings of what is in traffic are the same{later}"),
            ([], ruled) => format!("the host goes by other rules for {}{later}", ruled.join(", ")),
            (names, _) => format!("new settings serve: {}{later}", names.join(", ")),
        }
    }
}

/// What there is to say of a table that nobody is given.
fn line_of_unknown(plugin: &PluginName) -> String {
    format!(
        "[plugin.{plugin}] is given to nobody: no plugin `{plugin}` is loaded \
         (`hotseat status` lists the names)"
    )
}

/// One plugin would not serve with what it is given now.
#[derive(Debug, thiserror::Error)]
#[error("{plugin} {} (generation {}) does not take its new settings, so nothing has changed: {error}", .version.label, .version.generation)]
struct NotTaken {
    plugin: PluginName,
    version: Version,
    error: Refusal,
}

impl Coded for NotTaken {
    fn code(&self) -> &'static str {
        self.error.code()
    }

    fn kind(&self) -> Kind {
        self.error.kind()
    }

    fn hint(&self) -> Option<String> {
        let hint = self.error.hint();
        // It may be meant for a version that is still to come.
        let other = (self.error.code() == "new_failed").then(|| {
            "what is meant for another version is deployed with it: a deploy reads the table of its plugin anew".to_owned()
        });
        let lines: Vec<_> = hint.into_iter().chain(other).collect();
        (!lines.is_empty()).then(|| lines.join("; "))
    }
}

/// What is to be given something else.
struct Changed {
    plugin: PluginName,
    version: Version,
    /// `None`: a reference in it stands for nothing, which is why it does not serve.
    settings: Result<PluginSettings, Refusal>,
    /// Nothing of it is in traffic, so nobody loses anything by it.
    missing: bool,
}

impl Changed {
    /// What became of a step; the error of one that is missing anyhow is only noted.
    fn unless_missing<T>(
        &self,
        done: Result<T, Refusal>,
        not_loaded: &mut BTreeMap<PluginName, String>,
    ) -> Result<Option<T>, Refusal> {
        match done {
            Ok(done) => Ok(Some(done)),
            Err(error) if self.missing && error.code() != DeskError::Frozen.code() => {
                not_loaded.insert(self.plugin.clone(), error.to_string());
                Ok(None)
            }
            Err(error) => Err(self.not_taken(error)),
        }
    }

    fn not_taken(&self, error: Refusal) -> Refusal {
        // Somebody else goes on with the whole.
        if error.code() == DeskError::Frozen.code() {
            return error;
        }
        let (plugin, version) = (self.plugin.clone(), self.version.clone());
        refuse(NotTaken { plugin, version, error })
    }
}

/// One that was loaded with it.
struct Ready {
    subject: Subject,
    loaded: Loaded,
    bytes: Arc<[u8]>,
    notes: Vec<String>,
    preflight: Duration,
}

impl Pipeline {
    /// Carries a reload out, and says so.
    pub(super) fn attend_to_reload(&mut self, job: ReloadJob, desk: &Desk) {
        let started = Instant::now();
        keep::put_back();
        let done = if self.given_up {
            Err(refuse(DeskError::Frozen))
        } else {
            self.reload(desk, &job, started)
        };
        let frozen = |refusal: &Refusal| refusal.code() == DeskError::Frozen.code();
        if !done.as_ref().is_err_and(frozen) {
            self.note_reload(&job, &done, started.elapsed());
        }
        job.answer(done);
        self.record.tidy(&self.workshop.store, self.workshop.config.limits.kept_count);
    }

    fn reload(
        &mut self,
        desk: &Desk,
        job: &ReloadJob,
        started: Instant,
    ) -> Result<Reloaded, Refusal> {
        self.record.look(&self.workshop.store).map_err(refuse)?;
        let renewed = self.workshop.settings.reread()?;
        let (changed, unchanged) = self.compare(&renewed.tables)?;
        let mut not_loaded = BTreeMap::new();
        // Nothing of any of them is loaded before all have passed.
        let mut passed = Vec::new();
        for it in &changed {
            self.reserve_numbers(desk);
            let tried = self.try_with(it);
            passed.extend(it.unless_missing(tried, &mut not_loaded)?.map(|passed| (it, passed)));
        }
        let mut ready = Vec::new();
        for (it, passed) in passed {
            let loaded = self.load_with(passed);
            // Its loader is held: somebody else goes on with the whole.
            if self.given_up {
                return Err(refuse(DeskError::Frozen));
            }
            ready.extend(it.unless_missing(loaded, &mut not_loaded)?);
        }
        self.commit_all(&ready)?;
        let needs_upgrade = renewed.others.clone();
        let ruled = self.workshop.settings.ruled_anew(&renewed.tables);
        let unknown = self.unknown(&renewed.tables);
        let deployed = self.swap_all(ready, renewed, job, started);
        Ok(Reloaded { deployed, unchanged, not_loaded, ruled, unknown, needs_upgrade })
    }

    /// Who would be given something else, and who of those in traffic would not.
    fn compare(&self, tables: &Tables) -> Result<(Vec<Changed>, Vec<PluginName>), Refusal> {
        let (mut changed, mut unchanged) = (Vec::new(), Vec::new());
        let committed = self.record.committed();
        for (plugin, active) in &self.active {
            let settings = settings_of(tables, plugin, &Secrets::new()).map_err(refuse);
            let best = committed.get(plugin).and_then(|versions| versions.first());
            let best = best.map(|it| {
                let (generation, label, digest) = (it.generation, it.label.clone(), it.digest);
                Version { generation, label, digest }
            });
            let Some(loaded) = active else {
                let plugin = plugin.clone();
                let it = best.map(|version| Changed { plugin, version, settings, missing: true });
                changed.extend(it);
                continue;
            };
            let settings = settings?;
            if settings.serves_as(&loaded.settings) {
                unchanged.push(plugin.clone());
            } else {
                // What stands in for it may do so for its settings.
                let version = best.unwrap_or_else(|| loaded.version.clone());
                let (plugin, settings) = (plugin.clone(), Ok(settings));
                changed.push(Changed { plugin, version, settings, missing: false });
            }
        }
        Ok((changed, unchanged))
    }

    /// Whose tables are for nobody.
    fn unknown(&self, tables: &Tables) -> Vec<PluginName> {
        tables.keys().filter(|plugin| !self.active.contains_key(*plugin)).cloned().collect()
    }

    /// A word about tables that may be meant for `plugin`, which has none.
    pub(super) fn mistyped_table(&self, plugin: &PluginName, tables: &Tables) -> Option<String> {
        if tables.contains_key(plugin) {
            return None;
        }
        let unknown: Vec<_> =
            self.unknown(tables).iter().map(|it| format!("[plugin.{it}]")).collect();
        (!unknown.is_empty()).then(|| {
            format!("there is no [plugin.{plugin}], and nobody is given {}", unknown.join(", "))
        })
    }

    fn try_with(&self, it: &Changed) -> Result<Passed, Refusal> {
        let settings = it.settings.clone()?;
        let waiting = self.workshop.waiting();
        let Version { label, digest, .. } = it.version.clone();
        let bytes = self.workshop.store.read(digest).map_err(refuse)?;
        self.make_room(&bytes)?;
        let (plugin, generation) = (it.plugin.clone(), self.record.take_generation());
        let verb = Some("reload");
        let subject = Subject { order: None, verb, plugin, label, digest, generation };
        let (author, notes) = (None, Vec::new());
        let candidate = Candidate { subject, bytes, author, notes, settings };
        self.workshop.preflight(waiting, candidate).map_err(refuse)
    }

    fn load_with(&mut self, passed: Passed) -> Result<Ready, Refusal> {
        let (subject, bytes) = (passed.subject.clone(), passed.bytes.clone());
        let (notes, preflight) = (passed.notes.clone(), passed.took);
        let loaded = self.load(passed)?;
        Ok(Ready { subject, loaded, bytes, notes, preflight })
    }

    fn commit_all(&self, ready: &[Ready]) -> Result<(), Refusal> {
        let mut commits = Vec::new();
        for Ready { subject, bytes, .. } in ready {
            let artifact = self.workshop.store.keep(subject.digest, bytes);
            self.record.sync(artifact.map_err(|error| refuse(CandidateError::Store(error)))?);
            let (generation, digest, label) =
                (subject.generation, subject.digest, subject.label.clone());
            let (target, file) = (None, None);
            let commit = Commit { generation, digest, label, target, file };
            commits.push((subject.plugin.clone(), commit));
        }
        if !commits.is_empty() {
            self.record.commit_all(&commits).map_err(refuse)?;
        }
        Ok(())
    }

    /// From here on nothing can fail.
    fn swap_all(
        &mut self,
        ready: Vec<Ready>,
        renewed: Renewed,
        job: &ReloadJob,
        started: Instant,
    ) -> Vec<Deployed> {
        self.workshop.settings.take(renewed);
        let mut done = Vec::new();
        let mut before = Vec::new();
        for Ready { subject, loaded, notes, preflight, .. } in ready {
            let loaded = Some(Arc::new(loaded));
            before.push(self.active.insert(subject.plugin.clone(), loaded).flatten());
            done.push((subject, notes, preflight));
        }
        self.store_table();
        let swapped_in = started.elapsed();
        // The next worker goes by them before anybody is told.
        (self.reports.in_traffic)();
        let tell =
            |((subject, notes, preflight), before): ((Subject, _, _), Option<Arc<Loaded>>)| {
                self.left_heap = None;
                let previous = before.map(|before| self.retire(before));
                self.workshop.publish(Phase::Committed, &subject);
                let Subject { plugin, label, digest, generation, .. } = subject;
                let version = Version { generation, label, digest };
                let (change, from) = (Change::Swapped, None);
                let deployed = Deployed {
                    change,
                    plugin,
                    version,
                    previous,
                    from,
                    preflight,
                    swapped_in,
                    notes,
                };
                self.note_deployed(&deployed, job, started);
                deployed
            };
        done.into_iter().zip(before).map(tell).collect()
    }

    /// One of those that a reload has brought, as a line of the history.
    fn note_deployed(&self, deployed: &Deployed, job: &ReloadJob, started: Instant) {
        let Version { generation, label, digest } = deployed.version.clone();
        let entry = Entry {
            at: SystemTime::now(),
            by: job.by,
            plugin: Some(deployed.plugin.clone()),
            label: Some(label),
            digest: Some(digest),
            generation: Some(generation),
            ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            left_heap: self.left_heap,
            ..Entry::of_host("reload", "deploy", deployed.change.as_str(), deployed.line())
        };
        line::done(&entry, None);
        self.metrics.order_ended("deploy", deployed.change.as_str());
        self.record.append(entry);
    }

    fn note_reload(&self, job: &ReloadJob, done: &Result<Reloaded, Refusal>, took: Duration) {
        let (outcome, text) = match done {
            Ok(done) => (done.outcome(), done.text()),
            Err(refusal) => (refusal.code(), refusal.to_string()),
        };
        let entry = Entry {
            by: job.by,
            ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            ..Entry::of_host("control", "reload", outcome, text)
        };
        match done {
            Ok(_) => line::done(&entry, None),
            Err(refusal) => {
                line::refused(&entry, None, refusal);
                self.workshop.events.publish(Phase::Refused, |event: &mut Event| {
                    event.detail = Some(format!("{}: {}", refusal.code(), entry.text));
                });
            }
        }
        self.metrics.order_ended("reload", outcome);
        self.record.append(entry);
    }
}
