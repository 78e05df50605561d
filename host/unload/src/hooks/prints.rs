//! What a library's code writes to the standard streams.
//!
//! Both streams are the process's: who has written what can only be told where it is written. Whatever
//! prints through the C library's own streams (`printf`) is not seen here and is nobody's.

use std::{
    ffi::{c_int, c_void},
    io, slice,
    sync::OnceLock,
};

use super::{blame::running_tag, real, signals};

/// Who is asked to write what a library prints: to which descriptor (1 or 2), what, and the library's
/// tag. How much of it was written; `None`: it goes its usual way. It may only do what a signal
/// handler may.
pub type Printer = fn(c_int, &[u8], u64) -> Option<io::Result<usize>>;

static PRINTER: OnceLock<Printer> = OnceLock::new();

/// Names the printer, once a process; a second one is not asked.
pub fn set_printer(printer: Printer) {
    let _ = PRINTER.set(printer);
}

fn print(fd: c_int, text: &[u8]) -> Option<io::Result<usize>> {
    let printer = PRINTER.get()?;
    let tag = running_tag();
    // A child that a library has forked has the streams as well, and nobody who reads for it.
    (tag != 0 && signals::is_here()).then(|| printer(fd, text, tag)).flatten()
}

/// Interposes a write. `C-unwind`, because a thread that is cancelled unwinds from it.
///
/// # Safety
/// As for the function of that name.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn write(
    fd: c_int,
    bytes: *const c_void,
    count: usize,
) -> isize {
    let is_printed = matches!(fd, libc::STDOUT_FILENO | libc::STDERR_FILENO);
    // The -1 of a read that failed is the kernel's to refuse.
    if is_printed && !bytes.is_null() && (1..=isize::MAX.cast_unsigned()).contains(&count) {
        // SAFETY: not null, and as many as the caller says.
        let text = unsafe { slice::from_raw_parts(bytes.cast::<u8>(), count) };
        match print(fd, text) {
            None => {}
            Some(Ok(written)) => return written.cast_signed(),
            Some(Err(error)) => {
                // SAFETY: the calling thread's own.
                unsafe { *libc::__errno_location() = error.raw_os_error().unwrap_or(libc::EIO) };
                return -1;
            }
        }
    }
    match real::write() {
        // SAFETY: as the caller says.
        Some(real) => unsafe { real(fd, bytes, count) },
        None => {
            // SAFETY: as above; it sets errno as that does.
            let written = unsafe { libc::syscall(libc::SYS_write, fd, bytes, count) };
            isize::try_from(written).unwrap_or(-1)
        }
    }
}
