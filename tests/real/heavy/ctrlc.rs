//! ctrlc: a handler for SIGINT.
//! Note: its thread waits for the signal and never ends.
//! Recipe: tokio's signals, or signal-hook's iterator closed in `stop`.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        ctrlc::set_handler(|| {})?;
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::text("waits for SIGINT\n"))
    }
}

export_handler!(Plugin, name = "real");
