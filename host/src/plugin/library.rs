//! One plugin's library in this process: opened from a file of its own, its entries read.
//!
//! Owns its entries and the words for why it does not load; how it is opened, watched and closed is
//! [`hotseat_unload::Library`]'s. abi_stable's own loaders are never used: they leak the library.
//! Knows nothing of instances and requests.
//!
//! # Invariants
//! - The layout check runs in a preflight child only; it leaves pointers into the library behind.
//! - A load that fails leaves nothing: the library is closed again, or its error holds it and says
//!   why it is still there.
#![expect(unsafe_code, reason = "opens libraries and calls into them")]

use std::{ffi::CStr, path::PathBuf, sync::Arc, time::Duration};

use hotseat_plugin_api::abi::root::{self, Entries, ROOT_SYMBOL, RootError};
use hotseat_unload::{
    CloseError, LibraryId, OpenError, Record, enter,
    resolved::{self, Resolved},
};

use super::services::{Context, LogTo, Services};
use crate::{
    config::plugin::PluginSettings,
    ids::{Generation, Label, PluginName},
    log,
    sys::mount::forbids_running,
};

mod copies;
mod error;

pub use copies::Copies;
pub(super) use error::panic_text;
pub use error::{LoadError, LoadProblem};

/// What to load, as what, and with what. The file is the private copy, whose path is never reused.
#[derive(Debug)]
pub struct LoadRequest {
    /// Where the private copy is.
    pub path: PathBuf,
    /// The plugin it is.
    pub plugin: PluginName,
    /// The version it is.
    pub label: Label,
    /// The load it is.
    pub generation: Generation,
    /// What it is given of its own settings.
    pub settings: PluginSettings,
    /// What it may ask of the host.
    pub services: Services,
    /// What it was given of what it needs where it was tried; this process must give it the same.
    pub tried: Vec<Resolved>,
    /// How long `dlopen` and `new` may take together.
    pub load_time: Duration,
}

/// An open library. Dropping it leaves it open for good.
#[derive(Debug)]
pub(super) struct Library {
    library: hotseat_unload::Library,
    root: *const (),
    /// Plugins hold its address; the library keeps it as long as it is mapped.
    context: Arc<Context>,
}

// SAFETY: besides what is `Send` by itself, an address that is valid on every thread.
unsafe impl Send for Library {}
// SAFETY: as above; nothing is changed through a shared reference.
unsafe impl Sync for Library {}

/// Whether this process would give a library what it was `tried` with, as far as that can be told before
/// it is opened.
///
/// # Errors
/// [`LoadProblem::OtherCopy`].
pub fn agrees(tried: &[Resolved]) -> Result<(), LoadError> {
    match resolved::other_copy(tried, None) {
        Some(other) => Err(LoadProblem::OtherCopy(Copies::of(other)).into()),
        None => Ok(()),
    }
}

/// Opens the library at `request.path` on the calling thread and looks its root up.
pub(super) fn open(request: &LoadRequest, log_to: LogTo) -> Result<Library, LoadError> {
    // Before its constructors run in what they were not made for.
    agrees(&request.tried)?;
    // Its constructors may print.
    let prints = (log_to == LogTo::Tracing)
        .then(|| log::Prints::begin(request.generation.0, &request.plugin));
    // SAFETY: a child has run its constructors before, or this is that child; all that is taken out of
    // it keeps it open, and every crossing is under `enter`.
    let library = unsafe { hotseat_unload::Library::open(&request.path, request.generation.0) };
    let mut library = library.map_err(|error| match error {
        OpenError::InUse => LoadProblem::PathInUse { path: request.path.clone() },
        error => {
            let text = error.to_string();
            // Of a file that is whole, the system refuses to map the code only.
            match forbids_running(&request.path).filter(|_| text.contains("map segment")) {
                Some(mount) => LoadProblem::NoExec { mount },
                None => LoadProblem::Open { text },
            }
        }
    })?;
    let context = Arc::new(Context::new(
        (request.plugin.clone(), request.generation),
        Arc::clone(library.record()),
        request.services.clone(),
        (log_to, prints),
    ));
    library.keep(context.clone());
    let root = CStr::from_bytes_with_nul(ROOT_SYMBOL).ok().and_then(|name| library.symbol(name));
    let library = Library { library, root: root.unwrap_or(std::ptr::null()), context };
    let problem = match (root, resolved::other_copy(&request.tried, Some(library.record()))) {
        (None, _) => LoadProblem::NoEntry,
        (Some(_), Some(other)) => LoadProblem::OtherCopy(Copies::of(other)),
        (Some(_), None) => return Ok(library),
    };
    Err(library.give_up(problem))
}

impl Library {
    pub(super) fn id(&self) -> LibraryId {
        self.library.id()
    }

    pub(super) fn record(&self) -> &Arc<Record> {
        self.library.record()
    }

    /// What it was given of what it needs.
    pub(super) fn resolved(&self) -> Vec<Resolved> {
        resolved::of(self.record())
    }

    pub(super) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Whether the file asks to stay loaded for ever.
    pub(super) fn nodelete(&self) -> bool {
        self.library.nodelete()
    }

    /// What is left of it when its entries are not called any more.
    pub(super) fn into_inner(self) -> hotseat_unload::Library {
        self.library
    }

    pub(super) fn entries(&self, check_layout: bool) -> Result<Entries, LoadProblem> {
        let entered = enter(self.id());
        // SAFETY: the address of that symbol in this library, which outlives the entries.
        let entries = unsafe { root::read(self.root, check_layout) };
        drop(entered);
        let entries = entries.map_err(|error| match error {
            RootError::Layout(text) => LoadProblem::Layout { text },
            RootError::Header(text) => LoadProblem::Root { text },
        })?;
        error::check_versions(&entries)?;
        Ok(entries)
    }

    /// Ends a failed load: closes the library if that can be done at once.
    pub(super) fn give_up(self, problem: LoadProblem) -> LoadError {
        // What `new` has spawned never ran.
        self.context.end_beside();
        match self.library.close_soon(QUIET_TIME, QUIET_TIME) {
            Ok(()) => problem.into(),
            Err(CloseError::Held(library, why)) => LoadError::held(problem, library, why),
            Err(CloseError::Mapped(why)) => LoadError::stays(problem, why),
        }
    }
}

/// How long a failed load waits for what `new` started, and for threads to answer a purge: whoever takes
/// what it leaves is more patient.
const QUIET_TIME: Duration = Duration::from_millis(300);
