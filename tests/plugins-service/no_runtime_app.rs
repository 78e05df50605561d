//! An application whose author does without a runtime, and calls tokio's functions all the same.

use axum::{Router, routing::get};
use hotseat_plugin_api::{Context, Result, export_axum};

fn app(_: &Context) -> Result<Router> {
    let spawn = || async {
        tokio::spawn(async {});
        "spawned"
    };
    Ok(Router::new().route("/", get(|| async { "served" })).route("/spawn", get(spawn)))
}

export_axum!(app, runtime = none);
