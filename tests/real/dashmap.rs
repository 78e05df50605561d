//! dashmap: a map in a static that grows with the requests.

use std::sync::LazyLock;

use dashmap::DashMap;
use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

static SEEN: LazyLock<DashMap<u64, String>> = LazyLock::new(DashMap::new);

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        let next = SEEN.len() as u64;
        SEEN.insert(next, format!("{} {}", request.method(), request.path()));
        Ok(Response::text(format!("{}\n", SEEN.get(&next).is_some_and(|it| !it.is_empty()))))
    }
}

export_handler!(Plugin, name = "real");
