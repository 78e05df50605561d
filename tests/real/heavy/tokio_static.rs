//! tokio: a runtime in a static.
//! Note: nobody drops a static, so its threads never end.
//! Recipe: keep the `Runtime` in the handler; dropping it ends its threads.

use std::sync::LazyLock;

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use tokio::runtime::Runtime;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("threads to be made"));

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let sum = RUNTIME.spawn(async { (1..=100).sum::<u32>() }).await?;
        Ok(Response::text(format!("{sum}\n")))
    }
}

export_handler!(Plugin, name = "real");
