//! A loaded library with a live instance in it.
//!
//! Owns the calls into `abi::InstanceVt` (those of a request are `call`'s). Knows nothing of when
//! they are made. Invariants: every one runs under the library's [`enter`]; an entry that
//! the library's build does not have is skipped; dropping an [`Instance`] without the reaper
//! leaves library and instance where they are, which is safe and leaks.
#![expect(unsafe_code, reason = "calls a plugin's entries")]

use std::{mem::MaybeUninit, sync::Arc};

use hotseat_plugin_api::{
    abi::{self, CallFn, DROP_AFTER_STOP_MINOR, Growing, InstanceVt, root::Entries},
    entry,
};
use hotseat_unload::{
    Holding, LibraryId, LibraryLease, Record, enter, purge_thread,
    reaper::{Ended, Retire},
};

use super::{
    library::{Library, LoadProblem, LoadRequest},
    services::{self, PanicReport},
};
use crate::ids::{Generation, PluginName};

/// A library that is loaded and whose instance can be called.
#[derive(Debug)]
pub struct Instance {
    library: Library,
    entries: Entries,
    instance: *const (),
    generation: Generation,
}

// SAFETY: by the ABI all entries but `drop` may be called from several threads at once, and
// `drop` from any one thread; it consumes `self`.
unsafe impl Send for Instance {}
// SAFETY: as above.
unsafe impl Sync for Instance {}

impl Instance {
    pub(super) fn new(
        library: Library,
        entries: Entries,
        instance: *const (),
        generation: Generation,
    ) -> Self {
        Self { library, entries, instance, generation }
    }

    /// The library, for [`enter`].
    #[must_use]
    pub fn library(&self) -> LibraryId {
        self.library.id()
    }

    /// The plugin it is.
    #[must_use]
    pub fn plugin(&self) -> &PluginName {
        &self.library.context().plugin
    }

    /// The load it is.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Keeps the library loaded beyond the instance's own leases; see [`Holding`].
    #[must_use]
    pub fn lease(&self, holding: Holding) -> LibraryLease {
        self.library.context().lease(holding)
    }

    /// A future of the host that this plugin polls.
    pub(super) fn lend_future<F>(&self, make: impl FnOnce() -> F) -> abi::Future<abi::Done>
    where
        F: Future<Output = ()> + Unpin,
    {
        services::lend(self.library.context(), make)
    }

    /// What the last panic of this library on this thread said, once. Host-owned.
    #[must_use]
    pub fn take_panic(&self) -> Option<PanicReport> {
        services::take_panic(self.library())
    }

    /// The entry of a request, and its first argument.
    #[must_use]
    pub fn call_entry(&self) -> (CallFn, *const ()) {
        (self.entries.call, self.instance)
    }

    fn vt(&self) -> *const InstanceVt {
        self.entries.instance.ptr
    }

    /// Tells the plugin that the generation is going; `phase` is one of `abi::drain`'s constants.
    pub fn drain_notice(&self, phase: u32) {
        if let Some(Some(notice)) = entry!(self.vt() => InstanceVt.drain_notice) {
            let _entered = enter(self.library());
            // SAFETY: an entry of this library with its own live instance.
            unsafe { notice(self.instance, phase) };
        }
    }

    /// Tells the plugin of a signal that the host got: one of `abi::signal`'s numbers at one of
    /// `abi::signal_phase`'s. May block as long as the plugin likes.
    pub fn signal(&self, signal: u32, phase: u32) {
        if let Some(Some(tell)) = entry!(self.vt() => InstanceVt.signal) {
            let _entered = enter(self.library());
            // SAFETY: an entry of this library with its own live instance.
            unsafe { tell(self.instance, signal, phase) };
        }
    }

    /// The future of the plugin's self-test, if it has one.
    pub(super) fn self_test(&self) -> Option<abi::Future<abi::Done>> {
        let test = entry!(self.vt() => InstanceVt.self_test)??;
        let _entered = enter(self.library());
        // SAFETY: an entry of this library with its own live instance.
        Some(unsafe { test(self.instance) })
    }

    /// It serves from here on: its tasks begin.
    pub fn begin_tasks(&self) {
        self.library.context().tasks().begin();
    }

    /// Stops what the instance started, its tasks first. May block as long as the plugin likes.
    pub(super) fn stop(&self) {
        self.library.context().end_beside();
        if let Some(Some(stop)) = entry!(self.vt() => InstanceVt.stop) {
            let _entered = enter(self.library());
            // SAFETY: an entry of this library with its own live instance.
            unsafe { stop(self.instance) };
        }
    }

    /// Whether it is freed right after its `stop`, whatever still runs: what its threads use is
    /// theirs, and a field that ends threads ends them by being dropped.
    fn is_freed_at_once(&self) -> bool {
        self.entries.abi_minor >= DROP_AFTER_STOP_MINOR
    }
}

/// Both steps see the same thread-locals: the thread is purged after them, or, when a library of
/// before still runs, between them; then `drop` follows on another fresh thread.
impl Retire for Instance {
    fn record(&self) -> &Arc<Record> {
        self.library.record()
    }

    fn end(self, freeing: impl FnOnce()) -> Ended<Self> {
        self.stop();
        if self.is_freed_at_once() || self.record().is_quiet() {
            freeing();
            return Ended::Freed(self.free());
        }
        purge_thread(self.library());
        Ended::Running(self)
    }

    fn free(self) -> hotseat_unload::Library {
        if let Some(free) = entry!(self.vt() => InstanceVt.drop) {
            let _entered = enter(self.library.id());
            // SAFETY: an entry of this library with its own live instance, called once: `self` is
            // consumed.
            unsafe { free(self.instance) };
        }
        purge_thread(self.library.id());
        self.library.into_inner()
    }
}

/// Calls `new`; its result is host-owned.
pub(super) fn create(
    library: &Library,
    entries: &Entries,
    request: &LoadRequest,
    flags: u32,
) -> Result<*const (), LoadProblem> {
    let settings = &request.settings;
    let text = |it: &Option<String>| {
        it.as_deref().map_or(abi::Str::NONE, |text| abi::Str::new(text.as_bytes()))
    };
    let arguments = abi::NewArgs {
        size: abi::size_of_u32::<abi::NewArgs>(),
        flags,
        host: Arc::as_ptr(library.context()).cast(),
        host_vt: &raw const services::VT,
        name: abi::Str::new(request.plugin.as_str().as_bytes()),
        label: abi::Str::new(request.label.as_str().as_bytes()),
        generation: request.generation.0,
        config: text(&settings.json),
        config_places: text(&settings.places),
    };
    let mut created = MaybeUninit::<abi::Created>::uninit();
    let entered = enter(library.id());
    // SAFETY: the entry of this library; the arguments live for the call, context and functions
    // until the library is closed.
    let code =
        unsafe { (entries.new)(Growing { ptr: &raw const arguments }, created.as_mut_ptr()) };
    drop(entered);
    match code {
        abi::poll::READY => {
            // SAFETY: READY fills the instance; the rest of the struct is not read.
            Ok(unsafe { (&raw const (*created.as_ptr()).instance).read() })
        }
        abi::poll::FAILED => {
            // SAFETY: FAILED fills the error's text, which is ours then.
            let error = unsafe { (&raw const (*created.as_ptr()).error).read() };
            Err(LoadProblem::NewFailed { text: settings.hide(take_text(library.id(), error)) })
        }
        abi::poll::PANICKED => {
            Err(LoadProblem::NewPanicked { report: services::take_panic(library.id()) })
        }
        other => Err(LoadProblem::NewFailed { text: format!("it returned the code {other}") }),
    }
}

/// Copies a plugin's text and frees it.
pub(super) fn take_text(library: LibraryId, bytes: abi::Bytes) -> String {
    let view = abi::Str { ptr: bytes.ptr, len: bytes.len };
    // SAFETY: owned by us and not freed yet.
    let text = String::from_utf8_lossy(unsafe { view.bytes() }).into_owned();
    if let Some(free) = bytes.drop {
        let _entered = enter(library);
        // SAFETY: the maker's own function with its own values, called once.
        unsafe { free(bytes.owner, bytes.ptr, bytes.len) };
    }
    text
}

#[cfg(test)]
mod tests;
