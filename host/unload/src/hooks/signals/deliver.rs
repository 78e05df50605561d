//! The one handler that the kernel has for all libraries'.
//!
//! Invariant: nothing here has a destructor while a handler runs: it may leave by siglongjmp(3), or
//! unwind.

use std::{
    ffi::{c_int, c_void},
    mem::transmute,
    sync::atomic::Ordering::Relaxed,
};

use super::{
    is_fault,
    kept::{Action, Entry},
    slot::{Slot, state},
    unfinished,
};
use crate::{action, hooks::CURRENT};

/// Those after which the instruction is tried again.
const TRIED_AGAIN: [c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// Also without `SA_SIGINFO`: more arguments than a function takes do not reach it.
type Handler = unsafe extern "C-unwind" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// By which it is known among actions.
pub(super) fn address() -> usize {
    let ours: Handler = deliver;
    ours as usize
}

unsafe extern "C-unwind" fn deliver(
    signal: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    if is_fault(signal) {
        // SAFETY: what the kernel has passed.
        unsafe { to_the_library_that_runs(signal, info, context) }
    } else {
        // SAFETY: what the kernel has passed.
        unsafe { to_everybody(signal, info, context) }
    }
}

/// # Safety
/// The action must have a handler, whose code is there, and the rest what the kernel has passed.
unsafe fn call(action: Action, signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: not null, because no handler is `SIG_DFL`; a function of this kind, as the caller says.
    let handler = unsafe { transmute::<usize, Handler>(action.handler) };
    // SAFETY: as the caller says.
    unsafe { handler(signal, info, context) }
}

/// # Safety
/// To be called with what the kernel has passed.
unsafe fn to_everybody(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let before = CURRENT.with(|current| current.load(Relaxed));
    let state = state(signal);
    let base = state.take_base();
    if base.is_handler() {
        CURRENT.with(|current| current.store(0, Relaxed));
        // SAFETY: the host's own handler, which stays.
        unsafe { call(base, signal, info, context) };
    }
    for slot in state.slots() {
        unfinished::begin(slot);
        if let Some(entry) = callable(slot) {
            CURRENT.with(|current| current.store(entry.owner, Relaxed));
            // SAFETY: whoever takes the library away waits for what has begun.
            unsafe { call(entry.action, signal, info, context) };
        }
        unfinished::end(slot);
    }
    CURRENT.with(|current| current.store(before, Relaxed));
}

/// The handler that is to be called now: none that was called as often as it may be, nor one whose
/// object somebody has closed who should have taken it away.
fn callable(slot: &Slot) -> Option<Entry> {
    let entry = slot.live().filter(|it| it.action.is_handler())?;
    let once = entry.action.flags & libc::SA_RESETHAND != 0;
    (!slot.has_lost_its_object() && (!once || slot.spend())).then_some(entry)
}

/// The slot that a fault of `library` goes to.
pub(super) fn chosen(signal: c_int, library: u32) -> Option<&'static Slot> {
    if library == 0 {
        return None;
    }
    let newest = |its: &dyn Fn(u32, &Slot) -> bool| {
        let handled = |slot: &'static Slot| {
            let entry = slot.live()?;
            (entry.action.is_handler() && its(entry.owner, slot)).then_some((entry.born, slot))
        };
        let found = state(signal).slots().filter_map(handled);
        found.max_by_key(|(born, _)| *born).map(|(_, slot)| slot)
    };
    newest(&|owner, _| owner == library).or_else(|| newest(&|_, slot| slot.key().map().is_some()))
}

/// The name on the thread stays: it is the library that has faulted.
///
/// # Safety
/// To be called with what the kernel has passed.
unsafe fn to_the_library_that_runs(
    signal: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    let running = CURRENT.with(|current| current.load(Relaxed));
    if let Some(slot) = chosen(signal, running) {
        unfinished::begin(slot);
        if let Some(entry) = callable(slot) {
            // SAFETY: the library itself is on the stack, and nobody takes another object away
            // whose handler has begun.
            unsafe { call(entry.action, signal, info, context) };
            unfinished::end(slot);
            return;
        }
        unfinished::end(slot);
    }
    let base = state(signal).take_base();
    if base.is_handler() {
        // SAFETY: the host's own handler, which stays.
        unsafe { call(base, signal, info, context) };
        return;
    }
    // SAFETY: the kernel passes what SA_SIGINFO promises.
    let sent = unsafe { (*info).si_code } <= 0;
    if sent && base.handler == libc::SIG_IGN {
        return;
    }
    action::reset(signal);
    if sent || !TRIED_AGAIN.contains(&signal) {
        // SAFETY: fatal, at the latest when this returns and unblocks it.
        unsafe { libc::raise(signal) };
    }
}
