//! No plugin: preloaded, it lets the time of day jump by ten years as soon as the file is there that
//! `HOTSEAT_TEST_CLOCK` names. Other clocks are as they are.
#![expect(unsafe_code, reason = "stands in for a function of the C library")]

use std::ffi::c_long;

const TEN_YEARS: libc::time_t = 10 * 365 * 86_400;

/// # Safety
/// As clock_gettime(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(
    clock: libc::clockid_t,
    time: *mut libc::timespec,
) -> libc::c_int {
    // SAFETY: the caller promises room for the answer.
    let done = unsafe { libc::syscall(libc::SYS_clock_gettime, c_long::from(clock), time) };
    if done != 0 {
        return -1;
    }
    if clock == libc::CLOCK_REALTIME {
        // SAFETY: a text with an end; nobody in the host changes variables.
        let path = unsafe { libc::getenv(c"HOTSEAT_TEST_CLOCK".as_ptr()) };
        // SAFETY: a text with an end.
        if !path.is_null() && unsafe { libc::access(path, libc::F_OK) } == 0 {
            // SAFETY: the kernel has filled it.
            unsafe { (*time).tv_sec += TEN_YEARS };
        }
    }
    0
}
