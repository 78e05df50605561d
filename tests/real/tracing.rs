//! tracing: a global subscriber that formats into a buffer of its own; spans in each request.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        tracing_subscriber::registry()
            .with(EnvFilter::new("info"))
            .with(fmt::layer().with_writer(std::io::sink))
            .try_init()?;
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        let span = tracing::info_span!("call", path = request.path());
        let inside = span.enter();
        tracing::info!(length = request.path().len(), "asked");
        drop(inside);
        Ok(Response::text("traced\n"))
    }
}

export_handler!(Plugin, name = "real");
