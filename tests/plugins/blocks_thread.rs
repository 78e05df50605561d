//! Blocks the thread of its request for `?block=SECONDS`, as no handler must.
#![expect(clippy::disallowed_methods, reason = "blocking is the fault")]
use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use std::time::Duration;

struct Fault;

impl Handler for Fault {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        let seconds = request.query().and_then(|it| it.strip_prefix("block="));
        if let Some(seconds) = seconds.and_then(|it| it.parse().ok()) {
            // The fault itself: code that holds its thread.
            std::thread::sleep(Duration::from_secs_f64(seconds));
        }
        Ok(Response::text("blocks_thread"))
    }
}

export_handler!(Fault);
