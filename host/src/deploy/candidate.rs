//! A library on its way to traffic: staged, passed, loaded.
//!
//! Each step consumes the one before, so an unchecked file cannot reach the table, and whatever
//! is dropped half-way takes its private copy with it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use hotseat_unload::resolved::Resolved;

use super::{
    companions::{self, NotTaken},
    failed::FailedLoad,
    room::{NoRoom, Room},
    settings::Settings,
    tried::{NO_ROOM, PrivateCopy, Tried, try_library},
};
use crate::{
    artifact::{StageError, StageRules, Staged, Store, StoreError, VerifyError, elf, stage},
    config::{
        Config, UnloadPolicy,
        plugin::{PluginSettings, SecretError},
    },
    error::{Coded, Kind},
    event::{Event, Events, Phase},
    ids::{Digest, Generation, Label, PluginName, Version},
    plugin::{
        hooks,
        library::{LoadError, LoadProblem, LoadRequest, agrees},
        load::load,
        preflight::{Given, PreflightError, Waiting},
        reaper::ReaperHandle,
        services::Services,
    },
    route::{Loaded, Roster},
    status::{Leaves, Left},
    sys::fault::{Loading, Work},
};

/// Why a candidate went no further.
#[derive(Debug, thiserror::Error)]
pub enum CandidateError {
    /// The user's file.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// What the file is.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The host's own store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The child did not accept it.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// The child was given another copy of what lies beside it.
    #[error(transparent)]
    Companion(#[from] NotTaken),
    /// The serving process could not load what the child had accepted.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// As before, because other loads have used something up.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// What its own settings refer to.
    #[error(transparent)]
    Settings(#[from] SecretError),
}

impl CandidateError {
    fn coded(&self) -> &dyn Coded {
        match self {
            Self::Stage(error) => error,
            Self::Verify(error) => error,
            Self::Store(error) => error,
            Self::Preflight(error) => error,
            Self::Companion(error) => error,
            Self::Load(error) => error,
            Self::NoRoom(error) => error,
            Self::Settings(error) => error,
        }
    }
}

impl CandidateError {
    /// Whether another worker, which has loaded what serves and nothing else, would load it.
    #[must_use]
    pub fn is_of_this_worker(&self) -> bool {
        match self {
            Self::NoRoom(_) => true,
            Self::Load(error) => error.is_stale(),
            Self::Stage(_)
            | Self::Verify(_)
            | Self::Store(_)
            | Self::Preflight(_)
            | Self::Companion(_)
            | Self::Settings(_) => false,
        }
    }
}

impl Coded for CandidateError {
    fn code(&self) -> &'static str {
        self.coded().code()
    }

    fn kind(&self) -> Kind {
        self.coded().kind()
    }

    fn hint(&self) -> Option<String> {
        self.coded().hint()
    }
}

/// A candidate that did not take what it was given, with what there is to say about that.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct NotWith {
    error: CandidateError,
    about: Vec<String>,
}

impl NotWith {
    /// `about` its settings, if that is where it failed.
    #[must_use]
    pub fn new(error: CandidateError, about: Vec<String>) -> Self {
        let of_new = matches!(&error, CandidateError::Preflight(error) if error.is_of_new());
        Self { error, about: if of_new { about } else { Vec::new() } }
    }
}

impl Coded for NotWith {
    fn code(&self) -> &'static str {
        self.error.code()
    }

    fn kind(&self) -> Kind {
        self.error.kind()
    }

    fn hint(&self) -> Option<String> {
        let lines: Vec<_> = self.about.iter().cloned().chain(self.error.hint()).collect();
        (!lines.is_empty()).then(|| lines.join("; "))
    }
}

/// What every step needs.
#[derive(Debug)]
pub struct Workshop {
    /// Limits and policies.
    pub config: Arc<Config>,
    /// The plugins' own.
    pub settings: Arc<Settings>,
    /// Artifacts and private copies.
    pub store: Arc<Store>,
    /// What a plugin may ask of the host.
    pub services: Services,
    /// Takes what is retired.
    pub reaper: ReaperHandle,
    /// Remembers what is retired.
    pub roster: Roster,
    /// Hears of each step.
    pub events: Events,
    /// What loads use up for good.
    pub room: Room,
}

/// What is being brought up, for events and the child.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The order it belongs to.
    pub order: Option<u64>,
    /// What it is brought up for, if whoever asked for that is told when its process ends meanwhile.
    pub verb: Option<&'static str>,
    /// Whose.
    pub plugin: PluginName,
    /// Which.
    pub label: Label,
    /// Its content.
    pub digest: Digest,
    /// The number it will have.
    pub generation: Generation,
}

/// Bytes that were read and look right. No code of them has run.
#[derive(Debug)]
pub struct Candidate {
    /// What it is.
    pub subject: Subject,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
    /// The file that its author gave; `None` of what was kept.
    pub author: Option<PathBuf>,
    /// What there is to say about it.
    pub notes: Vec<String>,
    /// What it is given.
    pub settings: PluginSettings,
}

/// A candidate that a child has loaded, run and unloaded.
#[derive(Debug)]
pub struct Passed {
    /// What it is.
    pub subject: Subject,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
    /// What there is to say about it.
    pub notes: Vec<String>,
    /// How long the child took.
    pub took: Duration,
    settings: PluginSettings,
    leaves: Option<Leaves>,
    /// What the child's loader has given it of what it needs.
    resolved: Vec<Resolved>,
    file: PrivateCopy,
}

impl Workshop {
    /// Reads and checks a user's file.
    ///
    /// # Errors
    /// [`CandidateError::Stage`], [`CandidateError::Verify`].
    pub fn stage(&self, path: &std::path::Path) -> Result<Staged, CandidateError> {
        let rules = StageRules {
            library_bytes: self.config.limits.library_bytes,
            trusted_owners: self.config.trusted_owners.clone(),
            follow_links: self.config.follow_links,
        };
        Ok(stage(path, &rules)?.verify()?)
    }

    /// Starts the child for a candidate that is still to be read.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        Waiting::start(self.config.limits.static_tls)
    }

    /// Runs a candidate in a child of its own.
    ///
    /// # Errors
    /// [`CandidateError::Store`], [`CandidateError::Preflight`].
    pub fn preflight(
        &self,
        waiting: Waiting,
        candidate: Candidate,
    ) -> Result<Passed, CandidateError> {
        let Candidate { subject, bytes, author, mut notes, settings } = candidate;
        let copy = match subject.order {
            Some(_) => Store::private_copy,
            // What was acknowledged serves, whatever has become of the disk.
            None => Store::private_copy_somewhere,
        };
        let copy = |bytes: &[u8]| copy(&self.store, subject.generation, subject.digest, bytes);
        let version = (subject.plugin.clone(), subject.label.clone());
        let library = (&*bytes, author.as_deref());
        let given = self.given(&settings);
        let tried = try_library(waiting, library, copy, version, &given)?;
        let Tried { verdict, notes: more, file } = tried;
        notes.extend(more);
        notes.extend(verdict.stays());
        if self.config.unload != UnloadPolicy::Off {
            notes.extend(hooks::complaint().map(str::to_owned));
        }
        let leaves = verdict.left_behind().map(|text| {
            let left = Left(verdict.leaves.figures.by_name());
            Leaves { text, left }
        });
        notes.extend(leaves.as_ref().map(|it| it.text.clone()));
        notes.extend(elf::static_tls(&bytes).map(|wanted| self.room.note(wanted)));
        notes.extend(companions::replaced(&verdict.resolved));
        self.publish(Phase::Passed, &subject);
        let (took, resolved) = (verdict.took, verdict.resolved);
        Ok(Passed { subject, bytes, notes, took, settings, leaves, resolved, file })
    }

    /// As [`preflight`](Self::preflight), of bytes that have served before: a version that does not take
    /// the settings that are in force is given those with which it served last. `keep`: it only goes on.
    ///
    /// # Errors
    /// As [`preflight`](Self::preflight), with what is in force.
    pub fn preflight_again(
        &self,
        waiting: Waiting,
        candidate: Candidate,
        keep: bool,
    ) -> Result<Passed, CandidateError> {
        let Candidate { subject, bytes, author, notes, settings } = candidate;
        let Subject { plugin, digest, .. } = &subject;
        let had = self.settings.had((plugin, *digest), &settings, keep);
        let again = had.map(|settings| {
            let (subject, bytes, author) = (subject.clone(), bytes.clone(), author.clone());
            Candidate { subject, bytes, author, notes: notes.clone(), settings }
        });
        let first = Candidate { subject, bytes, author, notes, settings };
        match (self.preflight(waiting, first), again) {
            (Err(CandidateError::Preflight(error)), Some(mut again)) if error.is_of_new() => {
                let plugin = &again.subject.plugin;
                let note = format!(
                    "it was given the settings with which it served last, because it does not take \
                     [plugin.{plugin}] as it is now ({error}): the next start or upgrade goes by the file"
                );
                // A withdrawal has no answer that it could be said in.
                tracing::warn!(%plugin, label = %again.subject.label, "{note}");
                again.notes.push(note);
                // Why it does not take what is in force is what its author needs to know.
                self.preflight(self.waiting(), again).map_err(|_| error.into())
            }
            (done, _) => done,
        }
    }

    /// What a candidate is tried with.
    fn given<'a>(&'a self, settings: &'a PluginSettings) -> Given<'a> {
        Given { settings, config: &self.config, cells: self.services.cells.file() }
    }

    /// Whether the library at `path` would come through its preflight by now, and this process has what it
    /// needs. Says nothing to anybody, and uses no number.
    ///
    /// # Errors
    /// As [`stage`](Self::stage), [`preflight`](Self::preflight) and [`load`](Self::load).
    pub fn trial(&self, path: &std::path::Path) -> Result<(), CandidateError> {
        let waiting = self.waiting();
        let staged = self.stage(path)?;
        let copy = |bytes: &[u8]| self.store.trial_copy(staged.digest, bytes);
        let settings = self.settings.anew(&staged.plugin)?.settings;
        let version = (staged.plugin, staged.label);
        let library = (&*staged.bytes, Some(path));
        let given = self.given(&settings);
        let tried = try_library(waiting, library, copy, version, &given)?;
        Ok(agrees(&tried.verdict.resolved)?)
    }

    /// Loads what passed into this process and makes its instance.
    ///
    /// # Errors
    /// [`CandidateError::Load`].
    pub fn load(&self, passed: Passed) -> Result<Loaded, CandidateError> {
        let Passed { subject, mut file, bytes, settings, leaves, resolved, .. } = passed;
        let static_tls = elf::static_tls(&bytes);
        let Some(copy) = file.take() else { unreachable!("taken only here") };
        let limits = &self.config.limits;
        let order = subject.order.unwrap_or(0);
        let work = subject.verb.map(|verb| Work { verb, order });
        let Subject { plugin, label, digest, generation, .. } = subject.clone();
        let version = Version { generation, label, digest };
        let _loading = Loading::begin(&plugin, &version, work);
        let request = LoadRequest {
            path: copy.path().to_owned(),
            plugin: subject.plugin.clone(),
            label: subject.label.clone(),
            generation: subject.generation,
            settings: settings.clone(),
            services: self.services.clone(),
            tried: resolved,
            load_time: limits.load_time,
        };
        let hands = (self.reaper.clone(), self.roster.clone());
        let failed = FailedLoad::new((plugin.clone(), version.clone()), hands.clone(), copy);
        let failed = Arc::new(failed);
        let takes = failed.clone();
        let loaded = load(request, Arc::new(move |remains| takes.take(remains)));
        let instance = loaded.map_err(|error| match (static_tls, &error.problem) {
            (Some(wanted), LoadProblem::Open { text }) if text.contains(NO_ROOM) => {
                CandidateError::from(self.room.refusal(wanted))
            }
            _ => error.into(),
        })?;
        let Some(copy) = failed.take_file() else { unreachable!("only a failed load keeps it") };
        if let Some(bytes) = static_tls {
            self.room.take(generation, bytes);
        }
        self.publish(Phase::Loaded, &subject);
        let digest = self.settings.digest(&settings);
        Ok(Loaded::new(plugin, version, (instance, copy), (settings, digest, leaves), hands))
    }

    /// Says that a step is done.
    pub fn publish(&self, phase: Phase, subject: &Subject) {
        self.events.publish(phase, |event: &mut Event| {
            event.order = subject.order;
            event.plugin = Some(subject.plugin.clone());
            event.label = Some(subject.label.clone());
            event.digest = Some(subject.digest);
            event.generation = Some(subject.generation);
        });
    }
}
