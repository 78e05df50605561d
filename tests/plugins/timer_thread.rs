//! Has a timer call a function on a thread of its own every other millisecond, and never stops it.
//! Answers how often that was.
#![expect(unsafe_code, reason = "calls the C library")]

use std::{
    cell::Cell,
    ffi::c_void,
    ptr,
    sync::atomic::{AtomicU64, Ordering},
};

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};
use hotseat_test_plugins::ThreadEvent;

static CALLED: AtomicU64 = AtomicU64::new(0);

/// Its destructor stands in this library.
struct Noted(Cell<u64>);

impl Drop for Noted {
    fn drop(&mut self) {
        CALLED.fetch_add(self.0.get(), Ordering::Relaxed);
    }
}

thread_local! {
    static NOTED: Noted = const { Noted(Cell::new(0)) };
}

extern "C" fn called(_: *mut c_void) {
    NOTED.with(|it| it.0.set(1));
}

struct Timer;

impl Handler for Timer {
    fn new(_: &Context) -> Result<Self> {
        let mut event = ThreadEvent::new(called, ptr::null_mut());
        let mut timer = ptr::null_mut();
        let time = libc::timespec { tv_sec: 0, tv_nsec: 2_000_000 };
        let often = libc::itimerspec { it_interval: time, it_value: time };
        // SAFETY: an event of glibc's own layout, room for a timer, and a time.
        let rc = unsafe {
            match libc::timer_create(libc::CLOCK_MONOTONIC, (&raw mut event).cast(), &raw mut timer)
            {
                0 => libc::timer_settime(timer, 0, &raw const often, ptr::null_mut()),
                failed => failed,
            }
        };
        if rc == 0 { Ok(Self) } else { Err(Error::from(std::io::Error::last_os_error())) }
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::text(CALLED.load(Ordering::Relaxed).to_string()))
    }
}

export_handler!(Timer);
