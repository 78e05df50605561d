//! Notes in a SQLite database, with a page.

use axum::{Router, routing::get};
use hotseat_plugin_api::{Context, Result, export_axum};

fn app(_: &Context) -> Result<Router> {
    Ok(Router::new().route("/", get(|| async { "notes" })))
}

export_axum!(app);
