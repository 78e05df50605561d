//! Never answers, and nothing ever wakes it; `/stream` sends its head and one piece before.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct Fault;

impl Handler for Fault {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        if request.path() == "/stream" {
            return Ok(Response::streaming(|mut out| async move {
                out.send("begun;").await;
                std::future::pending().await
            }));
        }
        std::future::pending().await
    }
}

export_handler!(Fault);
