//! Asks the kernel whether anybody has a file open for writing.
//!
//! Owns one use of file leases. Invariant: a lease is given back before the answer, so that no
//! writer waits for it; should one come in between, the signal it costs is one that is ignored by
//! default.
#![expect(unsafe_code, reason = "F_SETLEASE and F_SETSIG have no safe wrapper")]

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

/// Who has a file open for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// Nobody, at the time of the question.
    None,
    /// Somebody.
    Some,
    /// The kernel gives no lease on this file: another owner's, or a file system without leases.
    Unknown,
}

/// Not in `libc` for glibc. Source: fcntl(2), `asm-generic/fcntl.h`.
const F_SETSIG: libc::c_int = 10;

/// Asks about the file behind `file`, which must be open for reading only.
///
/// # Source
/// fcntl(2): a read lease is only given on a file that nobody has open for writing (`EAGAIN`).
#[must_use]
pub fn writers(file: BorrowedFd<'_>) -> Writers {
    let fd = file.as_raw_fd();
    // A lease that is broken sends SIGIO, which ends a process; SIGURG is ignored by default.
    // SAFETY: `fd` is open for the length of the borrow; this call takes a plain number.
    if unsafe { libc::fcntl(fd, F_SETSIG, libc::SIGURG) } == -1 {
        return Writers::Unknown;
    }
    // SAFETY: as above.
    if unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK) } == -1 {
        return match io::Error::last_os_error().raw_os_error() {
            Some(libc::EAGAIN) => Writers::Some,
            _ => Writers::Unknown,
        };
    }
    // SAFETY: as above. It only fails without a lease; then there is nothing to give back.
    let _ = unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK) };
    Writers::None
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{File, OpenOptions},
        os::{fd::AsFd as _, unix::fs::OpenOptionsExt as _},
    };

    use super::*;

    /// `Unknown` is right on a file system without leases; the opposite answer never is.
    #[test]
    fn an_open_writer_is_seen_and_a_closed_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.so");
        let writer = File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        assert_ne!(writers(reader.as_fd()), Writers::None);
        drop(writer);
        assert_ne!(writers(reader.as_fd()), Writers::Some);
    }

    #[test]
    fn the_lease_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.so");
        File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        let _ = writers(reader.as_fd());
        // Without O_NONBLOCK an open would wait for the lease instead of failing.
        OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)
            .expect("no lease is in the way");
    }
}
