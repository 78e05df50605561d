//! Answers what `libcompanion.so.1` says. The test gives this library the entries by which the loader
//! brings that one, and where it is to look for it.
#![expect(unsafe_code, reason = "calls another library")]

use std::{
    ffi::{CStr, c_char},
    mem::transmute,
    ptr::NonNull,
};

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

/// Lends the table of names the one of the library that is needed.
#[used]
// SAFETY: no code has this name.
#[unsafe(export_name = "libcompanion.so.1")]
static NAME: u8 = 0;

/// Lends the table of names the room for a path.
#[used]
// SAFETY: no code has this name.
#[unsafe(export_name = "room_for_a_path_________________________________________________________________________________________________")]
static ROOM: u8 = 0;

fn ask() -> Result<String> {
    // SAFETY: C strings; the handle is given back at once, as the library is held by its entry.
    let found = unsafe {
        let flags = libc::RTLD_NOW | libc::RTLD_NOLOAD;
        let library = libc::dlopen(c"libcompanion.so.1".as_ptr(), flags);
        if library.is_null() {
            return Err(Error::new("`libcompanion.so.1` is not there"));
        }
        let found = libc::dlsym(library, c"companion".as_ptr());
        libc::dlclose(library);
        found
    };
    let found = NonNull::new(found).ok_or_else(|| Error::new("it lacks a function"))?;
    // SAFETY: it takes nothing, and answers with a text of its own.
    let text = unsafe {
        let companion = transmute::<NonNull<_>, extern "C" fn() -> *const c_char>(found);
        CStr::from_ptr(companion())
    };
    Ok(text.to_string_lossy().into_owned())
}

struct Companion;

impl Handler for Companion {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::text(ask()?))
    }
}

export_handler!(Companion);
