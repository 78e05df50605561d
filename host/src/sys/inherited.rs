//! Descriptors that this process was born with.
#![expect(unsafe_code, reason = "takes descriptors by their numbers")]

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

/// Takes standard input for itself, and leaves `/dev/null` in its place.
///
/// # Errors
/// It is not open.
pub fn standard_input() -> io::Result<OwnedFd> {
    let taken = fcntl_dupfd_cloexec(io::stdin(), 3)?;
    let null = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(taken)
}

/// Takes a descriptor that whoever started this process left open for it.
///
/// To be called once for each number, before anything else of this process opens descriptors.
///
/// # Errors
/// It is not open.
pub fn take(number: RawFd) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: only asks whether it is open; -1, the one forbidden number, is excluded above.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_setfd(descriptor, FdFlags::CLOEXEC)?;
    // SAFETY: open, as the call before has shown, and nobody else's: see above.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Lets no child have what this process was born with beyond the standard streams, also what it
/// does not know of.
pub fn keep_all() {
    // SAFETY: closes nothing; a kernel that does not know the call (before 5.11) changes nothing.
    unsafe { libc::close_range(3, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) };
}

/// Source: `linux/close_range.h`.
const CLOSE_RANGE_CLOEXEC: libc::c_int = 1 << 2;

/// Leaves a descriptor open for the next image of this process; its number.
///
/// # Errors
/// The system's own.
pub fn leave(descriptor: BorrowedFd<'_>) -> io::Result<RawFd> {
    fcntl_setfd(descriptor, FdFlags::empty())?;
    Ok(descriptor.as_raw_fd())
}
