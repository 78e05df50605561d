//! Functions of libraries around a fork.
//!
//! The C library calls them without a lock (since 2.36), so that whoever takes a library away meanwhile
//! takes the code away that runs. So it has none of them: they are kept here, called from the host's
//! own, and whoever forks counts as a thread of each library from its first function to its last one.
//!
//! Invariant: none of a library's is called once [`withdraw`] has returned, nor runs.
//!
//! Source: pthread_atfork(3).

use std::{
    any::Any,
    cell::RefCell,
    ffi::{c_int, c_void},
    mem::ManuallyDrop,
    ptr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::hooks::{
    LibraryId, current, enter, needed,
    needed::Going,
    object,
    real::{self, AroundFork, Dtor},
    registry::{self, Owner, Record},
};

unsafe extern "C" {
    fn __cxa_atexit(end: Dtor, argument: *mut c_void, dso: *mut c_void) -> c_int;
}

/// Before, and after in the parent and in the child.
type Functions = [Option<AroundFork>; 3];

struct Handler {
    /// Never given twice.
    number: usize,
    functions: Functions,
    /// An address in its object, and the place of that in the loader's list. 0: code that no object
    /// holds.
    inside: usize,
    map: usize,
    /// `None`: of an object that has outlived the library on whose behalf it asked.
    record: Option<Arc<Record>>,
    /// Forks that are under way.
    running: usize,
    /// The library with which it is being unmapped, or was.
    ending: Option<LibraryId>,
}

impl Handler {
    /// Whether somebody has taken the object away who does not come here first.
    fn has_lost_its_object(&self) -> bool {
        let there = || object::find(ptr::without_provenance(self.inside));
        self.map != 0 && there().is_none_or(|it| it.id() != self.map)
    }

    fn lies_in(&self, object: &Going) -> bool {
        let mut functions = self.functions.iter().flatten();
        object.holds(self.inside) || functions.any(|it| object.holds(*it as usize))
    }
}

struct Handlers {
    last: usize,
    all: Vec<Handler>,
    /// Libraries that are being unmapped: what their ends register nobody calls.
    ending: Vec<LibraryId>,
}

impl Handlers {
    fn forget_gone(&mut self) {
        let is_gone = |it: LibraryId| registry::by_id(it).is_none();
        self.all.retain(|it| !it.ending.is_some_and(is_gone));
        self.ending.retain(|it| !is_gone(*it));
    }
}

static HANDLERS: Mutex<Handlers> =
    Mutex::new(Handlers { last: 0, all: Vec::new(), ending: Vec::new() });

fn handlers() -> MutexGuard<'static, Handlers> {
    HANDLERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the list until it is dropped, for a fork.
pub(super) fn hold() -> Box<dyn Any> {
    Box::new(handlers())
}

/// What a fork calls of one handler.
struct Run {
    number: usize,
    functions: Functions,
    record: Option<Arc<Record>>,
    /// It is the one by which the fork counts as a thread of its library.
    counts: bool,
}

thread_local! {
    // The forks that are under way on this thread: a handler may fork. Without a destructor, as all of
    // a thread's here.
    static RUNS: RefCell<ManuallyDrop<Vec<Vec<Run>>>> =
        const { RefCell::new(ManuallyDrop::new(Vec::new())) };
}

/// A fork begins: what is registered from here on is not for this one.
pub(super) fn before() {
    let runs: Vec<Run> = {
        let mut handlers = handlers();
        handlers.forget_gone();
        handlers.all.retain(|it| it.ending.is_some() || !it.has_lost_its_object());
        let begin = |it: &mut Handler| {
            it.running += 1;
            Run {
                number: it.number,
                functions: it.functions,
                record: it.record.clone(),
                counts: false,
            }
        };
        let mut runs: Vec<_> =
            handlers.all.iter_mut().filter(|it| it.ending.is_none()).map(begin).collect();
        count(&mut runs);
        runs
    };
    let count = runs.len();
    RUNS.with_borrow_mut(|all| all.push(runs));
    for at in (0..count).rev() {
        run(at, 0);
    }
}

/// It is over, here in the parent (1) or in the child (2), where nothing is allocated.
pub(super) fn after(which: usize) {
    let count = RUNS.with_borrow(|all| all.last().map_or(0, Vec::len));
    for at in 0..count {
        run(at, which);
    }
    let Some(runs) = RUNS.with_borrow_mut(|all| all.pop()) else { return };
    let mut handlers = handlers();
    for run in &runs {
        if let Some(kept) = handlers.all.iter_mut().find(|it| it.number == run.number) {
            kept.running -= 1;
        }
    }
    drop(handlers);
    for record in runs.iter().filter(|run| run.counts).filter_map(|run| run.record.as_ref()) {
        record.rests();
    }
}

/// Counts the fork as a thread of each library, once. While nobody can take them away.
fn count(runs: &mut [Run]) {
    for at in 0..runs.len() {
        let (known, rest) = runs.split_at_mut(at);
        let Some(record) = &rest[0].record else { continue };
        let is_known = known
            .iter()
            .any(|it| it.counts && it.record.as_ref().is_some_and(|it| it.id() == record.id()));
        if !is_known {
            record.runs();
            rest[0].counts = true;
        }
    }
}

/// No borrow is held while it is called.
fn run(at: usize, which: usize) {
    let found = RUNS.with_borrow(|all| {
        let run = all.last()?.get(at)?;
        Some((run.functions[which]?, run.record.as_ref().map(|record| record.id())))
    });
    let Some((function, library)) = found else { return };
    let entered = library.map(enter);
    // SAFETY: of an object that is not withdrawn, because this fork counts.
    unsafe { function() };
    drop(entered);
}

/// Where their object lies, where that is in the loader's list, and on whose behalf they are; `None`:
/// it stays.
fn owner(functions: &Functions, dso: *const c_void) -> Option<(usize, usize, Arc<Record>)> {
    if registry::is_empty() {
        return None;
    }
    let running = || current().and_then(registry::by_id);
    let functions = functions.iter().flatten().map(|it| *it as *const c_void);
    let mut places = [dso].into_iter().chain(functions);
    let known = places.find_map(|it| Some((it, object::find(it)?.id())));
    let Some((inside, map)) = known else { return Some((0, 0, running()?)) };
    match registry::owner(inside) {
        Owner::Plugin(record) => Some((inside.addr(), map, record)),
        Owner::Other(_) if !needed::is_permanent(map) => Some((inside.addr(), map, running()?)),
        Owner::Host | Owner::Other(_) | Owner::Nobody => None,
    }
}

/// Keeps the functions if they are a library's; else the C library does.
///
/// # Safety
/// They may be called at each fork, until their object is unmapped.
unsafe fn register(functions: Functions, dso: *mut c_void) -> c_int {
    let Some((inside, map, record)) = owner(&functions, dso) else {
        let [before, parent, child] = functions;
        return match real::register_atfork() {
            // SAFETY: as the caller says.
            Some(real) => unsafe { real(before, parent, child, dso) },
            None => libc::ENOMEM,
        };
    };
    let number = {
        let mut handlers = handlers();
        let ending = Some(record.id()).filter(|it| handlers.ending.contains(it));
        handlers.last += 1;
        let (number, record) = (handlers.last, Some(record));
        handlers.all.push(Handler { number, functions, inside, map, record, running: 0, ending });
        number
    };
    if map != 0 && inside == dso.addr() {
        // The C library forgets its own when the object ends. One that is opened again is likely to
        // lie where it lay, and would be called for both.
        let end: Dtor = forget;
        // SAFETY: a function that stays. Where there is no room a fork finds out, most of the time.
        unsafe { __cxa_atexit(end, ptr::without_provenance_mut(number), dso) };
    }
    0
}

/// The object of this handler ends.
unsafe extern "C" fn forget(number: *mut c_void) {
    handlers().all.retain(|it| it.number != number.addr());
}

/// Interposes what pthread_atfork(3) calls, whose own code is in each object.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(in crate::hooks) unsafe extern "C" fn __register_atfork(
    before: Option<AroundFork>,
    parent: Option<AroundFork>,
    child: Option<AroundFork>,
    dso: *mut c_void,
) -> c_int {
    // SAFETY: the caller's functions.
    unsafe { register([before, parent, child], dso) }
}

/// Interposes the function that very old objects call.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(in crate::hooks) unsafe extern "C" fn pthread_atfork(
    before: Option<AroundFork>,
    parent: Option<AroundFork>,
    child: Option<AroundFork>,
) -> c_int {
    // SAFETY: the caller's functions.
    unsafe { register([before, parent, child], ptr::null_mut()) }
}

/// Forgets what `library`, and what goes with it, has registered, and will: it is unmapped next.
///
/// # Errors
/// A fork that is under way, and calls them: then nothing is forgotten.
pub(crate) fn withdraw(library: LibraryId, going: &[Going]) -> Result<(), String> {
    let mut handlers = handlers();
    let its = |it: &Handler| it.record.as_ref().is_some_and(|record| record.id() == library);
    let goes = |it: &Handler| {
        let inside = going.iter().any(|object| it.lies_in(object));
        inside || (its(it) && it.map == 0)
    };
    if handlers.all.iter().any(|it| goes(it) && it.running > 0) {
        return Err("a fork that calls functions of it".to_owned());
    }
    for kept in &mut handlers.all {
        if goes(kept) {
            kept.ending = Some(library);
        } else if its(kept) {
            kept.record = None;
        }
    }
    handlers.ending.push(library);
    handlers.forget_gone();
    Ok(())
}

/// What was withdrawn is called again, because the loader has kept the library: others may use it.
pub(crate) fn keep(library: LibraryId) {
    let mut handlers = handlers();
    for kept in handlers.all.iter_mut().filter(|it| it.ending == Some(library)) {
        kept.ending = None;
    }
    handlers.ending.retain(|it| *it != library);
}

/// What was to go with `library`, which is unmapped, and is still there is called again.
pub(crate) fn keep_in(library: LibraryId, stayed: &[&Going]) {
    let is_kept = |it: &&mut Handler| {
        it.ending == Some(library) && stayed.iter().any(|object| it.lies_in(object))
    };
    for kept in handlers().all.iter_mut().filter(is_kept) {
        (kept.ending, kept.record) = (None, None);
    }
}
