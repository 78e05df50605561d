//! Functions by which a plugin ends the process that it is in.
//!
//! Owns the note that is left then: whose code it was and what it called. Whatever ends by `exit`
//! or `quick_exit` ends at once: a normal end runs the destructors of every library that is mapped
//! and waits for the loader. A process without a witness (a child that tries a library), one that a library
//! has forked, and the host's own code meet the C library's functions as they are.

use std::{
    ffi::{c_int, c_void},
    mem::MaybeUninit,
    ptr,
    sync::OnceLock,
};

use super::{
    blame::running_tag,
    current, ledger, needed,
    real::{self, AtEnd, Ending},
    registry::{self, Owner},
    signals,
};
use crate::action;

/// The functions that end a process, or a thread of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ends {
    /// exit(3).
    Exit,
    /// _exit(2).
    UnderscoreExit,
    /// `_Exit`, C's name for that.
    CExit,
    /// quick_exit(3).
    QuickExit,
    /// abort(3).
    Abort,
    /// kill(2).
    Kill,
    /// raise(3).
    Raise,
    /// pthread_kill(3).
    PthreadKill,
    /// pthread_exit(3), or C11's `thrd_exit`, on a thread of the host.
    PthreadExit,
}

/// Who hears how a library ends the process that it is in.
#[derive(Clone, Copy, Debug)]
pub struct Witness {
    /// The address of the handler that ends the process on a fault, if the host has set one; 0: none.
    pub handler: usize,
    /// Takes note: by which function, with what argument, and the tag of the library that called it.
    /// False: there is nobody to read it. It may only do what a signal handler may.
    pub note: fn(Ends, c_int, u64) -> bool,
}

static WITNESS: OnceLock<Witness> = OnceLock::new();

/// Names the witness, once a process; a second one is not heard of.
pub fn set_witness(witness: Witness) {
    // Where a witness is heard nothing can be looked up any more.
    real::look_up();
    // The first has been told of what has happened so far.
    let _ = WITNESS.set(witness);
}

/// Whether an action's address is that of the handler that ends the process.
pub(super) fn is_witness(handler: usize) -> bool {
    WITNESS.get().is_some_and(|witness| witness.handler != 0 && witness.handler == handler)
}

/// Notes that the library whose code runs here ends this process. False: it is none, there is nobody
/// to read it, or this is a child that a library has forked.
fn noted(call: Ends, given: c_int) -> bool {
    match (running_tag(), WITNESS.get()) {
        (0, _) | (_, None) => false,
        // It would be told of the end of another process than its own.
        _ if !signals::is_here() => false,
        (tag, Some(witness)) => (witness.note)(call, given, tag),
    }
}

/// Ends by the C library's own function, or, without one, as the kernel does.
fn end(real: Option<Ending>, code: c_int) -> ! {
    if let Some(real) = real {
        // SAFETY: any code may be given; it does not come back.
        unsafe { real(code) }
    }
    loop {
        // SAFETY: ends the process.
        unsafe { libc::syscall(libc::SYS_exit_group, code) };
    }
}

/// Interposes the end of a process.
#[unsafe(no_mangle)]
pub(super) extern "C" fn exit(code: c_int) -> ! {
    if noted(Ends::Exit, code) {
        end(real::underscore_exit(), code)
    } else {
        end(real::exit(), code)
    }
}

/// Interposes the end of a process without anybody's destructors.
#[unsafe(no_mangle)]
pub(super) extern "C" fn _exit(code: c_int) -> ! {
    noted(Ends::UnderscoreExit, code);
    end(real::underscore_exit(), code)
}

/// Interposes C's name for the same.
#[unsafe(no_mangle)]
pub(super) extern "C" fn _Exit(code: c_int) -> ! {
    noted(Ends::CExit, code);
    end(real::underscore_exit(), code)
}

/// Interposes the end of a process with few destructors.
#[unsafe(no_mangle)]
pub(super) extern "C" fn quick_exit(code: c_int) -> ! {
    let real =
        if noted(Ends::QuickExit, code) { real::underscore_exit() } else { real::quick_exit() };
    end(real, code)
}

/// Interposes giving up, whose reason a plugin's own handler of the signal could hide.
#[unsafe(no_mangle)]
pub(super) extern "C" fn abort() -> ! {
    // A handler of the plugin's own may jump out of this: then nothing has ended.
    let there = signals::handler_here(libc::SIGABRT);
    let taken = there != libc::SIG_DFL && !is_witness(there);
    if !taken {
        noted(Ends::Abort, 0);
    }
    // As abort(3) does it: whoever handles the signal is asked first, and has no say. Nothing is
    // looked up: little is left of a stack that has overflowed.
    let mut only = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: makes the set empty, adds a signal that there is, and unblocks it for this thread.
    unsafe {
        libc::sigemptyset(only.as_mut_ptr());
        libc::sigaddset(only.as_mut_ptr(), libc::SIGABRT);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, only.as_ptr(), ptr::null_mut());
    }
    send_abort();
    if taken {
        noted(Ends::Abort, 0);
    }
    action::reset(libc::SIGABRT);
    send_abort();
    end(None, 128 + libc::SIGABRT)
}

/// Sends this thread the signal, by the kernel's own call.
fn send_abort() {
    // SAFETY: numbers of this process and this thread.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), libc::SIGABRT) };
}

/// Whether `signal` ends this process for certain when this thread sends it to itself.
fn is_deadly(signal: c_int) -> bool {
    signal == libc::SIGKILL || (is_witness(signals::handler_here(signal)) && !is_blocked(signal))
}

/// Whether `signal` waits until this thread lets it through, which may be never.
fn is_blocked(signal: c_int) -> bool {
    let mut mask = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: a null set only asks; the mask was written where that did not fail.
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), mask.as_mut_ptr()) == 0
            && libc::sigismember(mask.as_ptr(), signal) == 1
    }
}

/// Not so -1, "everybody": that spares whoever says it.
fn is_own(process: libc::pid_t) -> bool {
    // SAFETY: two questions that cannot fail.
    let (own, group) = unsafe { (libc::getpid(), libc::getpgrp()) };
    process == own || process == 0 || process == -group
}

/// Interposes a signal to a process.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn kill(process: libc::pid_t, signal: c_int) -> c_int {
    if running_tag() != 0 && is_own(process) && is_deadly(signal) {
        noted(Ends::Kill, signal);
    }
    match real::kill() {
        // SAFETY: the caller's arguments, unchanged.
        Some(real) => unsafe { real(process, signal) },
        None => -1,
    }
}

/// Interposes a signal to the calling thread.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn raise(signal: c_int) -> c_int {
    if running_tag() != 0 && is_deadly(signal) {
        noted(Ends::Raise, signal);
    }
    match real::raise() {
        // SAFETY: the caller's argument, unchanged.
        Some(real) => unsafe { real(signal) },
        None => -1,
    }
}

/// Interposes a signal to a thread of this process.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn pthread_kill(thread: libc::pthread_t, signal: c_int) -> c_int {
    if running_tag() != 0 && is_deadly(signal) {
        noted(Ends::PthreadKill, signal);
    }
    match real::pthread_kill() {
        // SAFETY: the caller's arguments, unchanged.
        Some(real) => unsafe { real(thread, signal) },
        None => libc::ESRCH,
    }
}

/// Interposes the end of a thread. One of the host's is not a plugin's to end: it would unwind
/// through the host, and leave whatever it holds for ever.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn pthread_exit(value: *mut c_void) -> ! {
    if !ledger::is_plugin_thread() && noted(Ends::PthreadExit, 0) {
        std::process::abort();
    }
    let Some(real) = real::pthread_exit() else { std::process::abort() };
    // SAFETY: the caller's argument; nothing here has a destructor, so it may unwind through.
    unsafe { real(value) }
}

/// Interposes C11's name for the same.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn thrd_exit(code: c_int) -> ! {
    // As the C library has it: the number in the place of the address.
    let value = ptr::without_provenance_mut(code.cast_unsigned() as usize);
    // SAFETY: a value that nobody follows.
    unsafe { pthread_exit(value) }
}

/// Interposes a function to be called at the process's end. Nobody calls a library's: it would have
/// to be there for ever (unlike atexit(3)'s, this one does not go with its library), and whatever
/// ends a host that serves calls none of them.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn on_exit(function: Option<AtEnd>, argument: *mut c_void) -> c_int {
    let lies_in = |it: AtEnd| registry::owner(it as *const c_void);
    let goes = match function.map(lies_in) {
        Some(Owner::Plugin(_)) => true,
        Some(Owner::Other(object)) => !needed::is_permanent(object.id()),
        // Made at run time, if not by the host then by the library that runs.
        Some(Owner::Nobody) | None => current().is_some(),
        Some(Owner::Host) => false,
    };
    if goes && !registry::is_empty() {
        return 0;
    }
    match real::on_exit() {
        // SAFETY: the caller's arguments, unchanged.
        Some(real) => unsafe { real(function, argument) },
        None => -1,
    }
}
