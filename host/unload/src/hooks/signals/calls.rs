//! The C functions by which a program sets what happens on a signal.
//!
//! They are here because the C library's own call each other without asking. Each is a stub that
//! passes on where it returns to, so that its caller is known; the rest is what the manual says.
//! Source: sigaction(2), signal(2), sysv_signal(3), bsd_signal(3), sigset(3), siginterrupt(3).

use std::{
    arch::naked_asm,
    ffi::{CStr, c_int, c_void},
    mem::MaybeUninit,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{
    change::{change, from_system, swap, to_system},
    is_here,
    kept::Action,
    slot::SIGNAL_MAX,
};

/// `SIG_HOLD`: not an action, but a blocked signal. Source: `<signal.h>`.
const HOLD: usize = 2;

/// What glibc keeps to itself: the ends of threads, and changes of accounts.
const KEPT_BY_LIBC: std::ops::RangeInclusive<c_int> = 32..=33;

/// Signals that interrupt what they meet, as siginterrupt(3) says; of handlers set by signal(2).
static INTERRUPT: AtomicU64 = AtomicU64::new(0);

fn bit(signal: c_int) -> u64 {
    1_u64.checked_shl(signal.wrapping_sub(1).cast_unsigned()).unwrap_or(0)
}

fn fail(error: c_int) {
    // SAFETY: the calling thread's own.
    unsafe { *libc::__errno_location() = error };
}

/// By the rules where they hold, else by the C library.
fn exchange(
    signal: c_int,
    new: Option<Action>,
    returns_to: *const c_void,
) -> Result<Action, c_int> {
    let ruled = (1..=SIGNAL_MAX).contains(&signal)
        && !KEPT_BY_LIBC.contains(&signal)
        && ![libc::SIGKILL, libc::SIGSTOP].contains(&signal);
    if ruled && is_here() { change(signal, new, returns_to) } else { swap(signal, new) }
}

unsafe extern "C" fn set_action(
    signal: c_int,
    new: *const libc::sigaction,
    before: *mut libc::sigaction,
    returns_to: *const c_void,
) -> c_int {
    // SAFETY: null, or the caller's whole action.
    let new = unsafe { new.as_ref() }.map(from_system);
    match exchange(signal, new, returns_to) {
        Ok(shown) => {
            if !before.is_null() {
                // SAFETY: the caller's room for it.
                unsafe { before.write(to_system(&shown)) };
            }
            0
        }
        Err(error) => {
            fail(error);
            -1
        }
    }
}

/// Sets a handler with these flags and mask; the one before, or `SIG_ERR`.
fn set_handler(signal: c_int, new: Action, returns_to: *const c_void) -> usize {
    let answer = match new.handler {
        libc::SIG_ERR => Err(libc::EINVAL),
        _ => exchange(signal, Some(new), returns_to),
    };
    match answer {
        Ok(shown) => shown.handler,
        Err(error) => {
            fail(error);
            libc::SIG_ERR
        }
    }
}

extern "C" fn set_bsd(signal: c_int, handler: usize, returns_to: *const c_void) -> usize {
    let interrupts = INTERRUPT.load(Ordering::Relaxed) & bit(signal) != 0;
    let flags = if interrupts { 0 } else { libc::SA_RESTART };
    set_handler(signal, Action { handler, flags, mask: bit(signal) }, returns_to)
}

extern "C" fn set_sysv(signal: c_int, handler: usize, returns_to: *const c_void) -> usize {
    let flags = libc::SA_RESETHAND | libc::SA_NODEFER;
    set_handler(signal, Action { handler, flags, mask: 0 }, returns_to)
}

extern "C" fn set_or_hold(signal: c_int, handler: usize, returns_to: *const c_void) -> usize {
    let how = if handler == HOLD { libc::SIG_BLOCK } else { libc::SIG_UNBLOCK };
    let new = (handler != HOLD).then_some(Action { handler, flags: 0, mask: 0 });
    if handler == libc::SIG_ERR {
        fail(libc::EINVAL);
        return libc::SIG_ERR;
    }
    let shown = match exchange(signal, new, returns_to) {
        Ok(shown) => shown.handler,
        Err(error) => {
            fail(error);
            return libc::SIG_ERR;
        }
    };
    let mut only = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: makes the set empty, adds a signal, changes the mask of this thread; the one before
    // was written where that did not fail.
    let was_blocked = unsafe {
        libc::sigemptyset(only.as_mut_ptr());
        libc::sigaddset(only.as_mut_ptr(), signal);
        libc::pthread_sigmask(how, only.as_ptr(), before.as_mut_ptr()) == 0
            && libc::sigismember(before.as_ptr(), signal) == 1
    };
    if was_blocked { HOLD } else { shown }
}

extern "C" fn ignore(signal: c_int, returns_to: *const c_void) -> c_int {
    match set_handler(signal, Action::IGNORE, returns_to) {
        libc::SIG_ERR => -1,
        _ => 0,
    }
}

extern "C" fn interrupt(signal: c_int, interrupts: c_int, returns_to: *const c_void) -> c_int {
    let known = exchange(signal, None, returns_to);
    let set = known.and_then(|mut action| {
        if interrupts == 0 {
            INTERRUPT.fetch_and(!bit(signal), Ordering::Relaxed);
            action.flags |= libc::SA_RESTART;
        } else {
            INTERRUPT.fetch_or(bit(signal), Ordering::Relaxed);
            action.flags &= !libc::SA_RESTART;
        }
        // Without a handler of its own there is nothing that it could interrupt.
        if action.is_handler() { exchange(signal, Some(action), returns_to) } else { Ok(action) }
    });
    match set {
        Ok(_) => 0,
        Err(error) => {
            fail(error);
            -1
        }
    }
}

/// A function that passes its arguments on, and after them where it returns to: on x86-64 on top of
/// the stack, on aarch64 in the link register.
macro_rules! stub {
    ($name:ident($($argument:ident: $type:ty),*) -> $answer:ty, $to:path, $x86:literal, $arm:literal) => {
        /// Interposes the function of that name.
        ///
        /// # Safety
        /// As for the function of that name.
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub(super) unsafe extern "C" fn $name($($argument: $type),*) -> $answer {
            #[cfg(target_arch = "x86_64")]
            naked_asm!(
                "endbr64",
                concat!("mov ", $x86, ", [rsp]"),
                "jmp {to}",
                to = sym $to
            );
            #[cfg(target_arch = "aarch64")]
            naked_asm!("hint #34", concat!("mov ", $arm, ", x30"), "b {to}", to = sym $to);
        }
    };
}

type New = *const libc::sigaction;
type Before = *mut libc::sigaction;

stub!(sigaction(signal: c_int, new: New, before: Before) -> c_int, set_action, "rcx", "x3");
stub!(__sigaction(signal: c_int, new: New, before: Before) -> c_int, set_action, "rcx", "x3");
stub!(signal(signal: c_int, handler: usize) -> usize, set_bsd, "rdx", "x2");
stub!(bsd_signal(signal: c_int, handler: usize) -> usize, set_bsd, "rdx", "x2");
stub!(ssignal(signal: c_int, handler: usize) -> usize, set_bsd, "rdx", "x2");
stub!(sysv_signal(signal: c_int, handler: usize) -> usize, set_sysv, "rdx", "x2");
stub!(__sysv_signal(signal: c_int, handler: usize) -> usize, set_sysv, "rdx", "x2");
stub!(sigset(signal: c_int, handler: usize) -> usize, set_or_hold, "rdx", "x2");
stub!(sigignore(signal: c_int) -> c_int, ignore, "rsi", "x1");
stub!(siginterrupt(signal: c_int, interrupts: c_int) -> c_int, interrupt, "rdx", "x2");

/// The functions by the names that a plugin asks for.
pub(super) fn table() -> [(&'static CStr, *const c_void); 10] {
    [
        (c"sigaction", sigaction as *const c_void),
        (c"__sigaction", __sigaction as *const c_void),
        (c"signal", signal as *const c_void),
        (c"bsd_signal", bsd_signal as *const c_void),
        (c"ssignal", ssignal as *const c_void),
        (c"sysv_signal", sysv_signal as *const c_void),
        (c"__sysv_signal", __sysv_signal as *const c_void),
        (c"sigset", sigset as *const c_void),
        (c"sigignore", sigignore as *const c_void),
        (c"siginterrupt", siginterrupt as *const c_void),
    ]
}
