//! opentelemetry: a global provider with a batch exporter, which has a thread of its own.
//! Recipe: shut the provider down in `stop`: the global one is never dropped.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use opentelemetry::{global, trace::Tracer as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};

struct Plugin {
    provider: SdkTracerProvider,
}

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).build();
        global::set_tracer_provider(provider.clone());
        Ok(Self { provider })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let length = global::tracer("real").in_span("call", |_| "traced\n".len());
        Ok(Response::text(format!("{length}\n")))
    }

    fn stop(&self) {
        let _ = self.provider.shutdown();
    }
}

export_handler!(Plugin, name = "real");
