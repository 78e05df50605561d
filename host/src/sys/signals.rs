//! Signals as something to read: blocked for the process, taken from a descriptor.
//!
//! For a process with one thread that acts. A blocked signal stays pending across `execve`, so none is lost
//! when the process goes over to another image.
#![expect(unsafe_code, reason = "signal masks and signalfd are only reachable through libc")]

use std::{
    io,
    mem::{MaybeUninit, size_of},
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::Command,
};

/// A signal that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its number.
    pub signal: i32,
    /// Who sent it; 0 for the kernel and for senders outside this PID namespace.
    pub sender: u32,
    /// The sender's user.
    pub user: u32,
    /// Not a process but the kernel itself has sent it.
    pub by_kernel: bool,
}

/// Where the signals of this process arrive.
#[derive(Debug)]
pub struct Signals {
    descriptor: OwnedFd,
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset fills the set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for signal in signals {
        // SAFETY: the set is filled; a number that is no signal changes nothing.
        unsafe { libc::sigaddset(set.as_mut_ptr(), *signal) };
    }
    // SAFETY: filled above.
    unsafe { set.assume_init() }
}

impl Signals {
    /// Blocks `signals` for the calling thread, and takes them from now on. Every other thread must
    /// block them already (see [`without_signals`]): what is meant for the process goes to any that
    /// does not.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn take(signals: &[i32]) -> io::Result<Self> {
        // Whoever started us may have ignored it, and then no child's end would ever be told.
        // SAFETY: the default action of a signal; no handler of ours is replaced.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
        let set = set_of(signals);
        // SAFETY: a valid set; nobody wants the one before.
        let blocked =
            unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if blocked != 0 {
            return Err(io::Error::last_os_error());
        }
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: -1 makes a new descriptor.
        let descriptor = unsafe { libc::signalfd(-1, &raw const set, flags) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made, owned by nobody else.
        Ok(Self { descriptor: unsafe { OwnedFd::from_raw_fd(descriptor) } })
    }

    /// The next signal, if one has come.
    #[must_use]
    pub fn next(&self) -> Option<Taken> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: room for one record.
        let read =
            unsafe { libc::read(self.descriptor.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        if usize::try_from(read) != Ok(size) {
            return None;
        }
        // SAFETY: the kernel has filled a whole record.
        let info = unsafe { info.assume_init() };
        let by_kernel = info.ssi_code == libc::SI_KERNEL;
        Some(Taken {
            signal: info.ssi_signo.cast_signed(),
            sender: info.ssi_pid,
            user: info.ssi_uid,
            by_kernel,
        })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Makes writing to a pipe that nobody reads an error, as it is from the start of a program.
///
/// For after an `exec` that has failed, which has undone it. Source: std's `Command::exec`.
pub fn ignore_broken_pipes() {
    // SAFETY: sets an action, and no handler of ours is replaced.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Runs `work` while no signal is delivered to the calling thread. A thread that it starts never gets
/// one: what is meant for the process goes to those that wait for it.
pub fn without_signals<T>(work: impl FnOnce() -> T) -> T {
    let mut all = MaybeUninit::uninit();
    // SAFETY: sigfillset fills the set.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    let mut before = set_of(&[]);
    // SAFETY: filled above; `before` has room for the mask.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), &raw mut before) };
    let done = work();
    // SAFETY: the mask that this thread had.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut()) };
    done
}

/// Makes writing beyond a limit on the size of files, and to a terminal from its background, what
/// writing to a full disk is: an error, or nothing at all, but no end and no stop. Source: write(2),
/// setrlimit(2), termios(3).
pub fn ignore_writing() {
    for signal in [libc::SIGXFSZ, libc::SIGTTOU] {
        // SAFETY: sets an action, and no handler of ours is replaced.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Lets the child of `command` begin with no signal blocked.
pub fn unblock_in_child(command: &mut Command) {
    let none = set_of(&[]);
    // SAFETY: sigprocmask is async-signal-safe, and nothing else is done between fork and exec.
    unsafe {
        command.pre_exec(move || {
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_is_read_and_a_child_does_not_inherit_the_block() {
        // A thread of its own, so that no other test sees the mask.
        std::thread::spawn(|| {
            let signals = Signals::take(&[libc::SIGUSR1]).unwrap();
            assert_eq!(signals.next(), None);
            let this = rustix::thread::gettid();
            // SAFETY: to this thread, where the signal is blocked.
            unsafe {
                libc::syscall(
                    libc::SYS_tgkill,
                    std::process::id(),
                    this.as_raw_nonzero().get(),
                    libc::SIGUSR1,
                )
            };
            let taken = signals.next().unwrap();
            assert_eq!((taken.signal, taken.sender), (libc::SIGUSR1, std::process::id()));
            let mut child = Command::new("sh");
            child.args(["-c", "kill -USR1 $$; exit 3"]);
            unblock_in_child(&mut child);
            assert!(child.status().unwrap().code().is_none(), "the signal ended it");
        })
        .join()
        .unwrap();
    }
}
