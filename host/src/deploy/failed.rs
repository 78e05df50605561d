//! What a load that has failed leaves in the process, and what becomes of it.
//!
//! Owns who takes it: the reaper, and the list of what is retired, like any generation that has served.
//! Invariant: the private copy of what may be mapped is removed by whoever sees that it is not.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::tried::PrivateCopy;
use crate::{
    ids::{PluginName, Version},
    plugin::{
        load::Remains,
        reaper::{self, Leaving, ReaperHandle, Report, Unloading},
    },
    route::Roster,
    sys::private::PrivateFile,
};

#[derive(Debug)]
struct State {
    file: Option<PrivateFile>,
    /// The roster knows of it.
    listed: bool,
}

/// One load, should it fail.
pub(super) struct FailedLoad {
    plugin: PluginName,
    version: Version,
    reaper: ReaperHandle,
    roster: Roster,
    state: Mutex<State>,
}

impl fmt::Debug for FailedLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailedLoad").field("version", &self.version).finish_non_exhaustive()
    }
}

impl FailedLoad {
    /// That of `version`, whose private copy is `file`.
    pub(super) fn new(
        (plugin, version): (PluginName, Version),
        (reaper, roster): (ReaperHandle, Roster),
        file: PrivateFile,
    ) -> Self {
        let state = Mutex::new(State { file: Some(file), listed: false });
        Self { plugin, version, reaper, roster, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The private copy, if the load has not failed.
    pub(super) fn take_file(&self) -> Option<PrivateFile> {
        self.state().file.take()
    }

    /// Takes what it has left.
    pub(super) fn take(&self, remains: Remains) {
        let mut state = self.state();
        let generation = self.version.generation.0;
        match remains {
            Remains::Nothing => {
                drop(state.file.take().map(PrivateCopy::new));
                if state.listed {
                    tracing::warn!(generation, "a load that ran out of time has failed");
                    let tag = self.version.generation.0;
                    let threads = Default::default();
                    let state = Unloading::Unloaded;
                    self.roster.report(Report { tag, state, threads }, None);
                }
            }
            Remains::Running(why) => self.list(&mut state, None, why),
            Remains::Instance(instance) => {
                tracing::warn!(
                    generation,
                    "a load that ran out of time has ended: it is taken back"
                );
                let (library, why) = (instance.library(), "its load came too late".to_owned());
                self.list(&mut state, Some(library), why);
                self.retire(&mut state, Leaving::Instance(instance));
            }
            Remains::Library(library, why) => {
                self.list(&mut state, Some(library.id()), why);
                self.retire(&mut state, Leaving::Library(library));
            }
            Remains::Stays(why) => {
                self.list(&mut state, None, why);
                if let Some(file) = state.file.take() {
                    file.abandon();
                }
            }
        }
    }

    fn list(&self, state: &mut State, library: Option<hotseat_unload::LibraryId>, why: String) {
        state.listed = true;
        self.roster.failed((&self.plugin, &self.version), library, why);
    }

    fn retire(&self, state: &mut State, leaving: Leaving) {
        if let Some(file) = state.file.take() {
            reaper::retire(&self.reaper, self.version.generation, (leaving, file));
        }
    }
}
