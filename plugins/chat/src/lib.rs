//! Rooms over WebSocket, whose last messages outlive every version.

use axum::{Router, routing::get};
use hotseat_plugin_api::{Context, Result, export_axum};

fn app(_: &Context) -> Result<Router> {
    Ok(Router::new().route("/", get(|| async { "chat" })))
}

export_axum!(app);
