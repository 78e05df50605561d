//! No plugin: preloaded, it takes the place of a function of the C library by which the host finds that
//! library, as an allocator takes that of others.
#![expect(unsafe_code, reason = "stands in for a function of the C library")]

/// As getppid(2).
#[unsafe(no_mangle)]
pub extern "C" fn getppid() -> libc::c_int {
    // SAFETY: it has no arguments and always succeeds.
    let parent = unsafe { libc::syscall(libc::SYS_getppid) };
    libc::c_int::try_from(parent).unwrap_or_default()
}
