//! Sets a logger of its own for the `log` crate, which prints.

use axum::{Router, routing::get};
use hotseat_plugin_api::{Context, Result, export_axum};
use log::{LevelFilter, Log, Metadata, Record};

struct Prints;

impl Log for Prints {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        println!("own: {}", record.args());
    }

    fn flush(&self) {}
}

async fn told() -> &'static str {
    log::info!("a record");
    tracing::info!("an event");
    "told"
}

fn app(_: &Context) -> Result<Router> {
    log::set_logger(&Prints).map_err(|error| error.to_string())?;
    log::set_max_level(LevelFilter::Info);
    Ok(Router::new().route("/", get(told)))
}

export_axum!(app);
