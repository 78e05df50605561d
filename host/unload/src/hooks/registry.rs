//! The libraries that count as plugins, and what each has in the process.
//!
//! A library is known by the path it is opened with, which is never reused, so that its
//! constructors are attributed before `dlopen` has returned. Invariant: the lock is held for map
//! operations only; neither the loader nor plugin code is called under it.

use std::{
    any::Any,
    collections::BTreeMap,
    ffi::{CStr, CString, c_void},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{LibraryId, blame, object, object::Object, real::Dtor, signals};

/// In the count of what is live: the library is being closed.
const SHUT: usize = 1 << (usize::BITS - 1);

/// A pthread key that a library made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) key: libc::pthread_key_t,
    pub(super) dtor: Option<Dtor>,
}

/// The keys of one library.
#[derive(Debug, Default)]
struct Keys {
    made: Vec<Key>,
    /// Deleted by the host while the library is closed; its own code may do so once more.
    deleted: Vec<libc::pthread_key_t>,
}

/// What one library has in the process. Counters that only grow end in `_total`.
#[derive(Debug)]
pub struct Record {
    id: LibraryId,
    path: CString,
    /// Threads, wakers, jobs and tasks together: 0 means that nothing can reach the library's code but
    /// the destructors that a purge runs. One number, so that it is read at one moment; whoever
    /// raises it is counted in it already (or runs inside the instance).
    live: AtomicUsize,
    threads: AtomicUsize,
    wakers: AtomicUsize,
    jobs: AtomicUsize,
    tasks: AtomicUsize,
    tls: AtomicUsize,
    threads_total: AtomicUsize,
    tls_total: AtomicUsize,
    keys_total: AtomicUsize,
    keys: Mutex<Keys>,
    /// It has given a thread a second stack.
    stacks: AtomicBool,
    /// The kernel's numbers of its threads that run.
    running: Mutex<Vec<libc::pid_t>>,
}

impl Record {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> LibraryId {
        self.id
    }

    /// The path that it was opened with.
    #[must_use]
    pub fn path(&self) -> &CStr {
        &self.path
    }

    /// No thread, waker, job or task of the library is left.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.live.load(Ordering::Acquire) & !SHUT == 0
    }

    /// Waits until nothing of the library runs.
    ///
    /// # Errors
    /// What still does, after `time`.
    pub fn wait_quiet(&self, time: Duration) -> Result<(), String> {
        let until = Instant::now() + time;
        while !self.is_quiet() {
            if Instant::now() >= until {
                return Err(self.holders());
            }
            thread::park_timeout(Duration::from_micros(500));
        }
        Ok(())
    }

    /// What [`Self::is_quiet`] waits for, for people.
    #[must_use]
    pub fn holders(&self) -> String {
        let parts = [
            (&self.threads, "thread left behind", "threads left behind"),
            (&self.wakers, "waker held by the host", "wakers held by the host"),
            (&self.jobs, "job in the blocking pool", "jobs in the blocking pool"),
            (&self.tasks, "task that has not ended", "tasks that have not ended"),
        ];
        let parts =
            parts.iter().filter_map(|(count, one, many)| match count.load(Ordering::Relaxed) {
                0 => None,
                1 => Some(format!("1 {one}")),
                n => Some(format!("{n} {many}")),
            });
        parts.collect::<Vec<_>>().join(", ")
    }

    /// Tasks of the library that are not dropped.
    #[must_use]
    pub fn task_count(&self) -> usize {
        self.tasks.load(Ordering::Relaxed)
    }

    /// Threads of the library that run now.
    #[must_use]
    pub fn thread_count(&self) -> usize {
        self.threads.load(Ordering::Relaxed)
    }

    fn lock_running(&self) -> MutexGuard<'_, Vec<libc::pid_t>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The calling thread is one of the library's, from here on.
    pub(super) fn thread_runs(&self) {
        self.lock_running().push(this_thread());
    }

    /// The calling thread is none any more.
    pub(super) fn thread_stops(&self) {
        let this = this_thread();
        self.lock_running().retain(|number| *number != this);
    }

    /// Threads of the library that run now, by the names that they have given themselves.
    #[must_use]
    pub fn threads_by_name(&self) -> BTreeMap<String, usize> {
        let numbers = self.lock_running().clone();
        let mut names = BTreeMap::new();
        for number in numbers {
            let name = std::fs::read_to_string(format!("/proc/self/task/{number}/comm"));
            let name = name.map_or_else(|_| "?".to_owned(), |name| name.trim_end().to_owned());
            *names.entry(name).or_default() += 1;
        }
        names
    }

    /// Thread-local destructors of the library that have not run yet, on all threads.
    #[must_use]
    pub fn tls_count(&self) -> usize {
        self.tls.load(Ordering::Acquire)
    }

    /// Whether a purge has anything to do anywhere.
    pub(crate) fn needs_purge(&self) -> bool {
        self.tls_count() > 0
            || !self.lock_keys().made.is_empty()
            || self.stacks.load(Ordering::Relaxed)
            || signals::runs_of(self.id)
    }

    /// How many threads, thread-local destructors and keys the library has made so far.
    #[must_use]
    pub fn totals(&self) -> (usize, usize, usize) {
        let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        (of(&self.threads_total), of(&self.tls_total), of(&self.keys_total))
    }

    /// A thread of it counts, whatever is being done with it.
    pub(super) fn thread_began(&self) {
        self.threads_total.fetch_add(1, Ordering::Relaxed);
        self.runs();
    }

    /// Code of it runs on a thread that is none of its own.
    pub(super) fn runs(&self) {
        self.live.fetch_add(1, Ordering::AcqRel);
        self.threads.fetch_add(1, Ordering::Relaxed);
    }

    /// It does not any more.
    pub(super) fn rests(&self) {
        self.end(&self.threads);
    }

    pub(super) fn thread_ended(&self) {
        self.end(&self.threads);
    }

    /// False: it is being closed.
    pub(crate) fn waker_began(&self) -> bool {
        self.begin(&self.wakers)
    }

    pub(crate) fn waker_ended(&self) {
        self.end(&self.wakers);
    }

    /// False: it is being closed.
    pub(crate) fn job_began(&self) -> bool {
        self.begin(&self.jobs)
    }

    pub(crate) fn job_ended(&self) {
        self.end(&self.jobs);
    }

    /// False: it is being closed.
    pub(crate) fn task_began(&self) -> bool {
        self.begin(&self.tasks)
    }

    pub(crate) fn task_ended(&self) {
        self.end(&self.tasks);
    }

    fn begin(&self, kind: &AtomicUsize) -> bool {
        let before = self.live.fetch_add(1, Ordering::AcqRel);
        if before & SHUT != 0 {
            self.live.fetch_sub(1, Ordering::Release);
            return false;
        }
        kind.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// From here on nothing begins in it that the host could refuse; `shut(false)` takes that back.
    pub(crate) fn shut(&self, shut: bool) {
        if shut {
            self.live.fetch_or(SHUT, Ordering::AcqRel);
        } else {
            self.live.fetch_and(!SHUT, Ordering::AcqRel);
        }
    }

    fn end(&self, kind: &AtomicUsize) {
        kind.fetch_sub(1, Ordering::Relaxed);
        self.live.fetch_sub(1, Ordering::Release);
    }

    /// `own`: it counts as made by the library.
    pub(super) fn tls_noted(&self, own: bool) {
        self.tls_total.fetch_add(usize::from(own), Ordering::Relaxed);
        self.tls.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn tls_done(&self) {
        self.tls.fetch_sub(1, Ordering::Release);
    }

    pub(super) fn note_stack(&self) {
        self.stacks.store(true, Ordering::Relaxed);
    }

    fn lock_keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note_key(&self, key: Key) {
        self.keys_total.fetch_add(1, Ordering::Relaxed);
        let mut keys = self.lock_keys();
        keys.deleted.retain(|number| *number != key.key);
        keys.made.push(key);
    }

    pub(super) fn forget_key(&self, key: libc::pthread_key_t) {
        self.lock_keys().made.retain(|known| known.key != key);
    }

    /// A copy, because destructors of keys may make and delete keys.
    pub(super) fn keys(&self) -> Vec<Key> {
        self.lock_keys().made.clone()
    }

    /// For whoever deletes them now.
    pub(super) fn take_keys(&self) -> Vec<Key> {
        let mut keys = self.lock_keys();
        let taken = std::mem::take(&mut keys.made);
        keys.deleted.extend(taken.iter().map(|known| known.key));
        taken
    }

    /// Whether the host has deleted the key already; true once.
    pub(super) fn take_deleted(&self, key: libc::pthread_key_t) -> bool {
        let mut keys = self.lock_keys();
        let Some(at) = keys.deleted.iter().position(|number| *number == key) else {
            return false;
        };
        keys.deleted.swap_remove(at);
        true
    }
}

fn this_thread() -> libc::pid_t {
    rustix::thread::gettid().as_raw_pid()
}

#[derive(Default)]
struct Libraries {
    by_path: BTreeMap<CString, Arc<Record>>,
    by_id: BTreeMap<LibraryId, Arc<Record>>,
}

static LIBRARIES: Mutex<Libraries> =
    Mutex::new(Libraries { by_path: BTreeMap::new(), by_id: BTreeMap::new() });
/// How many there are, so that a host without plugins asks no further.
static COUNT: AtomicUsize = AtomicUsize::new(0);
static NEXT: AtomicU32 = AtomicU32::new(1);

fn libraries() -> MutexGuard<'static, Libraries> {
    LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the list, and what is known of each, until it is dropped, for a fork.
pub(super) fn hold() -> Box<dyn Any> {
    /// In the order in which they are to be given back.
    struct Held {
        _records: Vec<(MutexGuard<'static, Keys>, MutexGuard<'static, Vec<libc::pid_t>>)>,
        _libraries: MutexGuard<'static, Libraries>,
    }
    let libraries = libraries();
    let hold = |record: &Arc<Record>| {
        // SAFETY: what is in the list stays there while that is locked, and is given back before.
        let record = unsafe { &*Arc::as_ptr(record) };
        (record.lock_keys(), record.lock_running())
    };
    let records = libraries.by_id.values().map(hold).collect();
    Box::new(Held { _records: records, _libraries: libraries })
}

/// Makes the library that will be opened with exactly `path` a plugin's. `None` when that path is
/// registered already.
pub(crate) fn register(path: CString) -> Option<Arc<Record>> {
    signals::begin();
    let mut libraries = libraries();
    if libraries.by_path.contains_key(&path) {
        return None;
    }
    let record = Arc::new(Record {
        id: next_id(&path),
        path: path.clone(),
        live: AtomicUsize::new(0),
        threads: AtomicUsize::new(0),
        wakers: AtomicUsize::new(0),
        jobs: AtomicUsize::new(0),
        tasks: AtomicUsize::new(0),
        tls: AtomicUsize::new(0),
        threads_total: AtomicUsize::new(0),
        tls_total: AtomicUsize::new(0),
        keys_total: AtomicUsize::new(0),
        keys: Mutex::default(),
        stacks: AtomicBool::new(false),
        running: Mutex::default(),
    });
    libraries.by_path.insert(path, Arc::clone(&record));
    libraries.by_id.insert(record.id, Arc::clone(&record));
    COUNT.store(libraries.by_id.len(), Ordering::Release);
    Some(record)
}

/// A number that no library had before it, and whose place in `blame` is free if any is. Under the
/// lock, so that two do not take one place.
fn next_id(path: &CStr) -> LibraryId {
    let mut numbers = (0..blame::PLACES).map(|_| NEXT.fetch_add(1, Ordering::Relaxed));
    let free = numbers.find(|number| *number != 0 && blame::is_free(*number));
    let id = LibraryId(free.unwrap_or_else(|| NEXT.fetch_add(1, Ordering::Relaxed)));
    blame::reserve(id, path);
    id
}

/// Forgets a library that is no longer mapped.
pub(crate) fn unregister(record: &Record) {
    let mut libraries = libraries();
    libraries.by_path.remove(record.path());
    libraries.by_id.remove(&record.id);
    blame::release(record.id);
    COUNT.store(libraries.by_id.len(), Ordering::Release);
}

pub(super) fn is_empty() -> bool {
    COUNT.load(Ordering::Acquire) == 0
}

pub(crate) fn by_id(id: LibraryId) -> Option<Arc<Record>> {
    libraries().by_id.get(&id).cloned()
}

pub(super) fn all() -> Vec<Arc<Record>> {
    libraries().by_id.values().cloned().collect()
}

/// The library that `object` is. Only loads: for signal handlers.
pub(super) fn library_of(object: &Object) -> Option<LibraryId> {
    if is_empty() { None } else { blame::library_at(object.name()) }
}

/// Whether a library was opened as `path`.
pub(super) fn is_library(path: &CStr) -> bool {
    libraries().by_path.contains_key(path)
}

/// Where an address belongs.
pub(super) enum Owner {
    /// The host's own executable.
    Host,
    /// A plugin.
    Plugin(Arc<Record>),
    /// Another library.
    Other(Object),
    /// No loaded object: heap, stack.
    Nobody,
}

/// Attributes an address.
pub(super) fn owner(address: *const c_void) -> Owner {
    let Some(object) = object::find(address) else { return Owner::Nobody };
    let name = object.name();
    if name.is_empty() {
        return Owner::Host;
    }
    match libraries().by_path.get(name) {
        Some(record) => Owner::Plugin(Arc::clone(record)),
        None => Owner::Other(object),
    }
}
