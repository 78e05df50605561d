//! Has `libneeded.so` listen to signals for it, and answers how many came there; `/stop` has it listen
//! no more. The test gives this library the entry by which the loader brings that one.
#![expect(unsafe_code, reason = "calls another library")]

use std::{
    ffi::{CStr, c_void},
    mem::transmute,
    ptr::NonNull,
};

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

/// Lends the table of names the one that the entry says.
#[unsafe(export_name = "libneeded.so")]
pub static NAME: u8 = 0;

fn find(name: &CStr) -> Result<NonNull<c_void>> {
    // SAFETY: C strings; the handle is given back at once, as the library is held by its entry.
    let found = unsafe {
        let flags = libc::RTLD_NOW | libc::RTLD_NOLOAD;
        let library = libc::dlopen(c"libneeded.so".as_ptr(), flags);
        if library.is_null() {
            return Err(Error::new("`libneeded.so` is not there"));
        }
        let found = libc::dlsym(library, name.as_ptr());
        libc::dlclose(library);
        found
    };
    NonNull::new(found).ok_or_else(|| Error::new("it lacks a function"))
}

fn call(name: &CStr) -> Result<u64> {
    // SAFETY: its functions take nothing, and answer in a register or not at all.
    Ok(unsafe { transmute::<NonNull<c_void>, extern "C" fn() -> u64>(find(name)?) }())
}

struct Needs;

impl Handler for Needs {
    fn new(_: &Context) -> Result<Self> {
        call(c"needed_listen")?;
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        if request.path().ends_with("/stop") {
            call(c"needed_stop")?;
        }
        Ok(Response::text(call(c"needed_heard")?.to_string()))
    }
}

export_handler!(Needs);
