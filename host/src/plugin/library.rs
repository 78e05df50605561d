//! One library in this process: opened from a file of its own, and closed for real.
//!
//! Owns its handle, its entries and the words for why it does not load. abi_stable's own loaders
//! are never used: they leak the library. Knows nothing of instances and requests.
//!
//! # Invariants
//! - The layout check runs in a preflight child only; it leaves pointers into the library behind.
//! - A load that fails leaves nothing: the library is closed again, or its error says that it
//!   stays resident and why.
//! - `dlclose` comes after everything else: no thread, lease or destructor may reach the library.
#![expect(unsafe_code, reason = "opens libraries and calls into them")]

use std::{
    ffi::CString,
    mem::ManuallyDrop,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hotseat_plugin_api::abi::root::{self, Entries, ROOT_SYMBOL, RootError};
use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};

use super::{
    hooks::{self, LibraryId, blame, census, object, registry, registry::Record},
    services::{Context, LogTo, Services},
};
use crate::{
    ids::{Generation, Label, PluginName},
    sys::mount::forbids_running,
};

mod close;
mod error;

pub(super) use close::{CloseError, NODELETE, unanswered};
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
    /// The plugin's own configuration as JSON text.
    pub config: Option<String>,
    /// What it may ask of the host.
    pub services: Services,
    /// How long `dlopen` and `new` may take together.
    pub load_time: Duration,
    /// How long one thread may take to answer a purge, should the load fail.
    pub purge_time: Duration,
}

/// An open library. Dropping it leaves it open for good; see [`Library::close`].
#[derive(Debug)]
pub(super) struct Library {
    handle: ManuallyDrop<Handle>,
    record: Arc<Record>,
    root: *const (),
    nodelete: bool,
    /// A box in raw form: plugins hold its address until the library is closed.
    context: *const Context,
}

// SAFETY: a handle, addresses that are valid on every thread, and a context that is `Sync`.
unsafe impl Send for Library {}
// SAFETY: as above; nothing is changed through a shared reference.
unsafe impl Sync for Library {}

/// Opens the library at `request.path` on the calling thread and looks its root up.
pub(super) fn open(request: &LoadRequest, log_to: LogTo) -> Result<Library, LoadError> {
    let path = c_path(&request.path)?;
    if close::is_mapped(&path) {
        return Err(LoadProblem::PathInUse { path: request.path.clone() }.into());
    }
    let in_use = || LoadProblem::PathInUse { path: request.path.clone() };
    let record = registry::register(path.clone()).ok_or_else(in_use)?;
    // Before its first instruction, should that be its last.
    blame::assign(record.id(), request.generation);
    let turn = census::turn();
    let entered = hooks::enter(record.id());
    // SAFETY: runs the library's constructors; a child has run them before.
    let handle = unsafe { Handle::open(Some(request.path.as_os_str()), RTLD_NOW | RTLD_LOCAL) };
    drop((entered, turn));
    let handle = match handle {
        Ok(handle) => handle,
        Err(error) => {
            hooks::purge_thread(record.id());
            registry::unregister(&record);
            hooks::heap::take_back(record.id());
            let text = loader_text(error);
            // Of a file that is whole, the system refuses to map the code only.
            let mount = forbids_running(&request.path).filter(|_| text.contains("map segment"));
            return Err(match mount {
                Some(mount) => LoadProblem::NoExec { mount }.into(),
                None => LoadProblem::Open { text }.into(),
            });
        }
    };
    let context = Box::new(Context {
        plugin: request.plugin.clone(),
        generation: request.generation,
        record: Arc::clone(&record),
        services: request.services.clone(),
        log_to,
    });
    let mut library = Library {
        handle: ManuallyDrop::new(handle),
        record,
        root: std::ptr::null(),
        nodelete: false,
        context: Box::into_raw(context),
    };
    // SAFETY: the symbol is only turned into an address.
    match unsafe { library.handle.get::<*const ()>(ROOT_SYMBOL) } {
        Ok(symbol) => library.root = symbol.into_raw().cast_const().cast(),
        Err(_) => return Err(library.give_up(LoadProblem::NoEntry, request.purge_time)),
    }
    library.nodelete = object::find(library.root.cast()).is_some_and(|object| object.nodelete());
    Ok(library)
}

impl Library {
    pub(super) fn id(&self) -> LibraryId {
        self.record.id()
    }

    pub(super) fn record(&self) -> &Arc<Record> {
        &self.record
    }

    pub(super) fn context(&self) -> &Context {
        // SAFETY: made in `open`, freed in `close` alone, which consumes `self`.
        unsafe { &*self.context }
    }

    /// Whether the file asks to stay loaded for ever.
    pub(super) fn nodelete(&self) -> bool {
        self.nodelete
    }

    pub(super) fn entries(&self, check_layout: bool) -> Result<Entries, LoadProblem> {
        let entered = hooks::enter(self.id());
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
    pub(super) fn give_up(self, problem: LoadProblem, purge_time: Duration) -> LoadError {
        LoadError { problem, resident: self.close_soon(QUIET_TIME, purge_time).err() }
    }
}

/// How long a failed load waits for what `new` started.
const QUIET_TIME: Duration = Duration::from_millis(300);

fn c_path(path: &Path) -> Result<CString, LoadProblem> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| LoadProblem::Open { text: "the path holds a NUL".to_owned() })
}

fn loader_text(error: libloading::Error) -> String {
    match error {
        libloading::Error::DlOpen { source } | libloading::Error::DlClose { source } => {
            source.to_string()
        }
        other => other.to_string(),
    }
}
