//! Makes a key by POSIX's function and one by C11's, whose destructors lie in the C library, leaves
//! the second and deletes the first at its end. By then the host has deleted both: code that a
//! thread's end could still call would be unmapped next.
#![expect(unsafe_code, reason = "calls the C library")]

use std::{
    ffi::{c_int, c_void},
    sync::atomic::{AtomicU32, Ordering},
};

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

type Dtor = unsafe extern "C" fn(*mut c_void);

unsafe extern "C" {
    fn tss_create(key: *mut u32, dtor: Dtor) -> c_int;
}

static FIRST: AtomicU32 = AtomicU32::new(u32::MAX);
static SECOND: AtomicU32 = AtomicU32::new(u32::MAX);

#[used]
// SAFETY: the section holds pointers to functions like this one.
#[unsafe(link_section = ".fini_array")]
static AT_END: extern "C" fn() = delete_first;

extern "C" fn delete_first() {
    let left = SECOND.load(Ordering::Relaxed);
    // SAFETY: a key that is gone is an error of this call's; `free` passes over null.
    if left != u32::MAX && unsafe { libc::pthread_setspecific(left, std::ptr::null()) } == 0 {
        std::process::abort();
    }
    let key = FIRST.load(Ordering::Relaxed);
    // SAFETY: only this library knows the key.
    if key != u32::MAX && unsafe { libc::pthread_key_delete(key) } != 0 {
        std::process::abort();
    }
}

struct Fault;

impl Handler for Fault {
    fn new(_: &Context) -> Result<Self> {
        // SAFETY: the variable lives as long as the library; `free` is a destructor.
        let first = unsafe { libc::pthread_key_create(FIRST.as_ptr(), Some(libc::free)) };
        // SAFETY: as above.
        let second = unsafe { tss_create(SECOND.as_ptr(), libc::free) };
        if (first, second) == (0, 0) {
            Ok(Self)
        } else {
            Err(Error::new(format!("no key: {first}, {second}")))
        }
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let of = |key: &AtomicU32| key.load(Ordering::Relaxed);
        Ok(Response::text(format!("keys {} {}", of(&FIRST), of(&SECOND))))
    }
}

export_handler!(Fault);
