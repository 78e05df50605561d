//! metrics and metrics-exporter-prometheus: a global recorder, rendered in each request.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

struct Plugin {
    handle: PrometheusHandle,
}

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self { handle: PrometheusBuilder::new().install_recorder()? })
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        metrics::counter!("requests", "method" => request.method().to_string()).increment(1);
        metrics::histogram!("path_length").record(request.path().len() as f64);
        self.handle.run_upkeep();
        Ok(Response::text(self.handle.render()))
    }
}

export_handler!(Plugin, name = "real");
