//! Asks another server, with time-outs and retries.

use axum::{Router, routing::get};
use hotseat_plugin_api::{Context, Result, export_axum};

fn app(_: &Context) -> Result<Router> {
    Ok(Router::new().route("/", get(|| async { "upstream" })))
}

export_axum!(app);
