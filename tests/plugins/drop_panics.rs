//! The future of every call panics when it is dropped.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the test plugin was asked to panic in a drop");
    }
}

struct Fault;

impl Handler for Fault {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let _bomb = Bomb;
        std::future::pending().await
    }
}

export_handler!(Fault);
