//! From a file that a preflight child has accepted to an instance that serves.
//!
//! Owns the order of the steps and their time limit; a preflight child takes the same steps one by
//! one (`open`, `bring_up`). Invariant: a load that fails, however late, takes back what it has done,
//! or says what stays.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hotseat_unload::purge_thread;

use super::{
    instance::{self, Instance},
    library::{Library, LoadError, LoadProblem, LoadRequest, open},
    services::LogTo,
};
use crate::thread::{NoResult, Side};

/// How long a load that came too late waits for that; nobody waits for the load.
const LATE_QUIET_TIME: Duration = Duration::from_secs(10);

/// Loads a library that a preflight child has accepted, and makes its instance.
///
/// # Errors
/// [`LoadError`]; nothing of the library is left then, unless
/// [`resident`](LoadError::resident) says otherwise. A load that runs out of time goes on, on its
/// own thread, and takes itself back when it ends after all.
pub fn load(request: LoadRequest) -> Result<Instance, LoadError> {
    let time = request.load_time;
    let purge_time = request.purge_time;
    let file = request.path.clone();
    let opened = Arc::new(AtomicBool::new(false));
    let opens = opened.clone();
    let work = move || {
        let library = open(&request, LogTo::Tracing);
        opens.store(true, Ordering::Release);
        let library = library?;
        let instance = bring_up(library, &request, 0, false)?;
        // No registry knows this thread, and it ends after its report.
        purge_thread(instance.library());
        Ok(instance)
    };
    let late = move |loaded: Result<Instance, LoadError>| {
        let Ok(instance) = loaded else { return };
        let generation = instance.generation().0;
        match instance.discard(LATE_QUIET_TIME, purge_time) {
            Ok(()) => {
                // Nobody else will: the one who asked has been told that it stays.
                let removed = fs::remove_file(&file).is_ok();
                tracing::warn!(generation, removed, "a load that ran out of time was taken back");
            }
            Err(reason) => tracing::error!(generation, reason, "a late load stays resident"),
        }
    };
    let side = Side::start("load", work, late).map_err(LoadProblem::Spawn)?;
    match side.wait(time) {
        Ok(loaded) => loaded,
        Err(NoResult::TimedOut) => Err(LoadError {
            problem: LoadProblem::Timeout { time, opening: !opened.load(Ordering::Acquire) },
            resident: Some("its load has not returned".to_owned()),
        }),
        Err(NoResult::Died) => Err(LoadError {
            problem: LoadProblem::Broken,
            resident: Some("its load broke off".to_owned()),
        }),
    }
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
        Err(problem) => return Err(library.give_up(problem, request.purge_time)),
    };
    let created = instance::create(&library, &entries, request, flags);
    match created {
        Ok(instance) => Ok(Instance::new(library, entries, instance, request.generation)),
        Err(problem) => Err(library.give_up(problem, request.purge_time)),
    }
}
