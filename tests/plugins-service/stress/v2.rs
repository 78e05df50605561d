//! The application of the stress, version 2: the same, in a runtime that is made otherwise.

use std::time::Duration;

use hotseat_plugin_api::{Context, Result, RuntimeOptions, export_axum};

mod app;

const RUNTIME: RuntimeOptions =
    RuntimeOptions { threads: 2, blocking_threads: 8, stop_time: Duration::from_secs(10) };

fn make(context: &Context) -> Result<axum::Router> {
    app::make(context, 2)
}

export_axum!(make, runtime = RUNTIME);
