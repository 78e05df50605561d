//! Answers every call with an error.

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

struct Fault;

impl Handler for Fault {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Err(Error::new("the test plugin has nothing to say"))
    }
}

export_handler!(Fault);
