//! Keeps the process fit for the host's own work, whatever a plugin has done to it.
//!
//! A plugin shares limits and the standard streams with the host. What it takes away is given back
//! here; what it adds (a higher limit) is left alone. Signal actions it has of its own
//! (`hotseat_unload`); here the host gets those that it needs. Entry points: [`note`] once the
//! host's own handlers are in place, [`put_back`] now and then, and before whatever depends on it.
//! Invariant: nothing that is put back was not there, or not the system's rule, at the start.
#![expect(unsafe_code, reason = "signal actions and masks are only reachable through libc")]

use std::{
    ffi::c_int,
    fs,
    mem::MaybeUninit,
    os::fd::{AsRawFd, IntoRawFd as _, OwnedFd},
    ptr,
};

use hotseat_unload::action::with;

use super::start::start;

/// Numbers below are no signals, and those above are real-time ones, which the host does not use.
const SIGNALS: std::ops::RangeInclusive<c_int> = 1..=31;

/// Those whose default is to end the process although nothing is wrong with it: somebody's timer,
/// or input that nobody waits for.
const HARMLESS: [c_int; 4] = [libc::SIGALRM, libc::SIGVTALRM, libc::SIGPROF, libc::SIGIO];

/// Remembers what the host has, and takes the sting out of signals that nobody waits for. Once, when
/// the host's own handlers are in place and no plugin has run.
pub fn note() {
    start();
    for signal in HARMLESS {
        if is_default(signal) {
            let nothing: extern "C" fn(c_int) = ignore;
            // A handler and not `SIG_IGN`, which children would inherit.
            set(signal, nothing as usize, libc::SA_RESTART);
        }
    }
    for signal in ERRORS.into_iter().filter(|it| is_default(*it)) {
        set(signal, libc::SIG_IGN, 0);
    }
    // Else nobody is told how a child has ended.
    if action(libc::SIGCHLD).is_some_and(|it| it.sa_sigaction == libc::SIG_IGN) {
        set(libc::SIGCHLD, libc::SIG_DFL, 0);
    }
}

extern "C" fn ignore(_: c_int) {}

/// Whose default is to end the process where an error of a write is meant.
const ERRORS: [c_int; 2] = [libc::SIGPIPE, libc::SIGXFSZ];

/// Gives the host back what it needs, and says what that was.
pub fn put_back() {
    for found in restore() {
        tracing::warn!("{found} by a plugin: put back");
    }
}

fn restore() -> impl Iterator<Item = String> {
    let lowered =
        start().raise_limits().into_iter().map(|it| format!("the limit {it:?} was lowered"));
    let closed = (0..=2).filter(|number| reopen(*number)).map(|number| {
        let names = ["input", "output", "error"];
        format!("standard {} was closed", names[usize::try_from(number).unwrap_or(0)])
    });
    lowered.chain(closed)
}

/// Whether it has the number of a standard stream, which a plugin must have closed.
pub fn is_stream(descriptor: &impl AsRawFd) -> bool {
    descriptor.as_raw_fd() <= libc::STDERR_FILENO
}

/// The same with a number that is no standard stream's: what is printed would go there.
///
/// # Errors
/// It is one, and no other is left.
pub fn beyond_streams(descriptor: OwnedFd) -> rustix::io::Result<OwnedFd> {
    if !is_stream(&descriptor) {
        return Ok(descriptor);
    }
    rustix::io::fcntl_dupfd_cloexec(&descriptor, libc::STDERR_FILENO + 1)
}

/// Opens a standard stream that somebody has closed: else the next descriptor of all has its number,
/// and whatever is printed goes there. Nobody reads what is printed from then on; the log has a
/// descriptor of its own.
fn reopen(number: c_int) -> bool {
    // SAFETY: only asks.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0 {
        return false;
    }
    let null = fs::File::options().read(true).write(true).open("/dev/null");
    let Ok(null) = null else { return false };
    if null.as_raw_fd() == number {
        // The number is where it belongs, and is not closed again.
        let _ = null.into_raw_fd();
        // SAFETY: just opened; children have it too, as they have every stream.
        unsafe { libc::fcntl(number, libc::F_SETFD, 0) };
        return true;
    }
    // The lowest that is free, and never one that is in use meanwhile.
    // SAFETY: a copy of an open descriptor.
    let copy = unsafe { libc::fcntl(null.as_raw_fd(), libc::F_DUPFD, number) };
    if copy > number {
        // SAFETY: just made here, and nobody else's.
        unsafe { libc::close(copy) };
    }
    copy == number
}

/// Makes writing to a pipe or connection that nobody reads an error on this thread, also while
/// somebody has SIGPIPE set to end the process.
pub fn block_broken_pipes() {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset fills the set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: filled above.
    unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGPIPE) };
    // SAFETY: a valid set; nobody wants the one before.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut()) };
}

/// Begins with no signal blocked and none ignored but what makes an error of a write: for a child,
/// which inherits both from whatever its parent has become.
pub fn begin_anew() {
    let mut none = MaybeUninit::uninit();
    // SAFETY: sigemptyset fills the set.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: a valid set; nobody wants the one before.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()) };
    let ignored =
        |signal: &c_int| action(*signal).is_some_and(|it| it.sa_sigaction == libc::SIG_IGN);
    for signal in SIGNALS.filter(|it| !ERRORS.contains(it)).filter(ignored) {
        set(signal, libc::SIG_DFL, 0);
    }
}

fn is_default(signal: c_int) -> bool {
    action(signal).is_some_and(|it| it.sa_sigaction == libc::SIG_DFL)
}

fn action(signal: c_int) -> Option<libc::sigaction> {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a null action only asks; `action` has room for the answer.
    let rc = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: 0 means that the answer was written.
    (rc == 0).then(|| unsafe { action.assume_init() })
}

fn set(signal: c_int, handler: usize, flags: c_int) {
    let action = with(handler, flags);
    // SAFETY: a rule of the system, or a handler of the type that goes without `SA_SIGINFO`.
    unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
}
