//! The thread-local destructors of plugins and of the host itself, per thread.
//!
//! Owns the lists that glibc would keep otherwise, and the end of every thread that has one. The
//! host's own are here because glibc takes the loader's lock for each registration, which a plugin's
//! constructor that does not return holds for ever: a host thread may meet its first log line or
//! its first look at the routes then, and must not wait. A pthread key, which needs no lock,
//! tells the end of a thread.
//! Invariants: no borrow is held while a destructor runs; nothing here has a destructor of its
//! own, so all of it works until the thread's last instruction.

use std::{
    cell::{Cell, RefCell},
    ffi::c_void,
    mem::ManuallyDrop,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    LibraryId, current, enter, heap, leave_thread, real, real::Dtor, registry, registry::Record,
    signals, stack,
};

/// Destructors that one purge of one thread runs at most: a destructor that registers itself
/// again must not hold the host for ever. Far above any real count (tens).
const RUNS_MAX: usize = 65_536;

struct Entry {
    record: Arc<Record>,
    dtor: Dtor,
    object: *mut c_void,
}

/// One of the host's own.
type Own = (Dtor, *mut c_void);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing will run at this thread's end.
    Fresh,
    /// `at_thread_end` will.
    Armed,
    /// `at_thread_end` has run.
    Over,
}

thread_local! {
    static ENTRIES: RefCell<ManuallyDrop<Vec<Entry>>> =
        const { RefCell::new(ManuallyDrop::new(Vec::new())) };
    static OWN: RefCell<ManuallyDrop<Vec<Own>>> =
        const { RefCell::new(ManuallyDrop::new(Vec::new())) };
    static STAGE: Cell<Stage> = const { Cell::new(Stage::Fresh) };
    static ENDING: Cell<bool> = const { Cell::new(false) };
    // The library whose thread this is: an `Arc` in raw form.
    static THREAD_OF: Cell<*const Record> = const { Cell::new(ptr::null()) };
}

/// Whether this thread's destructors have begun to run: thread-locals of the host's own (the log's
/// are among them) may be gone already.
#[must_use]
pub fn is_ending() -> bool {
    ENDING.get()
}

/// The key whose destructor is `at_thread_end`, and one more; 0: none yet.
static KEY: AtomicU64 = AtomicU64::new(0);

/// Makes the key with the first registration, which is long before the first plugin's: a thread's
/// keys end in the order of their numbers, and a plugin's values are to be cleared here.
fn key() -> Option<libc::pthread_key_t> {
    let known = |stored: u64| libc::pthread_key_t::try_from(stored.checked_sub(1)?).ok();
    if let Some(key) = known(KEY.load(Ordering::Acquire)) {
        return Some(key);
    }
    let mut key = 0;
    // SAFETY: the key is written to a variable of ours; the function lives in the executable.
    if unsafe { real::key_create()?(&raw mut key, Some(at_thread_end)) } != 0 {
        return None;
    }
    let made = u64::from(key) + 1;
    match KEY.compare_exchange(0, made, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Some(key),
        Err(other) => {
            // SAFETY: made above, and nobody has used it.
            let _ = real::key_delete().map(|delete| unsafe { delete(key) });
            known(other)
        }
    }
}

/// Makes this thread purge itself of all plugins when it ends.
pub(crate) fn arm() {
    if STAGE.get() == Stage::Fresh && at_end() {
        STAGE.set(Stage::Armed);
    }
}

/// Has `at_thread_end` run when this thread ends; false: there is no key left.
fn at_end() -> bool {
    let Some(key) = key() else { return false };
    // Any value that is not null.
    let here = (&raw const KEY).cast();
    // SAFETY: the key exists, and its values are never looked at.
    unsafe { libc::pthread_setspecific(key, here) == 0 }
}

/// Keeps a destructor of the host's own for the thread's end; false: it cannot.
pub(super) fn note_own(dtor: Dtor, object: *mut c_void) -> bool {
    // Each time: it may be the end already, and another key's destructor that uses the host.
    if !at_end() {
        return false;
    }
    if STAGE.get() == Stage::Fresh {
        STAGE.set(Stage::Armed);
    }
    OWN.with_borrow_mut(|own| own.push((dtor, object)));
    true
}

/// This thread was started by the library; it counts as live until `at_thread_end`.
pub(super) fn adopt(record: Arc<Record>) {
    arm();
    THREAD_OF.set(Arc::into_raw(record));
}

/// The calling thread is nobody's any more, as if it ended: what the library left on it is run, and
/// it counts no more. Does nothing where no library has adopted it.
pub(super) fn leave() {
    let record = THREAD_OF.get();
    if record.is_null() {
        return;
    }
    // SAFETY: made by `into_raw` in `adopt`, and taken out once: here, where it is still in its place
    // while destructors run. Those cannot come here, and none of them is the thread's end.
    let record = unsafe { Arc::from_raw(record) };
    leave_thread();
    signals::forget_unfinished();
    run_all(&record);
    stack::restore(record.id());
    THREAD_OF.set(ptr::null());
    record.thread_stops();
    record.thread_ended();
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
    // What empties a thread's part of the heap is no property of the library's own.
    record.tls_noted(!heap::is_described_by(record.id(), object));
    ENTRIES.with_borrow_mut(|entries| entries.push(Entry { record, dtor, object }));
}

/// Runs what `library` left on this thread: its thread-local destructors, last one first, and
/// the destructors of its keys' values, until nothing new appears.
///
/// # Threads
/// To be called on the thread that is purged, with no frame of the library on its stack, and when
/// the library will do nothing there any more but be freed: to it the thread has ended, and its
/// thread-locals panic when they are used again. Called by code of the library itself it does nothing.
pub fn purge_thread(library: LibraryId) {
    signals::forget_unfinished();
    let Some(record) = registry::by_id(library) else { return };
    if current() == Some(library) {
        return;
    }
    run_all(&record);
    // After the destructors, which may unmap what they had given the thread.
    stack::restore(library);
}

fn run_all(record: &Arc<Record>) {
    let library = record.id();
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
        runs += purge_keys(record);
        if runs == before {
            return;
        }
    }
}

/// Forgets what a library that is gone left on this thread while it was being unmapped.
pub(crate) fn forget(record: &Record) {
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
    // A thread that ends is nobody's whom a close would ask. Before its keys are read, which a close
    // deletes before it asks for the last time.
    record.runs();
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
    record.rests();
    ran
}

/// The end of this thread.
///
/// Keys' values of plugins are cleared here as well: glibc would do so after this, when a plugin
/// thread no longer counts and its library may be gone.
unsafe extern "C" fn at_thread_end(_: *mut c_void) {
    ENDING.set(true);
    signals::forget_unfinished();
    purge_everything();
    // What the host kept may have held what a plugin made.
    while run_own() {
        purge_everything();
    }
    crate::purge::thread_ends();
    STAGE.set(Stage::Over);
    for entry in ENTRIES.with_borrow_mut(|entries| std::mem::take(&mut **entries)) {
        // Beyond `RUNS_MAX`: it will never run, so it holds nothing.
        entry.record.tls_done();
    }
    drop(OWN.with_borrow_mut(|own| std::mem::take(&mut **own)));
    stack::restore_any();
    stack::take_back();
    let record = THREAD_OF.replace(ptr::null());
    if !record.is_null() {
        // SAFETY: made by `into_raw` in `adopt` and taken out once.
        let record = unsafe { Arc::from_raw(record) };
        record.thread_stops();
        record.thread_ended();
    }
}

/// Runs the host's own, last one first; whether there was any.
fn run_own() -> bool {
    let mut ran = false;
    while let Some((dtor, object)) = OWN.with_borrow_mut(|own| own.pop()) {
        // SAFETY: registered for this object on this thread, by code that stays.
        unsafe { dtor(object) };
        ran = true;
    }
    ran
}

/// Runs what any library left on this thread.
pub(crate) fn purge_everything() {
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
