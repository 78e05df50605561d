//! Its `new` fails only outside the preflight.

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

struct Fault;

impl Handler for Fault {
    fn new(context: &Context) -> Result<Self> {
        if context.is_preflight() { Ok(Self) } else { Err(Error::new("not in this house")) }
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::text("must never serve"))
    }
}

export_handler!(Fault);
