//! Calls tokio's functions without a runtime: at once, or in `new`, as its configuration says.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct NoRuntime;

impl Handler for NoRuntime {
    fn new(context: &Context) -> Result<Self> {
        if context.config().is_some_and(|text| text.contains("in_new")) {
            tokio::spawn(async {});
        }
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        tokio::spawn(async {});
        Ok(Response::empty())
    }
}

export_handler!(NoRuntime);
