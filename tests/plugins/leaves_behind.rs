//! Each load of it leaves two sockets and 40 KiB of C's heap behind; a request leaves 64 KiB
//! and a descriptor more. Refuses to be tried (`self_test`) twice in one process.
#![expect(unsafe_code, reason = "allocates what nobody frees")]

use std::{
    ffi::CStr,
    os::{
        fd::IntoRawFd as _,
        unix::net::{UnixDatagram, UnixStream},
    },
    ptr,
};

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

/// A variable of the process, because statics go with the library.
const TRIED: &CStr = c"HOTSEAT_TEST_TRIED";

struct Leaves;

fn leave(bytes: usize) {
    // SAFETY: any size may be asked for.
    let memory = unsafe { libc::malloc(bytes) };
    // SAFETY: that many bytes are there, if any.
    unsafe { ptr::write_bytes(memory.cast::<u8>(), 1, if memory.is_null() { 0 } else { bytes }) };
}

impl Handler for Leaves {
    fn new(_: &Context) -> Result<Self> {
        // Closed by nobody.
        let _ = (UnixDatagram::unbound()?.into_raw_fd(), UnixDatagram::unbound()?.into_raw_fd());
        leave(40 << 10);
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let _ = UnixStream::pair()?.0.into_raw_fd();
        leave(64 << 10);
        Ok(Response::text("leaves_behind"))
    }

    async fn self_test(&self) -> Result<()> {
        // SAFETY: the name is a C string.
        if !unsafe { libc::getenv(TRIED.as_ptr()) }.is_null() {
            return Err(Error::new("it is tried a second time"));
        }
        // SAFETY: two C strings; a preflight child has no other thread that reads variables now.
        unsafe { libc::setenv(TRIED.as_ptr(), c"1".as_ptr(), 1) };
        Ok(())
    }
}

export_handler!(Leaves);
