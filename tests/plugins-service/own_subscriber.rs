//! Sets a subscriber of its own, which prints.

use axum::{Router, routing::get};
use hotseat_plugin_api::{Context, Result, export_axum};

async fn event() -> &'static str {
    tracing::info!(x = 1, "an event");
    log::info!("a record");
    "told"
}

fn app(_: &Context) -> Result<Router> {
    tracing::info!("before it");
    tracing_subscriber::fmt().without_time().init();
    Ok(Router::new().route("/", get(event)))
}

export_axum!(app);
