//! Functions that the C library calls on threads of its own: those of timers and message queues with
//! `SIGEV_THREAD`.
//!
//! The C library makes these threads without asking anybody, and goes on with them after the
//! library of the function has gone. So it is given a function of the host, which counts the thread
//! to the library like any other, and calls nothing that was taken away.
//!
//! A timer's name is an address of the C library's own memory, which its deletion frees. The library
//! may use that name to its last instruction (a static destructor that deletes its timer), so a timer
//! that is taken away is stopped, and deleted once the library is unmapped.
//!
//! Invariant: whoever takes a timer off the list deletes it, so that nobody does so twice.
//!
//! Source: timer_create(2), mq_notify(3), sigevent(3type).

use std::{
    any::Any,
    ffi::{c_int, c_void},
    ptr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    LibraryId, become_thread_of, current, ledger, needed,
    needed::Going,
    object, real,
    registry::{self, Owner, Record},
    stack,
};

/// As glibc lays out a `struct sigevent` for a thread. Source: `<bits/types/sigevent_t.h>`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Event {
    value: *mut c_void,
    signal: c_int,
    notify: c_int,
    function: Option<Function>,
    attributes: *mut c_void,
    rest: [c_int; 8],
}

const _: () = assert!(size_of::<Event>() == size_of::<libc::sigevent>());

/// `C-unwind`, because `pthread_exit` unwinds through it.
type Function = unsafe extern "C-unwind" fn(*mut c_void);

/// `SIGEV_THREAD`. Source: `<bits/sigevent-consts.h>`.
const THREAD: c_int = 2;

/// What calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// Again and again. The address is the timer's name.
    Timer(usize),
    /// Once.
    Queue(c_int),
}

struct Callback {
    /// Never given twice: a thread that is on its way finds nothing when its callback has gone.
    number: usize,
    function: Function,
    /// An object held the function when it was given; else it was made at run time.
    is_in_object: bool,
    value: usize,
    source: Option<Source>,
    /// `None`: of an object that has outlived the library on whose behalf it asked, and stays.
    record: Option<Arc<Record>>,
}

impl Callback {
    /// Whether somebody has taken the object away who does not come here first.
    fn has_lost_its_object(&self) -> bool {
        self.is_in_object && object::find(self.function as *const c_void).is_none()
    }
}

#[derive(Default)]
struct Callbacks {
    last: usize,
    all: Vec<Callback>,
    /// Timers that were stopped, by their names, and with which library they were taken away.
    stopped: Vec<(usize, LibraryId)>,
}

static CALLBACKS: Mutex<Callbacks> =
    Mutex::new(Callbacks { last: 0, all: Vec::new(), stopped: Vec::new() });

fn callbacks() -> MutexGuard<'static, Callbacks> {
    CALLBACKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the list until it is dropped, for a fork.
pub(super) fn hold() -> Box<dyn Any> {
    Box::new(callbacks())
}

/// Whose function it is: a library's, or, on behalf of the one that runs, of an object that may go.
fn owner(function: Function) -> Option<Arc<Record>> {
    if registry::is_empty() {
        return None;
    }
    match registry::owner(function as *const c_void) {
        Owner::Plugin(record) => Some(record),
        Owner::Other(object) if needed::is_permanent(object.id()) => None,
        Owner::Other(_) | Owner::Nobody => current().and_then(registry::by_id),
        Owner::Host => None,
    }
}

/// Keeps the function of `event`, if it is a library's, and calls `real` with what is to be given to
/// the C library instead.
///
/// # Safety
/// `event` must be null or an event.
unsafe fn keep(event: *const Event, real: impl FnOnce(*const Event) -> (c_int, Source)) -> c_int {
    // SAFETY: null, or the caller's event.
    let known = unsafe { event.as_ref() }.filter(|it| it.notify == THREAD);
    let owned = known.and_then(|it| {
        let function = it.function?;
        Some((it, function, owner(function)?))
    });
    let Some((given, function, record)) = owned else { return real(event).0 };
    let is_in_object = object::find(function as *const c_void).is_some();
    let number = {
        let mut callbacks = callbacks();
        callbacks.last += 1;
        let (number, value) = (callbacks.last, given.value.expose_provenance());
        let record = Some(record);
        let source = None;
        callbacks.all.push(Callback { number, function, is_in_object, value, source, record });
        number
    };
    let called: Function = begin;
    let value = ptr::without_provenance_mut(number);
    let (rc, source) = real(&Event { value, function: Some(called), ..*given });
    let mut callbacks = callbacks();
    if rc != 0 {
        callbacks.all.retain(|it| it.number != number);
    } else if let Some(kept) = callbacks.all.iter_mut().find(|it| it.number == number) {
        kept.source = Some(source);
    }
    rc
}

/// Interposes the creation of a timer.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn timer_create(
    clock: libc::clockid_t,
    event: *const Event,
    timer: *mut *mut c_void,
) -> c_int {
    let Some(real) = real::timer_create() else { return -1 };
    let create = |event: *const Event| {
        // SAFETY: the caller's arguments, with another function where that is a library's.
        let rc = unsafe { real(clock, event.cast(), timer) };
        // SAFETY: written where that did not fail.
        let made = if rc == 0 { unsafe { *timer }.addr() } else { 0 };
        (rc, Source::Timer(made))
    };
    // SAFETY: the caller's event.
    unsafe { keep(event, create) }
}

/// Interposes the deletion of a timer.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn timer_delete(timer: *mut c_void) -> c_int {
    // Before the real deletion, after which the name may be another's.
    {
        let mut callbacks = callbacks();
        callbacks.all.retain(|it| it.source != Some(Source::Timer(timer.addr())));
        callbacks.stopped.retain(|(name, _)| *name != timer.addr());
    }
    match real::timer_delete() {
        // SAFETY: the caller's argument, unchanged.
        Some(real) => unsafe { real(timer) },
        None => -1,
    }
}

/// Interposes the wish to hear of a message.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn mq_notify(queue: c_int, event: *const Event) -> c_int {
    let Some(real) = real::mq_notify() else { return -1 };
    // SAFETY: the caller's arguments, with another function where that is a library's.
    let ask = |event: *const Event| (unsafe { real(queue, event.cast()) }, Source::Queue(queue));
    if event.is_null() {
        callbacks().all.retain(|it| it.source != Some(Source::Queue(queue)));
    }
    // SAFETY: the caller's event.
    unsafe { keep(event, ask) }
}

/// What the C library calls: on a thread that ends with it, or on one that it has for all ticks of a
/// timer (as later releases do). At the call of the library's function nothing here has a destructor,
/// so that `pthread_exit` may unwind through it.
unsafe extern "C-unwind" fn begin(number: *mut c_void) {
    if let Some((function, value)) = enter(number.addr()) {
        // SAFETY: the library's own function and value; the library is counted to have this thread.
        unsafe { function(value) }
        // Nothing is known of a next tick, and whose that is.
        ledger::leave();
    }
}

/// Makes the calling thread the library's; what to call.
fn enter(number: usize) -> Option<(Function, *mut c_void)> {
    let (function, value, record) = {
        let mut callbacks = callbacks();
        let at = callbacks.all.iter().position(|it| it.number == number)?;
        let kept = &callbacks.all[at];
        // A library's own end may have closed what it had opened.
        if kept.has_lost_its_object() {
            return None;
        }
        let found = (kept.function, kept.value, kept.record.clone());
        // While nobody can take it away.
        if let Some(record) = &found.2 {
            record.thread_began();
        }
        if matches!(kept.source, Some(Source::Queue(_))) {
            callbacks.all.swap_remove(at);
        }
        found
    };
    if let Some(record) = record {
        become_thread_of(record.id());
        ledger::adopt(record);
        stack::lend();
    }
    Some((function, ptr::with_exposed_provenance_mut(value)))
}

/// Whether anything could be called in the library's name.
pub(crate) fn has_any(library: LibraryId) -> bool {
    let its = |it: &Callback| it.record.as_ref().is_some_and(|record| record.id() == library);
    callbacks().all.iter().any(its)
}

/// Takes away what `library`, and what goes with it, would be called for. What has begun counts as a
/// thread of it. What an object that stays is called for is from now on on behalf of another library
/// that needs the object; where nobody is known to, the object stays for good. In the turn in which the
/// library is to be closed.
pub(crate) fn withdraw(library: LibraryId, going: &[Going]) {
    let mut stays = Vec::new();
    let mut held = callbacks();
    let Callbacks { all, stopped, .. } = &mut *held;
    all.retain(|it| {
        let address = it.function as usize;
        let is_its = it.record.as_ref().is_some_and(|record| record.id() == library);
        let inside = going.iter().any(|object| object.holds(address));
        if !inside && is_its && matches!(registry::owner(it.function as _), Owner::Other(_)) {
            stays.push((it.number, address));
            return true;
        }
        if (inside || is_its)
            // A queue that was closed has no wish any more, and its number may be another's.
            && let Some(Source::Timer(timer)) = it.source
        {
            // While nobody can delete it.
            stop(timer);
            stopped.push((timer, library));
        }
        !(inside || is_its)
    });
    drop(held);
    // Without the lock, which those take that the loader's lock is waited for by.
    for (number, address) in stays {
        let keeper = needed::keeper(address, library);
        if keeper.is_none() {
            needed::pin(ptr::without_provenance(address));
        }
        if let Some(kept) = callbacks().all.iter_mut().find(|it| it.number == number) {
            kept.record = keeper;
        }
    }
}

/// It ticks no more, unless somebody sets it anew, and then nothing is called.
fn stop(timer: usize) {
    let none = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let never = libc::itimerspec { it_interval: none, it_value: none };
    let timer = ptr::with_exposed_provenance_mut(timer);
    // SAFETY: a timer that was made and not deleted, or it would not be in the list.
    unsafe { libc::timer_settime(timer, 0, &raw const never, ptr::null_mut()) };
}

/// After `library` was closed: deletes its timers, which nobody can name any more, and forgets what lay
/// in objects that went with it although nobody could know, because its own end has closed them.
pub(crate) fn forget(library: LibraryId) {
    let gone: Vec<_> = {
        let mut callbacks = callbacks();
        callbacks.all.retain(|it| !it.has_lost_its_object());
        callbacks.stopped.extract_if(.., |(_, its)| *its == library).collect()
    };
    for (timer, _) in gone {
        if let Some(real) = real::timer_delete() {
            // SAFETY: made and not deleted, or it would not have been in the list.
            unsafe { real(ptr::with_exposed_provenance_mut(timer)) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use super::*;
    use crate::hooks::tests::Played;

    /// A thread is the library's while it is called, however often that is.
    #[test]
    fn one_thread_may_have_all_ticks() {
        static SEEN: AtomicUsize = AtomicUsize::new(0);
        unsafe extern "C-unwind" fn tick(value: *mut c_void) {
            let record = current().and_then(registry::by_id).unwrap();
            assert!(!record.is_quiet() && ledger::is_plugin_thread());
            SEEN.fetch_add(value.addr(), Ordering::SeqCst);
        }
        let played = Played::start();
        let number = {
            let mut callbacks = callbacks();
            callbacks.last += 1;
            let (number, record) = (callbacks.last, Some(Arc::clone(&played.record)));
            let source = Some(Source::Timer(0));
            let (function, is_in_object, value): (Function, _, _) = (tick, true, 3);
            let tick = Callback { number, function, is_in_object, value, source, record };
            callbacks.all.push(tick);
            number
        };
        let before = Arc::strong_count(&played.record);
        thread::scope(|scope| {
            let ticks = || {
                for ticks in 1..=3 {
                    // SAFETY: what stands in the list above.
                    unsafe { begin(ptr::without_provenance_mut(number)) };
                    assert_eq!(SEEN.load(Ordering::SeqCst), 3 * ticks);
                    assert!(played.record.is_quiet() && current().is_none());
                    assert_eq!(Arc::strong_count(&played.record), before);
                }
            };
            scope.spawn(ticks).join().unwrap();
        });
        assert!(has_any(played.record.id()));
        callbacks().all.retain(|it| it.number != number);
        assert_eq!(played.record.totals().0, 3);
    }
}
