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
    ptr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};

use crate::{
    hooks::{
        self, LibraryId, blame, callbacks,
        census::{self, Look, Turn},
        forks::handlers,
        heap, keys, ledger,
        needed::{self, Going},
        object, on_heap, pairs,
        registry::{self, Record},
        signals::{self, Closing},
    },
    lease::{Holding, LibraryLease},
    purge,
};

/// Why a library could not be opened. Nothing of it is left then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The path is none by which one file can be told: it holds a NUL, a `$` that the loader would
    /// replace, or no `/`, so that the loader would search.
    #[error("the path must have a `/` and neither a NUL nor a `$`")]
    Path,
    /// A library is open under this path already. A path is never to be used again: the loader would
    /// give the old one.
    #[error("a library is open under this path already")]
    InUse,
    /// A library that is being opened or closed on this thread has asked for it.
    #[error("a library that is being opened or closed on this thread asks for another one")]
    Nested,
    /// The loader's words.
    #[error("{0}")]
    Loader(String),
}

/// Why a library was not closed.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// Something still reaches it: it is open, and can be tried again. It must not be called any more:
    /// its signal handlers, timers and keys are gone.
    #[error("{1}")]
    Held(Library, String),
    /// It was closed, but the loader keeps it mapped. It is made to stay for good, so there is no use
    /// in looking again.
    #[error("{0}")]
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
    /// The file must not change any more, and the path must never be used for another. The calling
    /// thread should be one that is registered for purges ([`crate::purge`]), or end soon.
    ///
    /// # Errors
    /// [`OpenError`].
    ///
    /// # Safety
    /// Its constructors and destructors may be run; whatever is taken out of it is used only until it
    /// is closed, and called under [`enter`](crate::enter).
    pub unsafe fn open(path: &Path, tag: u64) -> Result<Self, OpenError> {
        let bytes = path.as_os_str().as_bytes();
        let name = CString::new(bytes).map_err(|_| OpenError::Path)?;
        if !bytes.contains(&b'/') || bytes.contains(&b'$') {
            return Err(OpenError::Path);
        }
        // Whatever its constructors leave on this thread goes with the thread.
        ledger::arm();
        // Whether the hooks are in place decides later whether it may be closed.
        let _ = hooks::self_test();
        let turn = census::turn().ok_or(OpenError::Nested)?;
        let record = registry::register(name).ok_or(OpenError::InUse)?;
        if is_mapped(record.path()) {
            registry::unregister(&record);
            return Err(OpenError::InUse);
        }
        // Before its first instruction, should that be its last.
        blame::assign(record.id(), tag);
        let entered = hooks::enter(record.id());
        // SAFETY: runs the library's constructors, which the caller vouches for.
        let handle = unsafe { Handle::open(Some(path.as_os_str()), RTLD_NOW | RTLD_LOCAL) };
        drop(entered);
        let handle = match handle {
            Ok(handle) => handle,
            Err(error) => {
                hooks::purge_thread(record.id());
                registry::unregister(&record);
                heap::take_back(record.id());
                pairs::close_left(record.id());
                return Err(OpenError::Loader(loader_text(error)));
            }
        };
        let raw = handle.into_raw();
        let object = object::behind(raw);
        // SAFETY: the handle that was taken apart two lines above.
        let handle = ManuallyDrop::new(unsafe { Handle::from_raw(raw) });
        let library = Self {
            handle,
            record,
            inside: object.map_or(0, |object| object.inside()),
            nodelete: object.is_some_and(|object| object.nodelete()),
            kept: ManuallyDrop::default(),
        };
        // A file that is open under another path already is one object for the loader.
        if object.is_none_or(|object| object.name() != library.record.path()) {
            // In the turn: whoever closed the other one meanwhile would find it mapped, by this
            // reference, and leave it so for good.
            return Err(library.into_other());
        }
        drop(turn);
        Ok(library)
    }

    /// Gives a reference back that the loader has counted for a library of another path.
    fn into_other(self) -> OpenError {
        let Self { handle, record, .. } = self;
        // Its last reference is somebody else's: this runs nothing.
        let _ = ManuallyDrop::into_inner(handle).close();
        registry::unregister(&record);
        OpenError::InUse
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
    ///
    /// # Panics
    /// Never: an open library is not being closed.
    #[must_use]
    pub fn lease(&self, holding: Holding) -> LibraryLease {
        LibraryLease::new(Arc::clone(&self.record), holding).expect("the library is open")
    }

    /// Waits for the library's threads and leases to go, purges every thread, and closes it; all of
    /// that again, until `quiet` and `purge_time` have passed.
    ///
    /// # Errors
    /// What keeps it: [`CloseError`].
    pub fn close_soon(self, quiet: Duration, purge_time: Duration) -> Result<(), CloseError> {
        let until = Instant::now() + quiet.saturating_add(purge_time);
        let left = || until.saturating_duration_since(Instant::now());
        let mut library = self;
        loop {
            library.calm();
            let waited = library.record.wait_quiet(left().min(quiet).min(CALM));
            let purged = waited.and_then(|()| library.purge(left().min(purge_time)));
            let reason = match purged {
                Err(reason) => reason,
                Ok(()) => match library.close() {
                    Err(CloseError::Held(held, reason)) => {
                        library = held;
                        reason
                    }
                    ended => return ended,
                },
            };
            if left().is_zero() {
                return Err(CloseError::Held(library, reason));
            }
            thread::park_timeout(LOOK.min(left()));
        }
    }

    /// Waits for the library's threads and leases to go, and purges every thread.
    ///
    /// # Errors
    /// What is still there.
    pub fn settle(&self, quiet: Duration, purge_time: Duration) -> Result<(), String> {
        self.calm();
        self.record.wait_quiet(quiet)?;
        self.purge(purge_time)
    }

    /// What would hold it once it has settled, if another library needed all that it needs, too: blocks
    /// of memory that libraries keep which now may go with it.
    #[must_use]
    pub fn would_hold(&self) -> Option<String> {
        census::would_hold(self.id(), self.record.path())
    }

    fn purge(&self, purge_time: Duration) -> Result<(), String> {
        if !self.record.needs_purge() {
            return Ok(());
        }
        purge::purge_all(self.id(), purge_time).map_err(|missing| unanswered(&missing))
    }

    /// Takes away what it would be called for later, so that it can become quiet: a timer may tick
    /// faster than what it calls returns. Does nothing while others are opened or closed.
    pub(crate) fn calm(&self) {
        if callbacks::has_any(self.id())
            && let Some(_turn) = census::try_turn()
        {
            callbacks::withdraw(self.id(), &needed::going(self.record.path()));
        }
    }

    /// What keeps it open, once its own end has been called for and every thread purged. Who was found
    /// at a close to have an address of it is believed to for up to 16 s, unless that has changed.
    #[must_use]
    pub fn held(&self) -> Option<String> {
        if let Err(reason) = hooks::self_test() {
            return Some(reason);
        }
        if hooks::running_library() == Some(self.id()) {
            return Some("its own code, on this very thread".to_owned());
        }
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
            .or_else(|| on_heap::holder(&self.record))
            .or_else(|| census::held::still(self.id()))
    }

    /// Closes the library, unless it is held, and makes sure that it is unmapped. Runs its static
    /// destructors on the calling thread, for as long as they like; nothing else is opened or closed
    /// meanwhile.
    ///
    /// # Errors
    /// [`CloseError`]: it is there.
    pub fn close(self) -> Result<(), CloseError> {
        self.close_telling(|| ())
    }

    /// Takes away what it is called for, and looks who has an address of it.
    fn take_away(&self) -> Result<Taken, String> {
        let mut again = false;
        loop {
            let turn = census::turn().ok_or_else(|| {
                "a library that is being opened or closed on this thread asks for it".to_owned()
            })?;
            let going = needed::settle(self.record.path());
            callbacks::withdraw(self.id(), &going);
            let closing = Closing::begin(self.id(), &going, &turn);
            signals::withdraw(self.id(), &going)?;
            keys::delete_all(&self.record);
            match census::look(self.id(), self.record.path(), again) {
                Look::Clear(words) => {
                    tracing::trace!(words, "nobody has an address of a library");
                    return Ok(Taken { closing, turn, going });
                }
                Look::Held(reason) => return Err(reason),
                Look::Heals(healing) => {
                    drop(closing);
                    drop(turn);
                    healing.heal();
                    again = true;
                }
            }
        }
    }

    /// As [`close`](Self::close); `begins` is called right before the loader is.
    pub(crate) fn close_telling(self, begins: impl FnOnce()) -> Result<(), CloseError> {
        if let Some(reason) = self.held() {
            return Err(CloseError::Held(self, reason));
        }
        // Until it is unmapped: what goes with it, who is called for it and who has an address of it
        // stays as it was found.
        let Taken { turn, closing, going } = match self.take_away() {
            Ok(taken) => taken,
            Err(reason) => return Err(CloseError::Held(self, reason)),
        };
        // The last look, and from here on there is no way back into it: what was called until its
        // handlers and timers were taken away may have started something.
        self.record.shut(true);
        let held = self.held().or_else(|| handlers::withdraw(self.id(), &going).err());
        if let Some(reason) = held {
            self.record.shut(false);
            return Err(CloseError::Held(self, reason));
        }
        begins();
        let Self { handle, record, inside, nodelete, kept } = self;
        heap::shut(record.id(), true);
        let entered = hooks::enter(record.id());
        let closed = ManuallyDrop::into_inner(handle).close();
        drop(entered);
        if is_mapped(record.path()) || still_there(inside, &record) {
            // Whoever else has opened it may close it later, and nobody would ask what runs then.
            needed::pin(ptr::without_provenance(inside));
            heap::shut(record.id(), false);
            handlers::keep(record.id());
            record.shut(false);
            return Err(CloseError::Mapped(match closed {
                Err(error) => loader_text(error),
                Ok(()) if nodelete => NODELETE.to_owned(),
                Ok(()) => {
                    "kept by the loader (unique symbols, or another library needs it)".to_owned()
                }
            }));
        }
        clear_up(&record, &going);
        drop((closing, turn));
        // Nobody knows the addresses any more.
        drop(ManuallyDrop::into_inner(kept));
        Ok(())
    }
}

/// A library that nothing reaches any more, until this is dropped.
struct Taken {
    // Before the turn, in which it is.
    closing: Closing,
    turn: Turn,
    /// What goes with it.
    going: Vec<Going>,
}

/// Forgets a library that is unmapped, and what was to go with it. In the turn of its close.
fn clear_up(record: &Record, going: &[Going]) {
    let tag = blame::tag(record.id());
    let (stayed, gone): (Vec<_>, Vec<_>) = going.iter().partition(|it| it.is_there());
    gone.iter().for_each(|it| it.note_gone(tag));
    if !stayed.is_empty() {
        // Somebody has asked the loader for it since it was looked at: what it keeps of the library
        // was not.
        tracing::warn!(count = stayed.len(), path = ?record.path(), "what a library needs has stayed");
        handlers::keep_in(record.id(), &stayed);
    }
    // What its own destructors registered while it went can never run.
    ledger::forget(record);
    signals::forget(record.id());
    callbacks::forget(record.id());
    keys::delete_all(record);
    registry::unregister(record);
    heap::take_back(record.id());
    pairs::close_left(record.id());
}

/// How long it is waited for a library to become quiet before what it is called for is taken away once
/// more.
const CALM: Duration = Duration::from_millis(100);

/// Between two attempts to close a library that is held.
const LOOK: Duration = Duration::from_millis(1);

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
    let there = object::find(ptr::without_provenance::<c_void>(inside));
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

#[cfg(test)]
mod tests {
    use std::{ffi::c_int, fs, mem::transmute, path::PathBuf, process::Command};

    use super::*;

    /// Compiles a library in C.
    fn make(folder: &Path, name: &str, source: &str, more: &[&str]) -> PathBuf {
        let (text, file) = (folder.join(format!("{name}.c")), folder.join(format!("lib{name}.so")));
        fs::write(&text, source).unwrap();
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-pthread", "-Wl,--no-as-needed", "-o"]).args([&file, &text]);
        cc.arg("-L").arg(folder).arg("-Wl,-rpath,$ORIGIN").args(more);
        assert!(cc.status().unwrap().success());
        file
    }

    /// Somebody asks the loader for what a library needs once nobody looks any more.
    #[test]
    fn what_stays_after_all_is_called_around_a_fork() {
        let folder = tempfile::tempdir().unwrap();
        let source = "#include <pthread.h>
            static int calls;
            static void before(void) { calls++; }
            __attribute__((constructor)) static void begin(void) { pthread_atfork(before, 0, 0); }
            int count(void) { return calls; }";
        let needed = make(folder.path(), "late", source, &["-Wl,-soname=liblate.so"]);
        let own = make(folder.path(), "own", "int own;", &["-llate"]);
        // SAFETY: made above, and not used any more once it is closed.
        let library = unsafe { Library::open(&own, 1) }.unwrap();
        let count = library.symbol(c"count").unwrap();
        // SAFETY: a function of this type.
        let count = unsafe { transmute::<*const (), extern "C" fn() -> c_int>(count) };
        let name = CString::new(needed.as_os_str().as_bytes()).unwrap();
        // SAFETY: it is there already.
        let open = || assert!(!unsafe { libc::dlopen(name.as_ptr(), RTLD_NOW) }.is_null());
        library.close_telling(open).unwrap();
        // SAFETY: the child ends, and the parent waits for it.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::_exit(0);
            }
            assert_eq!(libc::waitpid(child, ptr::null_mut(), 0), child);
        }
        assert_eq!(count(), 1);
    }
}
