//! From a file that a preflight child has accepted to an instance that serves.
//!
//! Owns the order of the steps and their time limit; a preflight child takes the same steps one by
//! one (`open`, `bring_up`). Invariant: whatever a load that fails, however late, cannot take back is
//! handed to somebody ([`Remains`]).

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use hotseat_unload::purge_thread;

use super::{
    instance::{self, Instance},
    library::{Library, LoadError, LoadProblem, LoadRequest, open},
    services::LogTo,
};
use crate::thread::{NoResult, Side};

/// What a load that failed has left in the process.
#[derive(Debug)]
pub enum Remains {
    /// Nothing.
    Nothing,
    /// It has not ended yet, and nothing can be done before that; it is told once more then.
    Running(String),
    /// It has ended well, when nobody waited for it any more.
    Instance(Instance),
    /// A library, and what keeps that from being closed.
    Library(hotseat_unload::Library, String),
    /// What nothing more can be done about: why it stays.
    Stays(String),
}

impl Remains {
    fn of(error: &mut LoadError) -> Self {
        match (error.take_held(), &error.resident) {
            (Some(library), Some(why)) => Self::Library(library, why.clone()),
            (None, Some(why)) => Self::Stays(why.clone()),
            (_, None) => Self::Nothing,
        }
    }
}

/// Takes what failed loads leave: on the thread that loads, or on the load's own, if it ended late.
pub type TakeRemains = Arc<dyn Fn(Remains) + Send + Sync>;

/// Loads a library that a preflight child has accepted, and makes its instance.
///
/// # Errors
/// [`LoadError`]; what it leaves goes to `left` first. A load that runs out of time goes on, on its own
/// thread.
pub fn load(request: LoadRequest, left: TakeRemains) -> Result<Instance, LoadError> {
    let time = request.load_time;
    let opened = Arc::new(AtomicBool::new(false));
    let opens = opened.clone();
    let work = move || bring(&request, &opens);
    let take = left.clone();
    let late = move |loaded: Result<Instance, LoadError>| {
        take(match loaded {
            Ok(instance) => Remains::Instance(instance),
            Err(mut error) => Remains::of(&mut error),
        });
    };
    let side = match Side::start("load", work, late) {
        Ok(side) => side,
        Err(error) => {
            left(Remains::Nothing);
            return Err(LoadProblem::Spawn(error).into());
        }
    };
    match side.wait(time) {
        Ok(Ok(instance)) => Ok(instance),
        Ok(Err(mut error)) => {
            left(Remains::of(&mut error));
            Err(error)
        }
        // As long as `side` is there, nothing comes late.
        Err(NoResult::TimedOut) => {
            let why = "its load has not returned".to_owned();
            left(Remains::Running(why.clone()));
            let opening = !opened.load(Ordering::Acquire);
            Err(LoadError::stays(LoadProblem::Timeout { time, opening }, why))
        }
        Err(NoResult::Died) => {
            let why = "its load broke off".to_owned();
            left(Remains::Stays(why.clone()));
            Err(LoadError::stays(LoadProblem::Broken, why))
        }
    }
}

/// The work of a load. No registry knows its thread, which ends after its report.
fn bring(request: &LoadRequest, opened: &AtomicBool) -> Result<Instance, LoadError> {
    let library = open(request, LogTo::Tracing);
    opened.store(true, Ordering::Release);
    let library = library?;
    let id = library.id();
    let loaded = bring_up(library, request, 0, false);
    purge_thread(id);
    loaded
}

/// Reads the entries of an open library and makes an instance; closes the library if that fails.
///
/// `flags` are `abi::new_flags`; `check_layout` is for a process that ends soon.
pub(super) fn bring_up(
    library: Library,
    request: &LoadRequest,
    flags: u32,
    check_layout: bool,
) -> Result<Instance, LoadError> {
    let entries = match library.entries(check_layout) {
        Ok(entries) => entries,
        Err(problem) => return Err(library.give_up(problem)),
    };
    let created = instance::create(&library, &entries, request, flags);
    match created {
        Ok(instance) => Ok(Instance::new(library, entries, instance, request.generation)),
        Err(problem) => Err(library.give_up(problem)),
    }
}
