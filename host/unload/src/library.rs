//! A library: opened under the hooks, closed when nothing can reach it, and verified to be gone.
//!
//! # Invariants
//! - `dlclose` comes after everything else; a library that it did not unmap is never called unloaded.
//! - What a library was given by address ([`Library::keep`]) lives until it is unmapped.
#![expect(unsafe_code, reason = "opens and closes libraries")]

use std::{
    any::Any,
    ffi::{CStr, CString, c_void},
    fmt,
    mem::ManuallyDrop,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::Arc,
    time::Duration,
};

use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};

use crate::{
    hooks::{
        self, LibraryId, blame, callbacks, census, heap, keys, ledger, needed, object,
        registry::{self, Record},
        signals,
    },
    lease::{Holding, LibraryLease},
    purge,
};

/// Why a library could not be opened. Nothing of it is left then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The path holds a NUL.
    #[error("the path holds a NUL")]
    Path,
    /// A library that was opened under this path is still there, or was until a moment ago. A path
    /// is never to be used again: the loader would give the old one.
    #[error("a library is open under this path already")]
    InUse,
    /// The loader's words.
    #[error("{0}")]
    Loader(String),
}

/// Why a library was not closed.
#[derive(Debug)]
pub enum CloseError {
    /// Something still reaches it; it is open as before and can be tried again.
    Held(Library, String),
    /// It was closed, but the loader keeps it mapped, for good: there is no use in looking again.
    Mapped(String),
}

/// Why a library stays that asks for it.
pub const NODELETE: &str = "marked to stay loaded (DF_1_NODELETE)";

/// An open library. Dropping it leaves it open for good, which is safe; see [`Library::close`].
pub struct Library {
    handle: ManuallyDrop<Handle>,
    record: Arc<Record>,
    /// An address in it.
    inside: usize,
    nodelete: bool,
    kept: ManuallyDrop<Vec<Arc<dyn Any + Send + Sync>>>,
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Library").field("record", &self.record).finish_non_exhaustive()
    }
}

impl Library {
    /// Opens the library at `path` on the calling thread, whose constructors run here. `tag` is told
    /// wherever its code is met ([`running_tag`](crate::running_tag)); 0: nobody's.
    ///
    /// The file must not change any more, and the path must never be used for another.
    ///
    /// # Errors
    /// [`OpenError`].
    ///
    /// # Safety
    /// Its constructors and destructors may be run; whatever is taken out of it is used only until it
    /// is closed, and called under [`enter`](crate::enter).
    pub unsafe fn open(path: &Path, tag: u64) -> Result<Self, OpenError> {
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| OpenError::Path)?;
        if is_mapped(&name) {
            return Err(OpenError::InUse);
        }
        let record = registry::register(name).ok_or(OpenError::InUse)?;
        // Before its first instruction, should that be its last.
        blame::assign(record.id(), tag);
        let turn = census::turn();
        let entered = hooks::enter(record.id());
        // SAFETY: runs the library's constructors, which the caller vouches for.
        let handle = unsafe { Handle::open(Some(path.as_os_str()), RTLD_NOW | RTLD_LOCAL) };
        drop((entered, turn));
        let handle = match handle {
            Ok(handle) => handle,
            Err(error) => {
                hooks::purge_thread(record.id());
                registry::unregister(&record);
                heap::take_back(record.id());
                return Err(OpenError::Loader(loader_text(error)));
            }
        };
        let raw = handle.into_raw();
        let object = object::behind(raw);
        // SAFETY: the handle that was taken apart in the line above.
        let handle = ManuallyDrop::new(unsafe { Handle::from_raw(raw) });
        Ok(Self {
            handle,
            record,
            inside: object.map_or(0, |object| object.inside()),
            nodelete: object.is_some_and(|object| object.nodelete()),
            kept: ManuallyDrop::default(),
        })
    }

    /// The library's number, for [`enter`](crate::enter).
    #[must_use]
    pub fn id(&self) -> LibraryId {
        self.record.id()
    }

    /// What it has in the process.
    #[must_use]
    pub fn record(&self) -> &Arc<Record> {
        &self.record
    }

    /// Whether the file asks to stay loaded for ever.
    #[must_use]
    pub fn nodelete(&self) -> bool {
        self.nodelete
    }

    /// The address of a symbol, of this library or of what it needs; `None`: there is none.
    #[must_use]
    pub fn symbol(&self, name: &CStr) -> Option<*const ()> {
        // SAFETY: the symbol is only turned into an address.
        let found = unsafe { self.handle.get::<*const ()>(name.to_bytes_with_nul()) };
        found.ok().map(|symbol| symbol.into_raw().cast_const().cast())
    }

    /// Keeps a value, whose address the library knows, until the library is unmapped.
    pub fn keep(&mut self, value: Arc<dyn Any + Send + Sync>) {
        self.kept.push(value);
    }

    /// Keeps the library loaded while something in the host can still reach its code.
    #[must_use]
    pub fn lease(&self, holding: Holding) -> LibraryLease {
        LibraryLease::new(Arc::clone(&self.record), holding)
    }

    /// Waits for the library's threads and leases to go, purges every thread, and closes it.
    /// The library stays, for good, when that takes too long: the error says why.
    ///
    /// # Errors
    /// What keeps it.
    pub fn close_soon(self, quiet: Duration, purge_time: Duration) -> Result<(), String> {
        self.record.wait_quiet(quiet)?;
        self.purge(purge_time)?;
        match self.close() {
            Ok(()) => Ok(()),
            Err(CloseError::Held(_, reason) | CloseError::Mapped(reason)) => Err(reason),
        }
    }

    fn purge(&self, purge_time: Duration) -> Result<(), String> {
        if !self.record.needs_purge() {
            return Ok(());
        }
        purge::purge_all(self.id(), purge_time).map_err(|missing| unanswered(&missing))
    }

    /// What keeps it open, once its own end has been called for and every thread purged.
    #[must_use]
    pub fn held(&self) -> Option<String> {
        if !self.record.is_quiet() {
            return Some(self.record.holders());
        }
        let destructors = self.record.tls_count();
        if destructors > 0 {
            let plural = if destructors == 1 { "" } else { "s" };
            return Some(format!(
                "{destructors} thread-local destructor{plural} on threads that are not the host's"
            ));
        }
        signals::holder(&self.record)
    }

    /// Closes the library, unless it is held, and makes sure that it is unmapped. Runs its static
    /// destructors on the calling thread, for as long as they like.
    ///
    /// # Errors
    /// [`CloseError`]: it is there.
    pub fn close(self) -> Result<(), CloseError> {
        if let Some(reason) = self.held() {
            return Err(CloseError::Held(self, reason));
        }
        let going = needed::going(self.record.path());
        callbacks::withdraw(self.id(), &going);
        // What was called until then counts as a thread.
        if let Some(reason) = self.held() {
            return Err(CloseError::Held(self, reason));
        }
        if let Err(reason) = signals::withdraw(self.id(), &going) {
            return Err(CloseError::Held(self, reason));
        }
        keys::delete_all(&self.record);
        // Until it is unmapped, so that nobody comes by an address of it meanwhile.
        let _turn = match census::look(self.id(), self.record.path()) {
            Ok(turn) => turn,
            Err(reason) => return Err(CloseError::Held(self, reason)),
        };
        let Self { handle, record, inside, nodelete, kept } = self;
        heap::shut(record.id(), true);
        let entered = hooks::enter(record.id());
        let closed = ManuallyDrop::into_inner(handle).close();
        drop(entered);
        if is_mapped(record.path()) || still_there(inside, &record) {
            heap::shut(record.id(), false);
            return Err(CloseError::Mapped(match closed {
                Err(error) => loader_text(error),
                Ok(()) if nodelete => NODELETE.to_owned(),
                Ok(()) => {
                    "kept by the loader (unique symbols, or another library needs it)".to_owned()
                }
            }));
        }
        // What its own destructors registered while it went can never run.
        ledger::forget(&record);
        signals::forget(record.id());
        keys::delete_all(&record);
        registry::unregister(&record);
        heap::take_back(record.id());
        // Nobody knows the addresses any more.
        drop(ManuallyDrop::into_inner(kept));
        Ok(())
    }
}

/// The reason that names threads which did not answer a purge.
pub(crate) fn unanswered(missing: &[String]) -> String {
    format!("not answered by {}", missing.join(", "))
}

/// Whether the loader has an object under this path.
fn is_mapped(path: &CStr) -> bool {
    // SAFETY: the path is a C string; NOLOAD opens nothing new.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
    if handle.is_null() {
        return false;
    }
    // SAFETY: gives back the reference that the line above took.
    unsafe { libc::dlclose(handle) };
    true
}

/// Whether an address in the library still belongs to it: a second opinion, without its path.
fn still_there(inside: usize, record: &Record) -> bool {
    let there = object::find(std::ptr::without_provenance::<c_void>(inside));
    there.is_some_and(|object| object.name() == record.path())
}

fn loader_text(error: libloading::Error) -> String {
    match error {
        libloading::Error::DlOpen { source } | libloading::Error::DlClose { source } => {
            source.to_string()
        }
        other => other.to_string(),
    }
}
