//! Passes its preflight and panics where it counts: in the serving process.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct Fault;

impl Handler for Fault {
    fn new(context: &Context) -> Result<Self> {
        assert!(context.is_preflight(), "the test plugin was asked to panic");
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::text("must never serve"))
    }
}

export_handler!(Fault);
