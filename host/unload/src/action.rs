//! What the kernel does on a signal: asked and set by the C library's own function.
//!
//! The executable has a function of that name for libraries (`hooks::signals`), which answers
//! and sets what concerns its caller. Whoever goes down, puts something back or looks at what is
//! really there comes here instead.
//!
//! # Invariant
//! After [`look_up`] nothing here does more than signal-safety(7) allows.
#![expect(unsafe_code, reason = "signal actions are only reachable through libc")]

use std::{
    ffi::{c_int, c_void},
    io,
    mem::{MaybeUninit, transmute},
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

type Sigaction = unsafe extern "C" fn(c_int, *const libc::sigaction, *mut libc::sigaction) -> c_int;

static REAL: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Finds the C library's function: to be called before the first handler is in place, because a
/// handler must look nothing up.
pub fn look_up() {
    // SAFETY: the name is a C string; RTLD_NEXT means "behind the executable", where we are.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, c"sigaction".as_ptr()) };
    REAL.store(found, Ordering::Relaxed);
}

/// The C library's `sigaction`.
///
/// # Safety
/// As for that function.
pub unsafe fn sigaction(
    signal: c_int,
    action: *const libc::sigaction,
    before: *mut libc::sigaction,
) -> c_int {
    if REAL.load(Ordering::Relaxed).is_null() {
        look_up();
    }
    // SAFETY: null is `None`; else it is the function of that name, whose type is this.
    let real = unsafe { transmute::<*mut c_void, Option<Sigaction>>(REAL.load(Ordering::Relaxed)) };
    // SAFETY: as the caller says.
    real.map_or(-1, |real| unsafe { real(signal, action, before) })
}

/// What happens on `signal` now.
///
/// # Errors
/// It is no signal, or one that the C library keeps to itself.
pub fn get(signal: c_int) -> io::Result<libc::sigaction> {
    let mut known = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a null action only asks; `known` has room for the answer.
    if unsafe { sigaction(signal, ptr::null(), known.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: 0 means that the answer was written.
    Ok(unsafe { known.assume_init() })
}

/// Has the kernel do `action` on `signal` from now on.
///
/// # Errors
/// As for [`get`]; the two signals that nobody handles.
///
/// # Safety
/// A handler in it must have the type that its flags ask for, and stay as long as it is in place.
pub unsafe fn set(signal: c_int, action: &libc::sigaction) -> io::Result<()> {
    // SAFETY: a whole action; what else it takes is the caller's.
    if unsafe { sigaction(signal, action, ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Has the kernel do on `signal` what the system's rule says. A number that is no signal changes
/// nothing.
pub fn reset(signal: c_int) {
    // SAFETY: the system's rule, and no handler.
    let _ = unsafe { set(signal, &with(libc::SIG_DFL, 0)) };
}

/// An action with this handler (or `SIG_DFL`, `SIG_IGN`), these flags and an empty mask.
#[must_use]
pub fn with(handler: usize, flags: c_int) -> libc::sigaction {
    // SAFETY: all zeros is an action without flags and with an empty mask.
    let mut action = unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    action
}

/// Whether it is a handler, and none of the system's rules.
#[must_use]
pub fn is_handler(action: &libc::sigaction) -> bool {
    action.sa_sigaction != libc::SIG_DFL && action.sa_sigaction != libc::SIG_IGN
}

/// `SIGSEGV` for 11; a number without a name is `signal 40`.
#[must_use]
pub fn signal_name(signal: i32) -> String {
    // Source: signal(7), the numbers of x86-64 and aarch64.
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let name = usize::try_from(signal).ok().and_then(|n| NAMES.get(n.checked_sub(1)?));
    name.map_or_else(|| format!("signal {signal}"), |name| format!("SIG{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_their_names() {
        assert_eq!(signal_name(libc::SIGSEGV), "SIGSEGV");
        assert_eq!(signal_name(libc::SIGSYS), "SIGSYS");
        assert_eq!(signal_name(libc::SIGHUP), "SIGHUP");
        assert_eq!(signal_name(libc::SIGXCPU), "SIGXCPU");
        assert_eq!(signal_name(0), "signal 0");
        assert_eq!(signal_name(64), "signal 64");
    }
}
