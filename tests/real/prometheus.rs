//! prometheus-client: a registry in a static, encoded in each request.

use std::sync::{LazyLock, Mutex, PoisonError, atomic::AtomicU64};

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

type Requests = Family<Vec<(String, String)>, Counter<u64, AtomicU64>>;

static REQUESTS: LazyLock<Requests> = LazyLock::new(Requests::default);
static REGISTRY: LazyLock<Mutex<Registry>> = LazyLock::new(|| {
    let mut registry = Registry::default();
    registry.register("requests", "So many came", REQUESTS.clone());
    Mutex::new(registry)
});

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        let method = ("method".to_owned(), request.method().to_string());
        REQUESTS.get_or_create(&vec![method]).inc();
        let mut text = String::new();
        encode(&mut text, &REGISTRY.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(Response::text(text))
    }
}

export_handler!(Plugin, name = "real");
