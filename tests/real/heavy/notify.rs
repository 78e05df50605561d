//! notify: a watcher with a thread of its own, on a folder.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

struct Plugin {
    heard: Arc<AtomicU64>,
    _watcher: RecommendedWatcher,
}

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        let heard = Arc::new(AtomicU64::new(0));
        let count = heard.clone();
        let mut watcher = notify::recommended_watcher(move |_| {
            count.fetch_add(1, Relaxed);
        })?;
        watcher.watch(&std::env::temp_dir(), RecursiveMode::NonRecursive)?;
        Ok(Self { heard, _watcher: watcher })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::text(format!("{}\n", self.heard.load(Relaxed) < u64::MAX)))
    }
}

export_handler!(Plugin, name = "real");
