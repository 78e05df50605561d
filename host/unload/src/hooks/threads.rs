//! Threads that plugins start, counted from before their first instruction to their last.

use std::{
    ffi::{c_int, c_void},
    sync::Arc,
};

use super::{
    become_thread_of, current,
    keys::THRD_ERROR,
    ledger,
    real::{self, C11Routine, Routine},
    registry::{self, Owner, Record},
    stack, wiped,
};

struct Start<R> {
    routine: R,
    argument: *mut c_void,
    record: Arc<Record>,
}

impl<R> Start<R> {
    /// Counts the thread and boxes what it begins with.
    fn pack(routine: R, argument: *mut c_void, record: Arc<Record>) -> *mut Self {
        record.thread_began();
        Box::into_raw(Box::new(Self { routine, argument, record }))
    }

    /// Takes [`Self::pack`] back when no thread was started.
    ///
    /// # Safety
    /// `packed` must come from `pack`, and nobody else may use it.
    unsafe fn take_back(packed: *mut Self) {
        // SAFETY: as the caller says.
        let start = unsafe { Box::from_raw(packed) };
        start.record.thread_ended();
    }

    /// Makes the calling thread the library's; what to call now.
    ///
    /// # Safety
    /// `packed` must come from `pack`, and nobody else may use it.
    unsafe fn unpack(packed: *mut c_void) -> (R, *mut c_void) {
        // SAFETY: as the caller says.
        let start = unsafe { Box::from_raw(packed.cast::<Self>()) };
        let Self { routine, argument, record } = *start;
        become_thread_of(record.id());
        record.thread_runs();
        ledger::adopt(record);
        stack::lend();
        (routine, argument)
    }
}

/// Interposes the creation of a thread: a plugin's are counted to their last instruction.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    routine: Option<Routine>,
    argument: *mut c_void,
) -> c_int {
    let Some(real) = real::create() else { return libc::EAGAIN };
    let owned = routine.and_then(|it| Some((it, owner(it as *const c_void)?)));
    let Some((start, record)) = owned else {
        // SAFETY: the caller's arguments, unchanged.
        return unsafe { real(thread, attributes, routine, argument) };
    };
    let start = Start::pack(start, argument, record);
    // SAFETY: the caller's thread and attributes; `begin` takes the box over.
    let rc = unsafe { real(thread, attributes, Some(begin), start.cast()) };
    if rc != 0 {
        // SAFETY: no thread was started, so the box is still ours.
        unsafe { Start::take_back(start) };
    }
    rc
}

/// Interposes C11's creation of a thread.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn thrd_create(
    thread: *mut libc::pthread_t,
    routine: Option<C11Routine>,
    argument: *mut c_void,
) -> c_int {
    let Some(real) = real::thrd_create() else { return THRD_ERROR };
    let owned = routine.and_then(|it| Some((it, owner(it as *const c_void)?)));
    let Some((start, record)) = owned else {
        // SAFETY: the caller's arguments, unchanged.
        return unsafe { real(thread, routine, argument) };
    };
    let start = Start::pack(start, argument, record);
    // SAFETY: the caller's thread; `begin_c11` takes the box over.
    let rc = unsafe { real(thread, Some(begin_c11), start.cast()) };
    if rc != 0 {
        // SAFETY: no thread was started, so the box is still ours.
        unsafe { Start::take_back(start) };
    }
    rc
}

/// Whose thread begins in `routine`: the library it lies in, nobody's if that is the host, else
/// the library that runs (C++'s `std::thread` begins in libstdc++).
fn owner(routine: *const c_void) -> Option<Arc<Record>> {
    if registry::is_empty() {
        return None;
    }
    match registry::owner(routine) {
        Owner::Host => None,
        Owner::Plugin(record) => Some(record),
        Owner::Other(_) | Owner::Nobody => current().and_then(registry::by_id),
    }
}

/// Where a plugin's thread begins. At the call of the plugin's routine nothing here has a
/// destructor, so that `pthread_exit` may unwind through it.
unsafe extern "C-unwind" fn begin(start: *mut c_void) -> *mut c_void {
    // SAFETY: the box that `pthread_create` made for this thread alone.
    let (routine, argument) = unsafe { Start::<Routine>::unpack(start) };
    wiped::clear(wiped::cached());
    // SAFETY: the caller's routine with the caller's argument.
    unsafe { routine(argument) }
}

/// As [`begin`], for C11.
unsafe extern "C-unwind" fn begin_c11(start: *mut c_void) -> c_int {
    // SAFETY: the box that `thrd_create` made for this thread alone.
    let (routine, argument) = unsafe { Start::<C11Routine>::unpack(start) };
    wiped::clear(wiped::cached());
    // SAFETY: the caller's routine with the caller's argument.
    unsafe { routine(argument) }
}
