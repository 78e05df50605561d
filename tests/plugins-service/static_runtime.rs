//! Keeps a runtime where nobody drops it: in a static.

use std::sync::LazyLock;

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use tokio::runtime::{Builder, Runtime};

static RUNTIME: LazyLock<Option<Runtime>> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().ok());

struct Careless;

impl Handler for Careless {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let runtime = RUNTIME.as_ref().ok_or("there is no runtime")?;
        Ok(Response::text(runtime.spawn(async { "on a thread of its own" }).await?))
    }
}

export_handler!(Careless);
