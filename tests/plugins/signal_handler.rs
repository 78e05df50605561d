//! Installs signal handlers of its own before its first call, forgets a timer that raises one of
//! them, and takes nothing away.
#![expect(unsafe_code, reason = "a constructor is placed in `.init_array` by hand")]

use std::{mem::MaybeUninit, ptr};

hotseat_test_plugins::plain!("signal_handler");

// SAFETY: the loader calls what stands in `.init_array` once, with arguments nobody reads here.
#[unsafe(link_section = ".init_array")]
#[used]
static CONSTRUCTOR: extern "C" fn() = constructor;

extern "C" fn on_signal(_: libc::c_int) {}

extern "C" fn constructor() {
    // Its default ends the process.
    let mortal = libc::SIGRTMIN() + 3;
    for signal in [libc::SIGWINCH, libc::SIGURG, mortal] {
        // SAFETY: a zeroed `sigaction` with a handler is complete; the handler does nothing.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as *const () as usize;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(signal, &raw const action, ptr::null_mut());
        }
    }
    let mut timer = ptr::null_mut();
    // SAFETY: zeroed structures are valid; the timer is the process's and nobody's memory.
    unsafe {
        let mut event = MaybeUninit::<libc::sigevent>::zeroed().assume_init();
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = mortal;
        libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer);
        let time = libc::timespec { tv_sec: 0, tv_nsec: 2_000_000 };
        let often = libc::itimerspec { it_interval: time, it_value: time };
        libc::timer_settime(timer, 0, &raw const often, ptr::null_mut());
    }
}
