//! The application of [`hotseat_test_plugins_service`] as a plugin.

use hotseat_plugin_api::{Context, Result, export_axum};

fn app(_: &Context) -> Result<axum::Router> {
    Ok(hotseat_test_plugins_service::app())
}

export_axum!(app);
