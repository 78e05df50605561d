//! Starts a thread that outlives its instance, at the first request.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct Fault;

impl Handler for Fault {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        std::thread::spawn(|| {
            loop {
                std::thread::park();
            }
        });
        Ok(Response::text("leaks_thread_on_call"))
    }
}

export_handler!(Fault);
