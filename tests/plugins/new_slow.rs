//! Takes its time in `new`, so that a test can act while its preflight runs.

use std::time::{Duration, Instant};

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct NewSlow;

impl Handler for NewSlow {
    fn new(_: &Context) -> Result<Self> {
        let end = Instant::now() + Duration::from_millis(300);
        while let Some(rest) = end.checked_duration_since(Instant::now()) {
            std::thread::park_timeout(rest);
        }
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::text("new_slow"))
    }
}

export_handler!(NewSlow);
