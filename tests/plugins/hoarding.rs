//! Answers as `versioned` does, and keeps 1 MiB in a static since its first request.

use std::sync::OnceLock;

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};
use hotseat_test_plugins::versioned_body;

static KEPT: OnceLock<Vec<u8>> = OnceLock::new();

struct Hoarding {
    text: String,
}

impl Handler for Hoarding {
    fn new(context: &Context) -> Result<Self> {
        Ok(Self { text: versioned_body(context.label()) })
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        request.body().bytes(64 << 10).await?;
        let kept = KEPT.get_or_init(|| vec![7; 1 << 20]);
        match kept.last() {
            Some(7) => Ok(Response::text(self.text.clone())),
            _ => Err(Error::new("it does not keep what was written")),
        }
    }
}

export_handler!(Hoarding);
