//! jiff: time zones, out of its process-wide database.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use jiff::{Timestamp, Zoned, tz::TimeZone};

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let zone = TimeZone::get("Europe/Berlin").unwrap_or(TimeZone::UTC);
        let there = Timestamp::now().to_zoned(zone);
        Ok(Response::text(format!("{there} {}\n", Zoned::now().year())))
    }
}

export_handler!(Plugin, name = "real");
