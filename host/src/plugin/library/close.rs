//! The end of a library: closed when nothing can reach it, and verified to be gone.
//!
//! Invariant: `dlclose` comes after everything else; a library that it did not unmap is never
//! called unloaded.
#![expect(unsafe_code, reason = "closes libraries")]

use std::{
    ffi::{CStr, c_void},
    mem::ManuallyDrop,
    time::Duration,
};

use super::{Library, loader_text};
use crate::plugin::{
    hooks::{
        self, callbacks, census, heap, keys, ledger, needed, object, registry, registry::Record,
        signals,
    },
    purge,
};

/// Why a library was not closed.
#[derive(Debug)]
pub(in crate::plugin) enum CloseError {
    /// Something still reaches it; it is open as before and can be tried again.
    Held(Library, String),
    /// It was closed, but the loader keeps it mapped, for good: this is not looked at again.
    Mapped(String),
}

/// Why a library stays that asks for it.
pub(in crate::plugin) const NODELETE: &str = "marked to stay loaded (DF_1_NODELETE)";

impl Library {
    /// Waits for the library's threads and leases to go, purges every thread, and closes it.
    /// The library stays, for good, when that takes too long: the error says why.
    pub(in crate::plugin) fn close_soon(
        self,
        quiet: Duration,
        purge_time: Duration,
    ) -> Result<(), String> {
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

    /// What keeps it open, the instance being dropped and every thread purged.
    pub(in crate::plugin) fn held(&self) -> Option<String> {
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
    pub(in crate::plugin) fn close(self) -> Result<(), CloseError> {
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
        let Self { handle, record, root, nodelete, context } = self;
        heap::shut(record.id(), true);
        let entered = hooks::enter(record.id());
        let closed = ManuallyDrop::into_inner(handle).close();
        drop(entered);
        if is_mapped(record.path()) || still_there(root, &record) {
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
        // SAFETY: the box that `open` made; the library that knew its address is unmapped.
        drop(unsafe { Box::from_raw(context.cast_mut()) });
        Ok(())
    }
}

/// The reason that names threads which did not answer a purge.
pub(in crate::plugin) fn unanswered(missing: &[String]) -> String {
    format!("not answered by {}", missing.join(", "))
}

/// Whether the loader has an object under this path.
pub(super) fn is_mapped(path: &CStr) -> bool {
    // SAFETY: the path is a C string; NOLOAD opens nothing new.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
    if handle.is_null() {
        return false;
    }
    // SAFETY: gives back the reference that the line above took.
    unsafe { libc::dlclose(handle) };
    true
}

/// Whether the library's own address still belongs to it: a second opinion, without its path.
fn still_there(root: *const (), record: &Record) -> bool {
    object::find(root.cast::<c_void>()).is_some_and(|object| object.name() == record.path())
}
