//! moka: a cache with a time to live in a static.

use std::{sync::LazyLock, time::Duration};

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use moka::sync::Cache;

static KNOWN: LazyLock<Cache<String, usize>> = LazyLock::new(|| {
    Cache::builder().max_capacity(1000).time_to_live(Duration::from_secs(60)).build()
});

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        let length = KNOWN.get_with(request.path().to_owned(), || request.path().len());
        Ok(Response::text(format!("{length}\n")))
    }
}

export_handler!(Plugin, name = "real");
