//! arc-swap: a configuration in a static; each thread that reads has a node in a list of its own.

use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

static SETTINGS: LazyLock<ArcSwap<Vec<u64>>> =
    LazyLock::new(|| ArcSwap::from_pointee((0..1000).collect()));

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let before = SETTINGS.load();
        SETTINGS.store(Arc::new(before.iter().rev().copied().collect()));
        Ok(Response::text(format!("{}\n", SETTINGS.load().len())))
    }
}

export_handler!(Plugin, name = "real");
