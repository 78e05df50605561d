//! Panics in every call.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct Fault;

impl Handler for Fault {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        panic!("the test plugin was asked to panic")
    }
}

export_handler!(Fault);
