//! Waiting for a descriptor in a runtime.
#![expect(unsafe_code, reason = "tokio wants a promise about the descriptor")]

use std::{io, os::fd::OwnedFd};

use tokio::io::{Interest, unix::AsyncFd};

/// Registers `descriptor` with the runtime of the calling thread, to wait until it is readable.
///
/// # Errors
/// The system's own.
///
/// # Panics
/// Outside a runtime.
pub fn readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` always returns the same descriptor, and keeps it open until it is
    // dropped, which `AsyncFd` does after it has deregistered it.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?)
}

/// The same, to wait until it can be written to.
///
/// # Errors
/// The system's own.
///
/// # Panics
/// Outside a runtime.
pub fn writable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: as above.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, Interest::WRITABLE) }?)
}
