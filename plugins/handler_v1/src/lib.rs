//! A greeting that tells which version gave it.
//!
//! `curl localhost:8080` asks for it; `curl 'localhost:8080/?sleep=20'` gets it 20 seconds
//! later, which leaves time to swap versions while a request is on its way.

use std::time::Duration;

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct Greeting;

impl Handler for Greeting {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        if let Some(wish) = request.query_value("sleep") {
            let seconds = wish.parse().ok();
            let Some(wait) = seconds.and_then(|it| Duration::try_from_secs_f64(it).ok()) else {
                let text = format!("`sleep={wish}` is no number of seconds\n");
                return Ok(Response::text(text).with_status(400));
            };
            request.context().sleep(wait).await;
        }
        let pid = std::process::id();
        Ok(Response::text(format!("hello from handler v1 (pid {pid})\n")))
    }
}

export_handler!(Greeting);
