//! Starts a thread by C11's function that outlives its instance.
#![expect(unsafe_code, reason = "calls the C library")]

use std::ffi::{c_int, c_void};

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

unsafe extern "C" {
    fn thrd_create(
        thread: *mut libc::pthread_t,
        routine: unsafe extern "C" fn(*mut c_void) -> c_int,
        argument: *mut c_void,
    ) -> c_int;
}

unsafe extern "C" fn wait(_: *mut c_void) -> c_int {
    loop {
        std::thread::park();
    }
}

struct Fault;

impl Handler for Fault {
    fn new(_: &Context) -> Result<Self> {
        let mut thread = 0;
        // SAFETY: the routine may run on any thread.
        let rc = unsafe { thrd_create(&raw mut thread, wait, std::ptr::null_mut()) };
        if rc == 0 { Ok(Self) } else { Err(Error::new(format!("thrd_create: {rc}"))) }
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::text("leaks_c11_thread"))
    }
}

export_handler!(Fault);
