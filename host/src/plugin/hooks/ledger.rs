//! The thread-local destructors of plugins, per thread.
//!
//! Owns the list that glibc would keep otherwise, and the end of every thread that has one.
//! Invariants: no borrow is held while a destructor runs; nothing here has a destructor of its
//! own, so all of it works until the thread's last instruction.

use std::{
    cell::{Cell, RefCell},
    ffi::c_void,
    mem::ManuallyDrop,
    ptr,
    sync::Arc,
};

use super::{LibraryId, enter, real, real::Dtor, registry, registry::Record, stack};

/// Destructors that one purge of one thread runs at most: a destructor that registers itself
/// again must not hold the host for ever. Far above any real count (tens).
const RUNS_MAX: usize = 65_536;

struct Entry {
    record: Arc<Record>,
    dtor: Dtor,
    object: *mut c_void,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing will run at this thread's end.
    Fresh,
    /// `at_thread_end` is registered with glibc.
    Armed,
    /// `at_thread_end` has run.
    Over,
}

thread_local! {
    static ENTRIES: RefCell<ManuallyDrop<Vec<Entry>>> =
        const { RefCell::new(ManuallyDrop::new(Vec::new())) };
    static STAGE: Cell<Stage> = const { Cell::new(Stage::Fresh) };
    static ENDING: Cell<bool> = const { Cell::new(false) };
    // The library whose thread this is: an `Arc` in raw form.
    static THREAD_OF: Cell<*const Record> = const { Cell::new(ptr::null()) };
}

unsafe extern "C" {
    // The executable's own, from the compiler's crtbegin.o.
    static __dso_handle: c_void;
}

/// The executable's handle in `__cxa_thread_atexit_impl`.
pub(super) fn host_dso() -> *mut c_void {
    (&raw const __dso_handle).cast_mut()
}

/// Whether this thread's destructors have begun to run: thread-locals of the host's own (the log's
/// are among them) may be gone already.
pub(in crate::plugin) fn is_ending() -> bool {
    ENDING.get()
}

/// Makes this thread purge itself of all plugins when it ends.
pub(in crate::plugin) fn arm() {
    if STAGE.get() != Stage::Fresh {
        return;
    }
    let Some(register) = real::thread_atexit() else { return };
    // SAFETY: the function takes no argument and lives in the executable, as the handle says.
    let rc = unsafe { register(Some(at_thread_end), ptr::null_mut(), host_dso()) };
    if rc == 0 {
        STAGE.set(Stage::Armed);
    }
}

/// This thread was started by the library; it counts as live until `at_thread_end`.
pub(super) fn adopt(record: Arc<Record>) {
    arm();
    THREAD_OF.set(Arc::into_raw(record));
}

/// Whether a library has started this thread, and it has not ended.
pub(super) fn is_plugin_thread() -> bool {
    !THREAD_OF.get().is_null()
}

/// Keeps a destructor for the next purge or the thread's end.
pub(super) fn note(record: Arc<Record>, dtor: Dtor, object: *mut c_void) {
    arm();
    if STAGE.get() == Stage::Over {
        // The destructors of this thread have run, glibc's too: nobody would ever call it.
        return;
    }
    record.tls_noted();
    ENTRIES.with_borrow_mut(|entries| entries.push(Entry { record, dtor, object }));
}

/// Runs what `library` left on this thread: its thread-local destructors, last one first, and
/// the destructors of its keys' values, until nothing new appears.
///
/// # Threads
/// To be called on the thread that is purged, with no frame of the library on its stack, and when
/// the library will do nothing there any more but be freed: to it the thread has ended, and its
/// thread-locals panic when they are used again.
pub fn purge_thread(library: LibraryId) {
    let Some(record) = registry::by_id(library) else { return };
    let mut runs = 0;
    while runs < RUNS_MAX {
        let before = runs;
        while let Some(entry) = pop(|entry| entry.record.id() == library) {
            run(entry);
            runs += 1;
            if runs >= RUNS_MAX {
                return;
            }
        }
        runs += purge_keys(&record);
        if runs == before {
            return;
        }
    }
}

/// Forgets what a library that is gone left on this thread while it was being unmapped.
pub(in crate::plugin) fn forget(record: &Record) {
    while let Some(entry) = pop(|entry| entry.record.id() == record.id()) {
        entry.record.tls_done();
    }
}

fn pop(wanted: impl Fn(&Entry) -> bool) -> Option<Entry> {
    ENTRIES.with_borrow_mut(|entries| {
        let at = entries.iter().rposition(wanted)?;
        Some(entries.remove(at))
    })
}

fn run(Entry { record, dtor, object }: Entry) {
    let entered = enter(record.id());
    // SAFETY: registered for this object on this thread; the library is still loaded, because
    // the record's count keeps it so until the next line but one.
    unsafe { dtor(object) };
    drop(entered);
    record.tls_done();
}

/// Clears the values of the library's keys on this thread; returns how many destructors ran.
fn purge_keys(record: &Arc<Record>) -> usize {
    let mut ran = 0;
    for known in record.keys() {
        // SAFETY: any key may be asked for; an unknown one answers null.
        let value = unsafe { libc::pthread_getspecific(known.key) };
        if value.is_null() {
            continue;
        }
        // SAFETY: the key exists, because it has a value; null takes that value away.
        unsafe { libc::pthread_setspecific(known.key, ptr::null()) };
        let Some(dtor) = known.dtor else { continue };
        let entered = enter(record.id());
        // SAFETY: the key's own destructor with this thread's value, once, as at a thread's end.
        unsafe { dtor(value) };
        drop(entered);
        ran += 1;
    }
    ran
}

/// The last destructor of this thread (glibc runs them in reverse order of registration).
///
/// Keys' values are cleared here as well: glibc would do so after this, when a plugin thread no
/// longer counts and its library may be gone.
unsafe extern "C" fn at_thread_end(_: *mut c_void) {
    ENDING.set(true);
    purge_everything();
    STAGE.set(Stage::Over);
    for entry in ENTRIES.with_borrow_mut(|entries| std::mem::take(&mut **entries)) {
        // Beyond `RUNS_MAX`: it will never run, so it holds nothing.
        entry.record.tls_done();
    }
    stack::take_back();
    let record = THREAD_OF.replace(ptr::null());
    if !record.is_null() {
        // SAFETY: made by `into_raw` in `adopt` and taken out once.
        let record = unsafe { Arc::from_raw(record) };
        record.thread_ended();
    }
}

/// Runs what any library left on this thread.
pub(in crate::plugin) fn purge_everything() {
    let mut runs = 0;
    while runs < RUNS_MAX {
        let before = runs;
        while let Some(entry) = pop(|_| true) {
            run(entry);
            runs += 1;
            if runs >= RUNS_MAX {
                return;
            }
        }
        if registry::is_empty() {
            return;
        }
        runs += registry::all().iter().map(purge_keys).sum::<usize>();
        if runs == before {
            return;
        }
    }
}
