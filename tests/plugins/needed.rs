//! No plugin, but what `needs` needs: a library that handles signals on behalf of whoever asks, and
//! answers how many came.
#![expect(unsafe_code, reason = "a signal handler is the purpose")]

use std::{
    arch::naked_asm,
    ffi::c_int,
    sync::atomic::{AtomicU64, Ordering},
};

const _: () = assert!(libc::SIGWINCH == 28, "the number in `needed_stop`");

static HEARD: AtomicU64 = AtomicU64::new(0);

extern "C" fn count(_: c_int) {
    HEARD.fetch_add(1, Ordering::Relaxed);
}

/// Listens to SIGWINCH.
#[unsafe(no_mangle)]
pub extern "C" fn needed_listen() {
    let count: extern "C" fn(c_int) = count;
    // SAFETY: a handler of this kind.
    unsafe { libc::signal(libc::SIGWINCH, count as usize) };
}

/// Listens no more, in tail position, as compilers like it: the call returns into whoever asks.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub extern "C" fn needed_stop() {
    #[cfg(target_arch = "x86_64")]
    naked_asm!("mov edi, 28", "xor esi, esi", "jmp {set}@PLT", set = sym libc::signal);
    #[cfg(target_arch = "aarch64")]
    naked_asm!("mov w0, #28", "mov x1, xzr", "b {set}", set = sym libc::signal);
}

/// How many came.
#[unsafe(no_mangle)]
pub extern "C" fn needed_heard() -> u64 {
    HEARD.load(Ordering::Relaxed)
}
