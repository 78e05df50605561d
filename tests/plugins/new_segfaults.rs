//! Its `new` dies on a signal.
#![expect(unsafe_code, reason = "the fault is the purpose")]
use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct Fault;

impl Handler for Fault {
    fn new(_: &Context) -> Result<Self> {
        // SAFETY: none; the fault is the purpose.
        unsafe { std::ptr::null_mut::<u8>().write_volatile(1) };
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::text("must never serve"))
    }
}

export_handler!(Fault);
