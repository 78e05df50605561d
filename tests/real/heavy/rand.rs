//! rand 0.8: each thread's own generator, which has a function called around fork.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use rand::Rng as _;

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let number: u32 = rand::thread_rng().gen_range(1..=6);
        Ok(Response::text(format!("{}\n", (1..=6).contains(&number))))
    }
}

export_handler!(Plugin, name = "real");
