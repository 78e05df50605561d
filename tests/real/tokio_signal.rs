//! tokio: a task that waits for SIGWINCH and SIGTERM, beside a runtime kept as a field.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
};

struct Plugin {
    heard: Arc<AtomicU64>,
    runtime: runtime::Runtime,
}

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        let runtime =
            runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let heard = Arc::new(AtomicU64::new(0));
        for kind in [SignalKind::window_change(), SignalKind::terminate()] {
            let _inside = runtime.enter();
            let (heard, mut signals) = (heard.clone(), signal(kind)?);
            runtime.spawn(async move {
                while signals.recv().await.is_some() {
                    heard.fetch_add(1, Relaxed);
                }
            });
        }
        Ok(Self { heard, runtime })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let heard = self.heard.clone();
        let heard = self.runtime.spawn(async move { heard.load(Relaxed) }).await?;
        Ok(Response::text(format!("heard {heard}\n")))
    }
}

export_handler!(Plugin, name = "real");
