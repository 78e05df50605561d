//! tracing-appender: a global subscriber that writes on a thread of its own, whose guard is a field.
//! Recipe: keep the `WorkerGuard` in the handler: dropped, it ends the thread.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::{fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

struct Plugin {
    _writes: WorkerGuard,
}

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        let (writer, writes) = tracing_appender::non_blocking(std::io::sink());
        let layer = fmt::layer().with_ansi(false).with_writer(writer);
        tracing_subscriber::registry().with(layer).try_init()?;
        Ok(Self { _writes: writes })
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        tracing::info!(length = request.path().len(), "asked");
        Ok(Response::text("traced\n"))
    }
}

export_handler!(Plugin, name = "real");
