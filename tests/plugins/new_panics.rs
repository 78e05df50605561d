//! Its `new` panics.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct Fault;

impl Handler for Fault {
    fn new(_: &Context) -> Result<Self> {
        panic!("the test plugin was asked to panic")
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::text("must never serve"))
    }
}

export_handler!(Fault);
