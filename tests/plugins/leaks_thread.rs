//! Starts a thread that outlives its instance.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct Fault;

impl Handler for Fault {
    fn new(_: &Context) -> Result<Self> {
        std::thread::spawn(|| {
            loop {
                std::thread::park();
            }
        });
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::text("leaks_thread"))
    }
}

export_handler!(Fault);
