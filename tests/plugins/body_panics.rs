//! Answers a good head and a first piece, and panics in the middle of the body.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct Fault;

impl Handler for Fault {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::streaming(|mut out| async move {
            out.send("so far so good").await;
            panic!("the test plugin was asked to panic in its body")
        }))
    }
}

export_handler!(Fault);
