//! Answers a long text that is made of its label, after it has read the request's body.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use hotseat_test_plugins::versioned_body;

struct Versioned {
    text: String,
}

impl Handler for Versioned {
    fn new(context: &Context) -> Result<Self> {
        Ok(Self { text: versioned_body(context.label()) })
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        request.body().bytes(64 << 10).await?;
        Ok(Response::text(self.text.clone()))
    }
}

export_handler!(Versioned);
