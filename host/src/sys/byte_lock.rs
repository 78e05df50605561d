//! Locks on single bytes of a file, between processes.
//!
//! Owns one use of record locks (fcntl(2), `F_SETLK`). They belong to the process, so that the kernel
//! takes them back at its end whatever it had begun, and whatever it has forked: a child that
//! inherits the descriptor has no part in them, unlike with `flock` and locks of an open file.
//! The price: any close of the file by its process lets all of them go, so a process has one
//! descriptor of it, and keeps that.
#![expect(unsafe_code, reason = "locks of a range have no safe wrapper")]

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

/// A lock that is held until dropped.
#[derive(Debug)]
#[must_use = "it is let go when this is dropped"]
pub struct ByteLock<'a> {
    file: BorrowedFd<'a>,
    at: u64,
}

impl<'a> ByteLock<'a> {
    /// Takes the lock on the byte at `at`, unless another process has it: `None`. Threads of one
    /// process do not keep each other out.
    ///
    /// # Errors
    /// The system's own.
    pub fn take(file: BorrowedFd<'a>, at: u64) -> io::Result<Option<Self>> {
        Self::of(file, at, libc::F_WRLCK)
    }

    /// The same for one that only reads, of which there may be several; the file need not be open for
    /// more.
    ///
    /// # Errors
    /// The system's own.
    pub fn share(file: BorrowedFd<'a>, at: u64) -> io::Result<Option<Self>> {
        Self::of(file, at, libc::F_RDLCK)
    }

    fn of(file: BorrowedFd<'a>, at: u64, kind: libc::c_int) -> io::Result<Option<Self>> {
        loop {
            match set(file, at, kind) {
                Ok(()) => return Ok(Some(Self { file, at })),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN | libc::EACCES) => return Ok(None),
                    Some(libc::EINTR) => {}
                    _ => return Err(error),
                },
            }
        }
    }
}

impl Drop for ByteLock<'_> {
    fn drop(&mut self) {
        // It only fails where there is nothing to let go.
        let _ = set(self.file, self.at, libc::F_UNLCK);
    }
}

fn set(file: BorrowedFd<'_>, at: u64, kind: libc::c_int) -> io::Result<()> {
    let start = libc::off_t::try_from(at).map_err(io::Error::other)?;
    // SAFETY: plain numbers, for which zeros are as good as any.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    (lock.l_start, lock.l_len) = (start, 1);
    lock.l_type = libc::c_short::try_from(kind).map_err(io::Error::other)?;
    lock.l_whence = libc::c_short::try_from(libc::SEEK_SET).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for the length of the borrow, and the struct is only read.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader, Write as _},
        os::fd::AsFd as _,
        process::{Command, Stdio},
    };

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    const VICTIM: &str = "HOTSEAT_TEST_LOCK_VICTIM";

    /// No test by itself: takes the lock on its standard input, forks a child that stays, says which,
    /// and waits for its end.
    #[test]
    fn victim() {
        if std::env::var_os(VICTIM).is_none() {
            return;
        }
        let file = std::io::stdin();
        let _held = ByteLock::take(file.as_fd(), 7).unwrap().expect("it is free");
        // SAFETY: the child only waits.
        let child = unsafe { libc::fork() };
        if child != 0 {
            writeln!(std::io::stderr(), "{child}").unwrap();
        }
        loop {
            // SAFETY: no arguments.
            unsafe { libc::pause() };
        }
    }

    /// Unlike one that belongs to the open file, which the child has as well.
    #[test]
    fn it_goes_with_its_process_whatever_that_has_forked() {
        let file = tempfile::tempfile().unwrap();
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sys::byte_lock::tests::victim", "--nocapture"])
            .env(VICTIM, "1")
            .stdin(Stdio::from(file.try_clone().unwrap()))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(victim.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let child = Pid::from_raw(line.trim().parse().unwrap()).unwrap();
        let take = |at| ByteLock::take(file.as_fd(), at).unwrap();
        assert!(take(7).is_none(), "another process has it");
        assert!(take(8).is_some(), "another byte is free");
        assert!(ByteLock::share(file.as_fd(), 7).unwrap().is_none(), "it is not shared");
        victim.kill().unwrap();
        victim.wait().unwrap();
        let taken = take(7);
        kill_process(child, Signal::KILL).unwrap();
        assert!(taken.is_some(), "its child lives, and has no part in it");
    }
}
