//! The application of the stress, version 1.

use hotseat_plugin_api::{Context, Result, export_axum};

mod app;

fn make(context: &Context) -> Result<axum::Router> {
    app::make(context, 1)
}

export_axum!(make);
