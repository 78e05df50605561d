//! Becomes a library by somebody else's hand: a test links it, as a C or C++ project would, with a
//! source of its own that has `next_number`. Says the number that its `new` got, which is 1 where
//! each version has variables of its own.
#![expect(unsafe_code, reason = "calls what it is linked with")]

use std::ffi::c_int;

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

unsafe extern "C" {
    fn next_number() -> c_int;
}

struct Linked(c_int);

impl Handler for Linked {
    fn new(_: &Context) -> Result<Self> {
        // SAFETY: a function without arguments.
        Ok(Self(unsafe { next_number() }))
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::text(format!("number {}", self.0)))
    }
}

export_handler!(Linked);
