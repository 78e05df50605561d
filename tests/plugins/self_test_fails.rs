//! Its self-test says no.

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

struct Fault;

impl Handler for Fault {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::text("must never serve"))
    }

    async fn self_test(&self) -> Result<()> {
        Err(Error::new("the test plugin does not feel well"))
    }
}

export_handler!(Fault);
